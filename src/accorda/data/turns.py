"""A conversation cut into what the model reads and what it writes.

For every assistant turn the template is run twice: up to the turn with the generation prompt (what `generate` feeds)
and through the turn. Where the first is a prefix of the second and of the row, and the row goes on like the second up
to the turn's stop token, the text between is what the model writes, whatever the template. The row is cut at these
borders and each piece is encoded for itself, so that a row's ids begin with the ids of each of its prompts.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accorda.data.chat import PLAIN, ChatTemplate, marked, plain
from accorda.data.example import Example, Message, RowError
from accorda.data.reasoning import Reasoning, parts, thoughts, views
from accorda.data.tokens import Tokens
from accorda.errors import Refusal


@dataclass(frozen=True)
class Piece:
    """A stretch of a row's text; `turn` is the number of the message that the model writes here, if it does."""

    text: str
    turn: int | None = None


class Conversation:
    """One conversation, its template, and the renderings that its pieces come from."""

    def __init__(self, example: Example, template: ChatTemplate, tokens: Tokens, reasoning: Reasoning):
        self.messages: Sequence[Message] = example.messages
        self.tools = example.tools
        self.template = template
        self.tokens = tokens
        self.reasoning: Reasoning = reasoning
        self.turns = [number for number, message in enumerate(self.messages) if message.role == "assistant"]
        self._rendered: dict[tuple[int, bool], str] = {}

    def before(self, turn: int) -> str:
        """What the model reads before it writes message `turn`."""
        return plain(self._render(turn, True))

    def through(self, turn: int) -> str:
        """The text up to the end of message `turn`."""
        return plain(self._render(turn + 1, False))

    def prompt(self, turn: int) -> list[Piece]:
        """`before(turn)`, cut where earlier assistant turns begin and end."""
        return self._cut(self.before(turn), turn)

    def row(self, targets: Sequence[int]) -> list[Piece]:
        """The text to the end of the last of `targets`; each of `targets` is a piece that ends with its stop token.

        The pieces before each target are those of `prompt(target)`: what `generate` feeds. Where the template does not
        keep its prompts as prefixes, its own `{% generation %}` marks cut the row, else the run is refused.
        """
        last = targets[-1]
        self._check_shown(last)
        pieces = self._cut(self.through(last), last + 1)
        lost = [turn for turn in targets if not self._keeps(pieces, turn)]
        if lost:
            pieces = self._cut_at_marks(last)
        if lost and not pieces:
            raise Refusal(self._difference(self.through(last), lost[0]))
        for piece in pieces:
            if piece.turn in targets and self.tokens.ending(piece.text) is None:
                raise Refusal(self._no_stop(piece.text))
        end = next(number for number, piece in enumerate(pieces) if piece.turn == last)
        return pieces[: end + 1]

    def _views(self, end: int) -> list[dict[str, Any]]:
        separate = any(self.template.mentions(word, self.tools) for word in ("reasoning_content", "thinking"))
        return views(self.messages[:end], self.reasoning, separate)

    def _render(self, end: int, opened: bool) -> str:
        if (end, opened) not in self._rendered:
            text = self.template.render(self._views(end), self.tools, add_generation_prompt=opened)
            self._rendered[end, opened] = text
        return self._rendered[end, opened]

    def _keeps(self, pieces: Sequence[Piece], turn: int) -> bool:
        at = [number for number, piece in enumerate(pieces) if piece.turn == turn]
        return bool(at) and list(pieces[: at[0]]) == self.prompt(turn)

    def _cut(self, text: str, end: int) -> list[Piece]:
        spans = [(turn, self._span(text, turn)) for turn in self.turns if turn < end]
        return _pieces(text, [(turn, span) for turn, span in spans if span])

    def _span(self, text: str, turn: int) -> tuple[int, int] | None:
        """Where `text` holds what the model writes at `turn`, up to its stop token; None where it cannot be told."""
        try:
            before, through = self.before(turn), self.through(turn)
        except RowError:  # a turn that opens the conversation, say: most templates cannot show an empty one
            return None
        if not through.startswith(before) or not text.startswith(before):
            return None
        ends = [len(before) + stop for stop in self._stops(through[len(before) :])]
        end = next((end for end in ends if text.startswith(through[:end])), None)
        return None if end is None else (len(before), end)

    def _stops(self, written: str) -> list[int]:
        """Where the turn can end, the best first: behind its stop tokens, before what closes the conversation.

        Stop tokens that follow each other are one end (Cohere's "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"); one behind
        white space is the conversation's, not the turn's (Phi-3's <|endoftext|>). Without any: the end of the text.
        """
        groups, rest = [[len(written.rstrip())]], written.rstrip()
        while token := self.tokens.ending(rest):
            rest = rest.removesuffix(token)
            groups[-1].append(len(rest))
            if self.tokens.ending(rest.rstrip()) and rest != rest.rstrip():
                rest = rest.rstrip()
                groups.append([len(rest)])
        return groups[-1][:-1] or groups[-1]

    def _cut_at_marks(self, last: int) -> list[Piece]:
        """The row cut at the template's own marks; [] where it does not mark each of its assistant turns."""
        text, turns = self.through(last), [turn for turn in self.turns if turn <= last]
        spans = marked(self._render(last + 1, False))
        if len(spans) != len(turns):
            return []
        found = [(turn, self._through_stop(text, start, end)) for turn, (start, end) in zip(turns, spans, strict=True)]
        return _pieces(text, found)

    def _through_stop(self, text: str, start: int, end: int) -> tuple[int, int]:
        """The span without white space at its end; with the stop token behind it where the template left it outside."""
        end = start + len(text[start:end].rstrip())
        if self.tokens.ending(text[start:end]) is None:
            end += max((len(token) for token in self.tokens.special if text.startswith(token, end)), default=0)
        return start, end

    def _difference(self, text: str, turn: int) -> str:
        before, through = self.before(turn), self.through(turn)
        asked, shown = (through, text) if through.startswith(before) and text.startswith(before) else (before, text)
        way = f"use a template that shows a turn always alike, e.g. data.template={PLAIN}"
        if through.startswith(before):
            way = f"say data.supervise=last, or {way}"
        elif self.reasoning != "none" and thoughts(self.messages[turn]):
            way = f"say data.reasoning=none, or {way}"
        pairs = enumerate(zip(asked, shown, strict=False))
        at = next((at for at, (one, other) in pairs if one != other), min(len(asked), len(shown)))
        asked, shown = (repr(each[max(0, at - 10) : at + 25]) for each in (asked, shown))
        return (
            f"data.template: {self.template.name}: message {turn} is asked for and answered as ...{asked}, but in this "
            f"row it is ...{shown}: {way}"
        )

    def _no_stop(self, text: str) -> str:
        return (
            f"data.template: {self.template.name}: no end-of-turn token of this tokenizer ends an answer "
            f"(...{text[-30:]!r}), so the model would not learn to stop: use e.g. data.template={PLAIN}"
        )

    def _check_shown(self, last: int) -> None:
        """Every message, tool and call must stand in the text: templates leave out what they do not know."""
        text = self.through(last)
        for what, wanted in self._contents(last):
            forms = (wanted, *(json.dumps(wanted, ensure_ascii=ascii)[1:-1] for ascii in (False, True)))
            if not any(form in text for form in forms):
                way = "; data.reasoning says what to do with it: drop_history or none" if "reasoning" in what else ""
                raise RowError(f"the template ({self.template.name}) leaves out {what} ({wanted[:30]!r}){way}")

        named = Counter(
            call["function"]["name"] for message in self.messages[: last + 1] for call in message.tool_calls
        ) + Counter(str(tool.get("function", {}).get("name", "")) for tool in self.tools)
        for name, count in named.items():
            if text.count(name) < count:
                raise RowError(f"the template ({self.template.name}) leaves out a tool or a call of it ({name!r})")

    def _contents(self, last: int) -> Iterator[tuple[str, str]]:
        for number, view in enumerate(self._views(last + 1)):
            who = f"message {number} ({view['role']})"
            *thought, answer = parts(view["content"])
            for text in (view.get("reasoning_content", ""), *thought):
                yield f"the reasoning of {who}", text.strip()
            for text in [view[key] for key in ("instruction", "input") if key in view] or [answer]:
                yield f"the text of {who}", text.strip()


def _pieces(text: str, spans: Sequence[tuple[int, tuple[int, int]]]) -> list[Piece]:
    pieces, at = list[Piece](), 0
    for turn, (start, end) in spans:
        if start >= at:
            pieces += [Piece(text[at:start]), Piece(text[start:end], turn)]
            at = end
    return [piece for piece in (*pieces, Piece(text[at:])) if piece.text or piece.turn is not None]


def trimmed(example: Example, last: int) -> Example:
    """The conversation to the end of message `last`."""
    return replace(example, messages=example.messages[: last + 1])
