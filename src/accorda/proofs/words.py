"""What a row should teach, as words, and what its supervised tokens say when they are decoded.

Compared without white space: tokenizers put it where they like. A text is first sent through the tokenizer and back, so
that what it normalises or does not know is no difference.
"""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.batch import Segment
from accorda.data.example import Example, Message
from accorda.data.reasoning import Reasoning, read_only

MARKUP = 48  # characters a template may write into an answer beside its words


class Words:
    """Compares rows with their examples through one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, supervise: str, reasoning: Reasoning):
        self.tokenizer = tokenizer
        self.supervise = supervise
        self.reasoning: Reasoning = reasoning
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.stops = special | {number for number in [tokenizer.eos_token_id] if isinstance(number, int)}

    def fault(self, segment: Segment, example: Example, shortened: bool) -> str | None:
        """What is wrong with what the row teaches, or nothing. Of a shortened row the end may be missing."""
        wanted, found = self.intended(example), runs(segment.supervised)
        if len(wanted) != len(found) and not shortened:
            return f"{len(found)} stretches are learned where {len(wanted)} are meant to be"
        for number, ((start, end), (text, plain)) in enumerate(zip(found, wanted, strict=False)):
            said, meant = self.decoded(segment.input_ids[start:end]), self.squeezed(text)
            cut = shortened and number == len(found) - 1
            if not (_agrees(said, meant, plain) or (cut and meant.startswith(said))):
                return f"learned is {_shown(said)} where {_shown(meant)} is meant"
        asked = self.squeezed(example.prompt or "")
        if not shortened and found and not self.decoded(segment.input_ids[: found[0][0]]).endswith(asked):
            return f"the prompt {_shown(asked)} does not stand before its completion"
        return None

    def ends(self, segment: Segment) -> bool:
        """Every learned stretch ends with a token that can stop the model."""
        found = runs(segment.supervised)
        return bool(found) and all(int(segment.input_ids[end - 1]) in self.stops for _, end in found)

    def intended(self, example: Example) -> list[tuple[str, bool]]:
        """The texts to learn, in order; whether each is all of its stretch, or stands in it among other words."""
        if example.kind == "text":
            return [(example.text or "", True)]
        if example.kind == "completion":
            return [(example.completion or "", True)]
        turns = [number for number, message in enumerate(example.messages) if message.role == "assistant"]
        silent = turns if self.supervise == "all" else turns[-1:]
        chosen = [turn for turn in turns if _learns(example.messages[turn], turn in silent)]
        left_out = read_only(example.messages[: chosen[-1] + 1], self.reasoning) if chosen else ()
        texts = [example.messages[turn] for turn in chosen if turn not in left_out]
        return [(message.content, not (message.reasoning or message.tool_calls)) for message in texts]

    def decoded(self, ids: np.ndarray | Sequence[int]) -> str:
        """The words of some ids, special tokens left out."""
        text = self.tokenizer.decode([int(number) for number in ids], skip_special_tokens=True)
        return squeeze(text if isinstance(text, str) else "".join(text))

    def squeezed(self, text: str) -> str:
        """The words of a text as they come back from the tokenizer."""
        return self.decoded(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """[start, end) of every stretch of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _agrees(said: str, meant: str, plain: bool) -> bool:
    if said == meant:
        return True
    if plain:
        return said.startswith(meant) and meant != "" and len(said) - len(meant) <= MARKUP
    return meant in said


def _learns(message: Message, otherwise: bool) -> bool:
    return otherwise if message.train is None else message.train


def squeeze(text: str) -> str:
    """A text without its white space."""
    return "".join(text.split())


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 32 else f"{text[:20]!r}...{text[-9:]!r}"
