"""From generated ids to the text behind a prompt."""

from collections.abc import Iterable, Sequence
from typing import Any

CONTEXT = 8
"""Tokens of the prompt decoded along: a decoder may treat the first token of a text differently from the others."""


def words_behind(tokenizer: Any, prompt: Sequence[int], ids: Sequence[int]) -> str:
    """The text that `ids` add behind `prompt`, without special tokens.

    Decoded alone, SentencePiece-like tokenizers drop the first space; so the end of the prompt is decoded along and
    taken off again. Negative ids (placeholders of soft prompts) have no text.
    """
    before = [identity for identity in prompt if identity >= 0][-CONTEXT:]
    head, whole = decoded(tokenizer, before), decoded(tokenizer, [*before, *ids])
    if whole.startswith(head):
        return whole[len(head) :]
    return decoded(tokenizer, ids)  # the ids complete a character that the prompt began


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ids as it was encoded: no special tokens, no spaces tidied away."""
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def cut_at(text: str, stops: Iterable[str]) -> str:
    """The text in front of the first stop text."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
