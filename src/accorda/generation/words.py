"""From generated ids to the text behind a prompt: all at once, or piece by piece as the ids come."""

from collections.abc import Iterable, Sequence
from typing import Any

CONTEXT = 8
"""Tokens of the prompt decoded along: a decoder may treat the first token of a text differently from the others."""
BROKEN = "\ufffd"
"""What decoders write for bytes that are no character, or not yet one."""


def words_behind(tokenizer: Any, prompt: Sequence[int], ids: Sequence[int]) -> str:
    """The text that `ids` add behind `prompt`, without special tokens.

    Decoded alone, SentencePiece-like tokenizers drop the first space; so the end of the prompt is decoded along and
    taken off again. Negative ids (placeholders of soft prompts) have no text.
    """
    before = _context(prompt)
    head, whole = decoded(tokenizer, before), decoded(tokenizer, [*before, *ids])
    if BROKEN in whole:  # half a character may have spoilt its whole neighbourhood; a reader saw what came before it
        words = Words(tokenizer, prompt)
        return "".join([*map(words.feed, ids), words.close()])
    return whole[len(head) :] if whole.startswith(head) else decoded(tokenizer, ids)


class Words:
    """The same text piece by piece: `feed` each id as it comes, then `close`. Never half a character.

    Only the tokens since the last two borders between characters are decoded, so a token costs the same however long
    the text is. An unfinished character waits for its other bytes; what is left of one is shown by `close`.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int]):
        self.tokenizer = tokenizer
        self._window = _context(prompt)  # ids that are decoded together
        self._new = len(self._window)  # how many of them are behind the last border
        self._shown = decoded(tokenizer, self._window)
        self._began = False

    def feed(self, token_id: int) -> str:
        """The text that has become certain with this token; often empty."""
        self._window.append(token_id)
        whole = decoded(self.tokenizer, self._window)
        if whole.endswith(BROKEN):
            return ""
        if not whole.startswith(self._shown):
            if self._began:
                return ""
            whole = self._alone()  # the ids complete a character that the prompt began
            if whole.endswith(BROKEN):
                return ""
        return self._take(whole)

    def close(self) -> str:
        """The rest, where the text ends within a character."""
        whole = decoded(self.tokenizer, self._window)
        if not whole.startswith(self._shown):
            whole = self._shown + decoded(self.tokenizer, self._window[self._new :])
        return self._take(whole)

    def _take(self, whole: str) -> str:
        piece = whole[len(self._shown) :]
        if piece:  # a border: what was behind the last one is the context now
            self._window = self._window[self._new :]
            self._new = len(self._window)
            self._shown = decoded(self.tokenizer, self._window)
            self._began = True
        return piece

    def _alone(self) -> str:
        """Forget the prompt."""
        self._window, self._new, self._shown = self._window[self._new :], 0, ""
        return decoded(self.tokenizer, self._window)


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ids as it was encoded: no special tokens, no spaces tidied away."""
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def cut_at(text: str, stops: Iterable[str]) -> str:
    """The text in front of the first stop text."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def unfinished(text: str, stops: Iterable[str]) -> int:
    """How many characters at the end of the text may be the beginning of a stop text."""
    longest = max((len(stop) - 1 for stop in stops), default=0)
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in stops)), 0)


def _context(prompt: Sequence[int]) -> list[int]:
    return [identity for identity in prompt if identity >= 0][-CONTEXT:]
