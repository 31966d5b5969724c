"""A tokenizer as the renderer needs it: pieces of one text encoded as in that text, BOS, stop tokens, identity."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from accorda.data.words import Words, words_of
from accorda.errors import Refusal

ANCHORS = ("\n", "§", "a")


class Tokens:
    """Reads one tokenizer; never changes it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text alone, without the tokens that the tokenizer adds around a text."""
        if not texts:
            return []
        return self._encoded(texts) if self.words is None else self.words(texts)

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return [list(ids) for ids in cast(list[list[int]], encoded["input_ids"])]

    @property
    def words(self) -> Words | None:
        """What encodes each word once, where the tokenizer allows it."""
        return self._read[1]

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """The same of what a decoder writes: some tokenizers have another vocabulary for that (Marian)."""
        if not texts:
            return []
        encoded = self.tokenizer(
            text_target=list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return [list(ids) for ids in cast(list[list[int]], encoded["input_ids"])]

    @cached_property
    def prefix(self) -> list[int]:
        """What the tokenizer puts in front of a text: BOS, or nothing."""
        return self.frame[0]

    def joined(self, pieces: Sequence[Sequence[int]]) -> list[int]:
        """The ids of pieces one after the other, with the prefix in front once."""
        ids = list(chain.from_iterable(pieces))
        return ids if ids[: len(self.prefix)] == self.prefix else [*self.prefix, *ids]

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts in front of a text and behind it."""
        return _around(self._encoded(["a"])[0], list(cast(list[int], self.tokenizer("a")["input_ids"])))

    @cached_property
    def answer_frame(self) -> tuple[list[int], list[int]]:
        """What it puts around a text that a decoder is to write."""
        added = cast(list[int], self.tokenizer(text_target="a")["input_ids"])
        return _around(self.answers(["a"])[0], list(added))

    @cached_property
    def eos(self) -> tuple[str, int]:
        """The end-of-sequence token and its id."""
        token, number = self.tokenizer.eos_token, self.tokenizer.eos_token_id
        if not isinstance(token, str) or not isinstance(number, int):
            raise Refusal("the tokenizer has no end-of-sequence token: set eos_token in its tokenizer_config.json")
        return token, number

    @cached_property
    def special(self) -> dict[str, int]:
        """Tokens that can end a turn: the special ones, by their text, longest first."""
        found = {token.content: number for number, token in self._added().items() if token.special}
        token, number = self.tokenizer.eos_token, self.tokenizer.eos_token_id
        if isinstance(token, str) and isinstance(number, int):
            found[token] = number
        return dict(sorted(found.items(), key=lambda item: -len(item[0])))

    def _added(self) -> dict[int, Any]:
        return self.tokenizer.added_tokens_decoder

    def ending(self, text: str) -> str | None:
        """The special token that the text ends with, if it does."""
        return next((token for token in self.special if token and text.endswith(token)), None)

    def continued(self, pieces: Sequence[tuple[str, str]]) -> list[list[int]]:
        """The ids of (what stands before, text) pairs, each as the text is encoded at that place.

        Some tokenizers write a space in front of every text they encode; a piece from the middle must not get one that
        the whole text does not have. So it is encoded behind a stand-in for what is before: the special token there, or
        a character that does not join with it; and the stand-in's ids are cut off.
        """
        anchors = [self._anchor(before) for before, _ in pieces]
        unique = sorted(set(anchors))
        known = dict(zip(unique, self(unique), strict=True))
        whole = self([anchor + text for anchor, (_, text) in zip(anchors, pieces, strict=True)])
        found = []
        for (_, text), anchor, ids in zip(pieces, anchors, whole, strict=True):
            head = known[anchor]
            found.append(ids[len(head) :] if ids[: len(head)] == head else self([text])[0])
        return found

    def rows(self, rows: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The ids of the pieces of each row, which follow one another."""
        pairs = [(row[at - 1] if at else "", text) for row in rows for at, text in enumerate(row)]
        ids = iter(self.continued(pairs))
        return [[next(ids) for _ in row] for row in rows]

    def _anchor(self, before: str) -> str:
        if not before:
            return ""
        return self.ending(before) or self.neutral

    @cached_property
    def neutral(self) -> str:
        """A character to encode pieces behind, or nothing for tokenizers that add no space of their own."""
        for anchor in ANCHORS:
            alone, head, behind, spaced = self(["x", anchor, f"{anchor}x", f"{anchor} x"])
            if behind != head + alone and spaced == head + alone:
                return anchor
        return ""

    @property
    def digest(self) -> str:
        """SHA-256 of what decides ids: the content of tokenizer.json, or the vocabulary of one written in Python."""
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[str, Words | None]:
        """The digest and the words: from the content of tokenizer.json, which is large, read once."""
        backend, words = getattr(self.tokenizer, "backend_tokenizer", None), None
        if backend is None:
            content: Any = [type(self.tokenizer).__name__, sorted(self.tokenizer.get_vocab().items())]
        else:
            content = json.loads(backend.to_str())
            for passing in ("truncation", "padding"):  # set by whoever encoded last
                content.pop(passing, None)
            words = words_of(self.tokenizer, content)
        state = [content, {key: str(value) for key, value in self.tokenizer.special_tokens_map.items()}, self.prefix]
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest(), words


def _around(bare: list[int], added: list[int]) -> tuple[list[int], list[int]]:
    """The ids before and behind `bare` in `added`."""
    starts = [at for at in range(len(added) - len(bare) + 1) if added[at : at + len(bare)] == bare]
    return (added[: starts[0]], added[starts[0] + len(bare) :]) if starts else ([], [])
