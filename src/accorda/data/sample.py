"""Rows as the model sees them, with what is learned set off from what is only read."""

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.batch import Segment
from accorda.data.dataset import Dataset
from accorda.data.order import order

LEARNED, READ_ONLY, PLACE, END = "\033[1;32m", "\033[2m", "\033[4m", "\033[0m"
LONGEST = 600
"""How many characters of one stretch are shown."""


def sample(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, color: bool = False, rows: int = 3) -> str:
    """A few rows as text: what is learned in green, or between ⟦ and ⟧ where there are no colours."""
    chosen = sorted(order(0, 0, len(dataset))[:rows].tolist())
    return "\n\n".join(shown(dataset, row, tokenizer, color) for row in chosen)


def shown(dataset: Dataset, row: int, tokenizer: PreTrainedTokenizerBase, color: bool) -> str:
    """One row below a line with its place and counts."""
    segment = dataset[row]
    head = f"{segment.file}:{segment.line}  {len(segment)} tokens, {int(segment.supervised.sum())} learned"
    text = "".join(_set_off(text, flag, color) for text, flag in stretches(segment, tokenizer))
    return f"{PLACE}{head}{END}\n{text}" if color else f"{head}\n{text}"


def stretches(segment: Segment, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, bool]]:
    """The row's text in stretches that are learned, or not, throughout."""
    ids, flags = segment.input_ids.tolist(), segment.supervised
    borders = [0, *(np.flatnonzero(np.diff(flags.astype(np.int8))) + 1).tolist(), len(ids)]
    texts = [
        str(tokenizer.decode(ids[:border])) if border else "" for border in borders
    ]  # from the start: spaces survive
    return [(texts[at + 1][len(texts[at]) :], bool(flags[border])) for at, border in enumerate(borders[:-1])]


def _set_off(text: str, learned: bool, color: bool) -> str:
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"
    text = "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
    if color:
        return f"{LEARNED if learned else READ_ONLY}{text}{END}"
    return f"⟦{text}⟧" if learned else text
