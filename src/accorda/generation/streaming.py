"""One answer as it is written: text that a person can read while the model goes on."""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from accorda.generation.decoding import Token
from accorda.generation.sample import Completion
from accorda.generation.words import Words, cut_at, unfinished, words_behind


class Stream:
    """The text of `tokens` (what `sample.stream` gives), piece by piece; the pieces are `generate`'s text, cut up.

    No piece ends within a character, and none shows the beginning of a stop text. Whoever stops reading closes it;
    `completion` is then what had been said.

    Args:
        tokens: the tokens as they come.
        tokenizer: makes the text.
        prompt: the ids behind which they stand.
        stop_ids: the ids that end an answer and have no text.
        stop_texts: the texts that end it and do not belong to it.
    """

    def __init__(
        self,
        tokens: Iterator[Token],
        tokenizer: PreTrainedTokenizerBase,
        prompt: Sequence[int],
        *,
        stop_ids: frozenset[int] = frozenset(),
        stop_texts: Sequence[str] = (),
    ):
        self.tokenizer, self.prompt, self.tokens = tokenizer, prompt, tokens
        self.stop_ids, self.stop_texts = stop_ids, stop_texts
        self.given: list[Token] = []
        self._ended = False

    def __iter__(self) -> Iterator[str]:
        words, waiting = Words(self.tokenizer, self.prompt), ""
        for token in self.tokens:
            self.given.append(token)
            if token.token_id in self.stop_ids:
                break
            waiting += words.feed(token.token_id)
            if cut_at(waiting, self.stop_texts) != waiting:
                self._ended = True
                break
            ready = len(waiting) - unfinished(waiting, self.stop_texts)
            if ready:
                yield waiting[:ready]
                waiting = waiting[ready:]
        self.close()
        rest = cut_at(waiting + words.close(), self.stop_texts)
        if rest:
            yield rest

    def close(self) -> None:
        """Stop the model."""
        close = getattr(self.tokens, "close", None)
        if close is not None:
            close()

    @property
    def completion(self) -> Completion:
        """All that came so far, as `generate` would give it."""
        ids = [token.token_id for token in self.given]
        stopped = bool(ids) and ids[-1] in self.stop_ids
        text = words_behind(self.tokenizer, self.prompt, ids[:-1] if stopped else ids)
        log_probs = [token.log_prob for token in self.given]
        drawn = [token.drawn_log_prob for token in self.given]
        return Completion(ids, cut_at(text, self.stop_texts), stopped or self._ended, log_probs, drawn)
