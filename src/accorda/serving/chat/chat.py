"""A conversation as a whole: its history, who answers, the settings of the answers, and what was saved."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accorda.generation.sampling import Sampling
from accorda.serving.chat.answer import Answer
from accorda.serving.chat.history import History
from accorda.serving.chat.voices import Voices


class Chat:
    """What the commands work on. `answers` begins the answers to the last question; `keep` takes one into it."""

    def __init__(self, voices: Voices, sampling: Sampling, system: str | None = None):
        self.voices, self.sampling = voices, sampling
        self.history = History()
        self.history.system = system
        self.saved: set[Path] = set()
        self.given: list[dict[str, Any]] = []

    @property
    def remembers(self) -> bool:
        """Whether the model reads the conversation, rather than each message for itself."""
        return self.voices.speaking[-1].kind == "messages"

    def answers(self) -> list[Answer]:
        """An answer of everybody who speaks, none begun.

        Raises:
            Refusal: the question does not fit into the context, or cannot be rendered.
        """
        messages = self.history.messages
        return [Answer(self.voices, voice, messages, self.sampling) for voice in self.voices.speaking]

    def keep(self, answers: list[Answer]) -> None:
        """Take the last of the answers into the conversation, the tuned one where base and tuned spoke.

        One that was stopped before it said anything is as if it had not been asked for.
        """
        self.given += [answer.to_dict() for answer in answers]
        text = answers[-1].completion.text
        if text or not answers[-1].interrupted:
            self.history.answer(text)

    def opening(self) -> Iterator[str]:
        """What a user must know before the first message."""
        if not self.remembers:
            voice = self.voices.speaking[-1]
            why = (
                "it learned single prompts, not conversations"
                if voice.renderer.kind
                else "its tokenizer has no chat template"
            )
            yield f"{voice.name}: {why}: each message is a prompt of its own, and nothing before it is read"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "speaking": [voice.name for voice in self.voices.speaking],
            "remembers": self.remembers,
            "messages": [message.to_dict() for message in self.history.messages],
            "answers": self.given,
            "settings": vars(self.sampling),
        }
