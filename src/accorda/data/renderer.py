"""The one owner of the way from rows to token ids and labels, for training, evaluation, chat and serving.

A row's ids are the ids of its parts, joined: the ids of its prompt are exactly what `generate` feeds for that prompt.

- messages: through the chat template; every assistant turn is learned, or the last (`supervise`), or as the message
  itself says, to the end of its end-of-turn token. The row ends there: what follows has no effect on what is learned.
- prompt and completion: joined as they are, the end-of-sequence token appended, the completion learned.
- text: the end-of-sequence token appended, everything learned.

For an encoder-decoder (`decoder_start`) the last answer is the decoder's side of a row and what is before it the
encoder's, by the rules of `two_sides`; without a chat template a conversation is one question with its answer.

BOS stands in front once where the tokenizer puts it there or the template writes it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.chat import ChatTemplate
from accorda.data.example import Example, Kind, Message, RowError
from accorda.data.formats import Mapped, choose
from accorda.data.reasoning import Reasoning
from accorda.data.rendered import Plan, Rendered
from accorda.data.supervision import Supervise, asked, targets
from accorda.data.template_choice import choose_template
from accorda.data.tokens import Tokens
from accorda.data.turns import Conversation, Piece, trimmed
from accorda.data.two_sides import TwoSides
from accorda.errors import Refusal

FILE = "renderer.json"
PROBE = Example(messages=(Message(role="user", content="a"), Message(role="assistant", content="b")))


@contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Refuse a file that is JSON and lacks what `to_dict` writes."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refusal(f"{path}: not as accorda writes it ({error!r}); copy it again from where it came") from None


class Renderer:
    """Turns examples into ids. Its state (`to_dict`) and the tokenizer decide every id."""

    rows_are: ClassVar[str] = "rows"  # tokens are kept apart by it

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: str | ChatTemplate = "auto",
        supervise: Supervise = "all",
        reasoning: Reasoning = "keep",
        kind: Kind | None = None,
        decoder_start: int | None = None,
    ):
        self.tokenizer = tokenizer
        self.tokens = Tokens(tokenizer)
        self.template = template if isinstance(template, ChatTemplate) else choose_template(self.tokens, template)
        self.supervise: Supervise = supervise
        self.reasoning: Reasoning = reasoning
        self.kind: Kind | None = kind
        """What the rows it was made for are; `prepare` sets it, so that `ask` can shape a bare question like them."""
        flat = template == "auto" and not tokenizer.chat_template
        self.two_sides = None if decoder_start is None else TwoSides(self.tokens, decoder_start, flat)
        if isinstance(template, str) and template != "auto":
            with suppress(RowError):  # a template that the probe does not fit; rows tell what is wrong with it
                self._conversation(PROBE).row([1])  # a template chosen by name must be able to end a turn

    @property
    def template_name(self) -> str:
        """The name of the template that conversations are rendered by."""
        return "none" if self.two_sides and self.two_sides.flat else self.template.name

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end an answer: the end-of-sequence token and the template's end-of-turn token."""
        found = {self.tokens.eos[1]}
        if self.two_sides is not None:
            return tuple(found)
        try:
            stop = self.tokens.ending(self._conversation(PROBE).row([1])[-1].text)
        except (RowError, Refusal):  # a template that the probe does not fit; rows tell what is wrong with it
            stop = None
        return tuple(sorted(found | ({self.tokens.special[stop]} if stop else set())))

    @property
    def pad_id(self) -> int:
        """An id to pad with; masks go by position, so it may be a token that means something."""
        pad = self.tokenizer.pad_token_id
        return pad if isinstance(pad, int) else self.tokens.eos[1]

    def reads(self, row: Mapping[str, Any], place: str, *, name: str, columns: Mapping[str, str]) -> Mapped:
        """How the rows of a source are read, told by one of them."""
        return choose(row, place, name=name, columns=columns)

    def render(self, example: Example) -> Rendered:
        """Ids and labels of one row; a `RowError` says why there are none."""
        (rendered,) = self.render_many([example])
        if isinstance(rendered, RowError):
            raise rendered
        return rendered

    def render_many(self, examples: Sequence[Example]) -> list[Rendered | RowError]:
        """The same for many rows with one call of the tokenizer."""
        plans = [self._plan(example) for example in examples]
        ids = iter((self.two_sides or self.tokens).rows([plan.texts for plan in plans if isinstance(plan, Plan)]))
        join = self._join if self.two_sides is None else self.two_sides.join
        return [plan if isinstance(plan, RowError) else join(plan, next(ids)) for plan in plans]

    def prompt_ids(self, example: Example) -> list[int]:
        """What `generate` feeds: all of an open conversation, or what stands before the last answer to learn."""
        example = self._shaped(example)
        talk = example.kind == "messages"
        pieces = self._conversation(example).prompt(self._asked(example)) if talk else [Piece(example.prompt or "")]
        (ids,) = self.tokens.rows([[piece.text for piece in pieces]])
        return self.tokens.joined(ids) if self.two_sides is None else self.two_sides.encoder_ids(ids)

    def completion_text(self, example: Example) -> str:
        """What a model should answer to `prompt_ids`: the last completion as text, without its stop token."""
        example = self._shaped(example)
        if example.kind != "messages":
            return example.text or example.completion or ""
        if self._asked(example) == len(example.messages):
            return ""
        text = self._conversation(example).row([self._asked(example)])[-1].text
        return text.removesuffix(self.tokens.ending(text) or "").strip()

    def ask(self, prompt: str) -> Example:
        """A user's bare text as a row of the kind this renderer was made for: a turn of a chat, or a prompt."""
        if self.kind == "messages":
            return Example(messages=(Message(role="user", content=prompt),))
        return Example(prompt=prompt)

    def trimmed(self, example: Example) -> Example:
        """The example to the end of what is learned of it; a `RowError` where nothing is."""
        example = self._shaped(example)
        return example if example.kind != "messages" else trimmed(example, self._targets(example)[-1])

    def to_dict(self) -> dict[str, Any]:
        """Everything that, with the tokenizer, decides ids."""
        return {
            "version": 1,
            "template_name": self.template.name,
            "template": self.template.source,
            "tool_template": self.template.tool_source,
            "day": self.template.day.isoformat() if self.template.day else None,
            "supervise": self.supervise,
            "reasoning": self.reasoning,
            "kind": self.kind,
            "tokenizer": self.tokens.digest,
            **({} if self.two_sides is None else self.two_sides.to_dict()),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> "Renderer":
        """The renderer that `to_dict` described; another tokenizer than its own is a `Refusal`."""
        if state.get("kind") == "labelled":
            raise Refusal(f"{FILE}: it was made for rows with labels, and this is about text that is generated")
        if state.get("version") != 1:
            raise Refusal(f"{FILE}: version {state.get('version')!r}; this accorda reads version 1")
        template = ChatTemplate(
            name=state["template_name"],
            source=state["template"],
            tool_source=state["tool_template"],
            variables=tokenizer.special_tokens_map,
            day=date.fromisoformat(state["day"]) if state["day"] else None,
        )
        made = cls(tokenizer, template, state["supervise"], state["reasoning"], cast(Kind | None, state["kind"]))
        if "decoder_start" in state:
            made.two_sides = TwoSides(made.tokens, state["decoder_start"], state["flat"])
        if made.tokens.digest != state["tokenizer"]:
            raise Refusal(f"{FILE}: it was made with another tokenizer; use the one in the run's folder")
        return made

    def save(self, folder: Path | str) -> None:
        """Write `renderer.json` into a folder."""
        Path(folder, FILE).write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str, tokenizer: PreTrainedTokenizerBase) -> "Renderer":
        """Read `renderer.json` from a folder."""
        path = Path(folder, FILE)
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Refusal(f"{path}: cannot be read: {error}") from None
        with as_written(path):
            return cls.from_dict(state, tokenizer)

    @property
    def digest(self) -> str:
        """SHA-256 of the state, the tokenizer's part included; the kind of rows decides no id and is left out."""
        state = {**self.to_dict(), "kind": None}
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    def _shaped(self, example: Example) -> Example:
        return example if self.two_sides is None else self.two_sides.shaped(example)

    def _conversation(self, example: Example) -> Conversation:
        return Conversation(example, self.template, self.tokens, self.reasoning)

    def _asked(self, example: Example) -> int:
        return asked(example, self.supervise, self.reasoning)

    def _targets(self, example: Example) -> list[int]:
        return targets(example, self.supervise, self.reasoning)

    def _plan(self, example: Example) -> Plan | RowError:
        try:
            example = self._shaped(example)
            if example.kind == "messages":
                return self._plan_messages(example)
            if example.kind == "text":
                return Plan([Piece(example.text or "")], [True], closed=True)
            if example.completion is None:
                return RowError("a prompt without a completion")
            return Plan([Piece(example.prompt or ""), Piece(example.completion)], [False, True], closed=True)
        except RowError as error:
            return error

    def _plan_messages(self, example: Example) -> Plan:
        targets = self._targets(example)
        check_said(example, targets)
        pieces = self._conversation(example).row(targets)
        if self.two_sides is not None:
            pieces = self.two_sides.cut(pieces, targets, self.completion_text(example))
        return Plan(pieces, [piece.turn in targets for piece in pieces], closed=False)

    def _join(self, plan: Plan, pieces: list[list[int]]) -> Rendered | RowError:
        if plan.closed and pieces[-1][-1:] != [self.tokens.eos[1]]:
            pieces[-1].append(self.tokens.eos[1])
        ids = self.tokens.joined(pieces)
        supervised = _of_pieces(pieces, plan.learned, len(ids))
        supervised[: len(self.tokens.prefix)] = False
        if not supervised[1:].any():
            return RowError("no token to learn")
        ends = [piece[-1] for piece, flag in zip(pieces, plan.learned, strict=True) if flag]
        if not all(end in self.tokens.special.values() for end in ends):
            return RowError("an answer does not end with a stop token")
        prompt_length = max(len(ids) - len(pieces[-1]), len(self.tokens.prefix))
        return Rendered(np.array(ids, np.int32), supervised, prompt_length)


def check_said(example: Example, turns: Sequence[int]) -> None:
    """Refuse a row in which one of these turns says nothing; it would teach to end at once."""
    for turn in turns:
        message = example.messages[turn]
        if not (message.content.strip() or message.tool_calls or message.reasoning):
            raise RowError(f"empty completion (message {turn})")


def _of_pieces(pieces: Sequence[Sequence[int]], flags: Sequence[bool], length: int) -> np.ndarray:
    """Of `length` tokens, which the pieces end, those of flagged pieces; what stands before the pieces is not."""
    flagged = np.zeros(length, np.bool_)
    begin = length - sum(map(len, pieces))
    for piece, flag in zip(pieces, flags, strict=True):
        flagged[begin : begin + len(piece)] = flag
        begin += len(piece)
    return flagged
