"""Labelled rows become ids as the tokenizer itself encodes a text, or two: with its own special tokens.

[CLS] text [SEP], [CLS] text [SEP] second [SEP] for encoders; for a tokenizer that puts nothing between two texts (most
decoders') a newline stands there. One token of each row, the last, is marked: a row counts once.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.example import Example, RowError
from accorda.data.labelled.columns import Columns, choose
from accorda.data.labelled.cut import Frame
from accorda.data.renderer import FILE, Rendered, Renderer, as_written
from accorda.errors import Refusal
from accorda.models.labels import Labels
from accorda.runs.files import read_json

KIND = "labelled"


class LabelledRenderer(Renderer):
    """Turns texts into ids and knows what their labels are."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, labels: Labels, has_types: bool = False):
        super().__init__(tokenizer, kind=KIND)
        self.labels = labels
        self.has_types = has_types
        """Whether the model is told which of two texts a token is of."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """None: nothing is generated."""
        return ()

    @property
    def pad_id(self) -> int:
        """An id to pad with."""
        pad = self.tokenizer.pad_token_id
        return pad if isinstance(pad, int) else 0

    @cached_property
    def separates(self) -> bool:
        """Whether the tokenizer puts something between two texts."""
        return None in _inner(self._sources("a", "a"))

    @cached_property
    def frame(self) -> Frame:
        """The special tokens around texts."""
        one = self._sources("a", None)
        between = _inner(self._sources("a", "a")).count(None) if self.separates else 0
        return Frame(one.index(0), between, one[::-1].index(0))

    def reads(self, row: Mapping[str, Any], place: str, *, name: str, columns: Mapping[str, str]) -> Columns:
        return choose(row, place, name=name, columns=columns)

    def render_many(self, examples: Sequence[Example]) -> list[Rendered | RowError]:
        if not examples:
            return []
        texts = [self._texts(example) for example in examples]
        alone = [text for text, pair in texts if pair is None]
        both = [(text, pair) for text, pair in texts if pair is not None]
        single = iter(self._encode_texts(alone, None))
        double = iter(self._encode_texts([one for one, _ in both], [other for _, other in both]))
        return [next(single) if pair is None else next(double) for _, pair in texts]

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": 1,
            "kind": KIND,
            "labels": list(self.labels.names),
            "token_types": self.has_types,
            "tokenizer": self.tokens.digest,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> "LabelledRenderer":
        if state.get("version") != 1 or state.get("kind") != KIND:
            raise Refusal(f"{FILE}: not of labelled rows in version 1")
        made = cls(tokenizer, Labels(tuple(state["labels"])), state["token_types"])
        if made.tokens.digest != state["tokenizer"]:
            raise Refusal(f"{FILE}: it was made with another tokenizer; use the one in the run's folder")
        return made

    def _texts(self, example: Example) -> tuple[str, str | None]:
        """What the tokenizer is given: both texts, or one that holds them both."""
        text, pair = example.text or "", example.text_pair
        if pair is None or self.separates:
            return text, pair
        return f"{text}\n{pair}", None

    def _encode_texts(self, texts: list[str], pairs: list[str] | None) -> list[Rendered | RowError]:
        if not texts:
            return []
        encoded = self.tokenizer(texts, pairs, return_attention_mask=False, truncation=False, verbose=False)
        ids = cast(list[list[int]], encoded["input_ids"])
        seconds = [_second(encoded.sequence_ids(row)) if pairs else len(own) for row, own in enumerate(ids)]
        return [_rendered(own, second) for own, second in zip(ids, seconds, strict=True)]

    def _sources(self, text: str, pair: str | None) -> list[int | None]:
        """Of each token, whether it is of the first text, the second, or neither."""
        if not self.tokenizer.is_fast:
            raise Refusal(
                f"{type(self.tokenizer).__name__}: rows with labels need a fast tokenizer (a tokenizer.json); "
                "save one beside the model"
            )
        return self.tokenizer([text], [pair] if pair is not None else None).sequence_ids(0)


def load_renderer(folder: Path | str, tokenizer: PreTrainedTokenizerBase) -> Renderer:
    """The renderer of a folder, whatever rows it was made for.

    Raises:
        Refusal: there is none, or it was made with another tokenizer.
    """
    path = Path(folder) / FILE
    state = read_json(path) or {}
    if state.get("kind") == KIND:
        with as_written(path):
            return LabelledRenderer.from_dict(state, tokenizer)
    return Renderer.load(folder, tokenizer)


def _inner(sources: list[int | None]) -> list[int | None]:
    """From the first token of a text to the last."""
    known = [at for at, source in enumerate(sources) if source is not None]
    return sources[known[0] : known[-1] + 1]


def _second(sources: list[int | None]) -> int:
    """Where the second text begins."""
    return sources.index(1) if 1 in sources else len(sources)


def _rendered(ids: list[int], second: int) -> Rendered | RowError:
    if not ids:
        return RowError("the text has no token")
    counted = np.zeros(len(ids), np.bool_)
    counted[-1] = True
    return Rendered(np.array(ids, np.int32), counted, second)
