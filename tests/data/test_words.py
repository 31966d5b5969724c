"""The ids of whole texts by the tokenizer itself are the reference; what it cannot promise is left to it."""

import json
import random

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import accorda
from accorda.data import words as module
from accorda.data.tokens import Tokens
from accorda.data.words import LLAMA3, OURS, QWEN2, words_of

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SIGNS = [*" '  \n\t.,5½é日 a's-ABz<|>_`~\u00a0\u180e\u2003\x1c\x85٣", "<|endoftext|>", "'re", "''", "  "]


def split(pattern: str) -> dict:
    """The steps of a byte-level tokenizer that cuts by a pattern."""
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [cut, {**GPT2, "use_regex": False}]}


def tokenizer(**changes) -> PreTrainedTokenizerFast:
    """The bundled tokenizer with parts of its tokenizer.json changed."""
    state = json.loads(accorda.load_tokenizer("bundled").backend_tokenizer.to_str())
    for name, value in changes.items():
        if isinstance(value, dict) and name == "model":
            state["model"] |= value
        else:
            state[name] = value
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<|endoftext|>")


def texts(number: int) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(SIGNS, k=draw.randint(0, 30))) for _ in range(number)]


@pytest.mark.parametrize("cutting", [GPT2, split(LLAMA3), split(QWEN2), split(OURS)], ids=["gpt2", "3", "qwen", "ours"])
def test_ids_are_the_tokenizers_own(cutting) -> None:
    own = tokenizer(pre_tokenizer=cutting)
    tokens = Tokens(own)
    assert tokens.words is not None
    for given in (texts(4000), ["", " ", "\n"], ["It's 5 o'clock,\n  say 12x3=36 (or <|endoftext|>) twice twice"]):
        assert tokens(given) == own(given, add_special_tokens=False)["input_ids"]


def test_a_word_is_encoded_once_and_the_memory_is_bounded(monkeypatch) -> None:
    words = Tokens(tokenizer()).words
    words.known.clear()
    asked: list[str] = []
    monkeypatch.setattr(type(words), "_encode", spy(type(words)._encode, asked))
    words(["one two two", "one three 33", "33 three"])
    assert sorted(asked) == [" 33", " three", " two", "33", "one"]
    words([" two"])
    assert len(asked) == 5
    monkeypatch.setattr(module, "MOST_KEPT", 4)
    words(["one four"])
    assert set(words.known) == {"one", " four"}


def spy(encode, asked: list[str]):
    """The method, which also writes down what it is asked."""

    def noting(self, words):
        asked.extend(words)
        return encode(self, words)

    return noting


ADDED = {"id": 9, "content": "<x>", "single_word": False, "rstrip": False, "normalized": False, "special": True}


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": GPT2 | {"add_prefix_space": True}},
        {"pre_tokenizer": split(r"\s+\S+")},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"model": {"dropout": 0.1}},
        {"model": {"end_of_word_suffix": "</w>"}},
        {"added_tokens": []},
        {"added_tokens": [ADDED | {"content": "a b", "lstrip": False}]},
        {"added_tokens": [ADDED | {"lstrip": True}]},
    ],
)
def test_other_tokenizers_encode_whole_texts(changes) -> None:
    own = tokenizer()
    assert words_of(own, json.loads(own.backend_tokenizer.to_str())) is not None
    state = json.loads(own.backend_tokenizer.to_str())
    state = {**state, **changes, "model": state["model"] | changes.get("model", {})}
    assert words_of(own, state) is None


def test_special_tokens_that_are_split_are_left_alone() -> None:
    own = tokenizer()
    own.split_special_tokens = True
    assert Tokens(own).words is None
