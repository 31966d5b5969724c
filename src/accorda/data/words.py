"""Each word encoded once: for tokenizers that never join what stands before a space with what follows it.

A byte-level BPE cuts a text by a pattern before it looks for merges. The patterns of GPT-2, Llama 3 and Qwen 2 always
cut between a character that is no space and a space with such a character behind it, between a digit and another sign,
and behind the last letter of a word, and look at nothing beyond. So the ids of a text are those of its words, joined,
and the ids of a word those of its parts; both repeat, and those already seen are only looked up. What is new is encoded
as one text, with a token between the parts that the tokenizer always cuts out.
"""

import re
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np

GPT2 = "ByteLevel"  # with its own pattern
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
OURS = r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # the bundled model's
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CUT = re.compile("(?<=[^\\s\u180e])(?= [^\\s\u180e])")
SIGN = "[!-/:-@\\[-`{-~]"
FINE = re.compile(f"(?<=[0-9])(?=[A-Za-z]|{SIGN})|(?<=[A-Za-z])(?=[0-9]|{SIGN})|(?<={SIGN})(?=[0-9])")
MOST_KEPT = 2**17
ID = np.dtype("<i4")
AT_ONCE = 256  # words in one text
PROBE = " it's  a\n test , of 1234 'things'\t\n and\u00a0caf\u00e9s \u65e5\u672c x \n"


class Words:
    """Encodes by the tokenizer's backend.

    `added`: the tokens, ids by text, that are cut out wherever they stand; the first stands between new words.
    """

    def __init__(self, backend: Any, added: dict[str, int]):
        self.backend = backend
        self.separator = next(iter(added.items()))
        self.added = re.compile("|".join(map(re.escape, added)))
        self.known: dict[str, bytes] = {}
        """The ids of each word, int32; bytes, since lists by the hundred thousand keep the garbage collector busy."""

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""
        cut = [CUT.split(text) for text in texts]
        if new := set(chain.from_iterable(cut)).difference(self.known):
            if len(self.known) > MOST_KEPT:
                self.known.clear()
                new = set(chain.from_iterable(cut))
            self._learn(new)
        of = self.known.__getitem__
        return [np.frombuffer(b"".join(map(of, words)), ID).tolist() for words in cut]

    def _learn(self, words: set[str]) -> None:
        parts = {word: [word] if self.added.search(word) else FINE.split(word) for word in words}
        self._encode(sorted(set(chain.from_iterable(parts.values())).difference(self.known)))
        of = self.known.__getitem__
        self.known |= {word: b"".join(map(of, own)) for word, own in parts.items()}

    def _encode(self, words: Sequence[str]) -> None:
        token, number = self.separator
        groups = [words[start : start + AT_ONCE] for start in range(0, len(words), AT_ONCE)]
        encoded = self.backend.encode_batch([token.join(group) for group in groups], add_special_tokens=False)
        for group, each in zip(groups, encoded, strict=True):
            ids = np.array([number, *each.ids, number], ID)
            borders = (ID.itemsize * np.flatnonzero(ids == number)).tolist()
            if len(borders) == len(group) + 1:
                raw = ids.tobytes()
                found = [raw[begin + ID.itemsize : end] for begin, end in pairwise(borders)]
            else:  # one of them has the separator in it
                alone = self.backend.encode_batch(list(group), add_special_tokens=False)
                found = [np.array(one.ids, ID).tobytes() for one in alone]
            self.known.update(zip(group, found, strict=True))


def words_of(tokenizer: Any, state: dict[str, Any]) -> Words | None:
    """What encodes this tokenizer's words, `state` being its tokenizer.json; None where ids would not be the same."""
    if getattr(tokenizer, "split_special_tokens", False):
        return None
    plain = [token for token in state["added_tokens"] if _is_plain(token)]
    if not plain or len(plain) < len(state["added_tokens"]) or not _cuts_before_spaces(state):
        return None
    words = Words(tokenizer.backend_tokenizer, {token["content"]: token["id"] for token in plain})
    probe = [PROBE, f"{PROBE}{plain[0]['content']} {PROBE}"]
    alone = tokenizer(probe, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    return words if words(probe) == [list(ids) for ids in alone] else None


def _is_plain(token: dict[str, Any]) -> bool:
    """Whether an added token lies within a word and takes nothing around it."""
    spaced = any(character.isspace() for character in token["content"])
    return bool(token["content"]) and not (spaced or token["lstrip"] or token["rstrip"] or token["single_word"])


def _cuts_before_spaces(state: dict[str, Any]) -> bool:
    """Whether words are cut by one of the known patterns, and by nothing that looks beyond a word."""
    model, cutting = state["model"], state["pre_tokenizer"] or {}
    steps = cutting.get("pretokenizers", [cutting])
    last = steps[-1]
    pattern = GPT2 if last.get("use_regex") else None
    if len(steps) == 2 and steps[0].get("type") == "Split" and pattern is None:
        first = steps[0]
        pattern = first["pattern"].get("Regex") if first["behavior"] == "Isolated" and not first["invert"] else None
    return (
        state["normalizer"] is None
        and len(steps) <= 2
        and pattern in ((GPT2,) if len(steps) == 1 else (LLAMA3, QWEN2, OURS))
        and last.get("type") == "ByteLevel"
        and not last["add_prefix_space"]
        and model["type"] == "BPE"
        and not model.get("dropout")
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
    )
