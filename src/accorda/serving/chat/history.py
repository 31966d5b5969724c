"""What was said in a conversation, and taking parts of it back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from accorda.data.example import Message
from accorda.errors import Refusal


class History:
    """The messages of a conversation, a system message in front where there is one."""

    def __init__(self, messages: Sequence[Message] = ()):
        self.messages = list(messages)

    @property
    def system(self) -> str | None:
        """The system message's text."""
        first = self.messages[:1]
        return first[0].content if first and first[0].role == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        rest = self.messages[self.system is not None :]
        self.messages = ([Message(role="system", content=text)] if text else []) + rest

    @property
    def question(self) -> str:
        """The last thing the user said.

        Raises:
            Refusal: nothing was said yet.
        """
        return self.messages[self._last_question()].content

    def ask(self, text: str) -> None:
        """The user says something; a question that was never answered is taken back."""
        if self.messages and self.messages[-1].role == "user":
            self.messages.pop()
        self.messages.append(Message(role="user", content=text))

    def answer(self, text: str) -> None:
        """The model says something."""
        self.messages.append(Message(role="assistant", content=text))

    def undo(self) -> str:
        """Take back the last question and all that followed; the question's text."""
        at = self._last_question()
        text = self.messages[at].content
        del self.messages[at:]
        return text

    def reopen(self) -> None:
        """Take back what followed the last question."""
        del self.messages[self._last_question() + 1 :]

    def edit(self, text: str) -> None:
        """Ask something else instead of the last question."""
        self.undo()
        self.ask(text)

    def reset(self) -> None:
        """Begin again, under the same system message."""
        self.messages = self.messages[: self.system is not None]

    def exchanges(self) -> list[tuple[str, str]]:
        """Every question that was answered, with its answer."""
        pairs = zip(self.messages, self.messages[1:], strict=False)
        return [(one.content, two.content) for one, two in pairs if (one.role, two.role) == ("user", "assistant")]

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """What the block did to the conversation is undone where it ends in a refusal."""
        before = list(self.messages)
        try:
            yield
        except Refusal:
            self.messages = before
            raise

    def _last_question(self) -> int:
        for at in range(len(self.messages) - 1, -1, -1):
            if self.messages[at].role == "user":
                return at
        raise Refusal("nothing was said yet")


def recent(messages: Sequence[Message], left_out: int) -> list[Message]:
    """The system message and what follows the oldest `left_out` questions."""
    head = [message for message in messages[:1] if message.role == "system"]
    questions = [at for at, message in enumerate(messages) if message.role == "user"]
    return [*head, *messages[questions[left_out] :]] if left_out else list(messages)
