"""How rows of compared answers are read, told by one of them, before there is a tokenizer."""

from collections.abc import Mapping
from typing import Any

from accorda.data.formats import registry
from accorda.data.formats.hints import COMPLETIONS, PROMPTS, first, is_prose, quoted
from accorda.data.formats.registry import Mapped

FOLDER = "accorda.data.preferences.formats"
VOTED = (("response_j", "response_k"),)
"""Columns of public data whose names do not say which answer is better: of StackExchange's, j has more votes."""


def choose(row: Mapping[str, Any], place: str, *, name: str = "auto", columns: Mapping[str, str]) -> Mapped:
    """The format of a source; a `Refusal` where none fits."""
    return registry.choose(
        row, place, name=name, columns=columns, folder=FOLDER, why_not=lambda row: None, suggest=suggestion
    )


def suggestion(row: Mapping[str, Any]) -> str:
    """The `--column` options that probably fit; `COLUMN` for what no column looks like."""
    texts = [name for name, value in row.items() if isinstance(value, str)]
    prompt = first(texts, PROMPTS) or "COLUMN"
    others = [name for name in texts if name != prompt and first([name], COMPLETIONS) is None and is_prose(row[name])]
    chosen, rejected = first(texts, COMPLETIONS) or "COLUMN", others[0] if len(others) == 1 else "COLUMN"
    chosen, rejected = next((pair for pair in VOTED if set(pair) <= set(texts)), (chosen, rejected))
    options = (("prompt", prompt), ("chosen", chosen), ("rejected", rejected))
    return (
        " ".join(f"--column {quoted(field, column)}" for field, column in options)
        + " (or completions and ranks, or completion and label)"
    )
