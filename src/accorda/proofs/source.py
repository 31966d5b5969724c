"""Do the texts that are trained on stand in the files they are said to come from, at their lines?

A token store that outlived a change of its file would train on what is no longer there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accorda.data.dataset import Dataset
from accorda.data.example import Example
from accorda.data.sources import origins
from accorda.proofs.words import squeeze
from accorda.recipe.sections import DataSection

FURTHEST = 50_000  # rows of a source that are read again


def absent_from_source(section: DataSection, dataset: Dataset, sample: Sequence[int]) -> list[str]:
    """file:line of the sampled rows with a line of text that their source does not hold there."""
    places: dict[tuple[str, int], list[Example]] = {}  # a JSON file on one line has all its rows there
    for index in sample:
        places.setdefault((dataset[index].file, dataset[index].line), []).append(dataset.example(index))
    held: dict[tuple[str, int], list[str]] = {}
    for place, row in _rows(section, dataset.report.split, places.keys()):
        held.setdefault(place, []).append(squeeze("\n".join(_strings(row))))
    found = [
        f"{file}:{line} does not hold {missing[0][:40]!r}"
        for (file, line), texts in held.items()
        for example in places[file, line]
        if (missing := _missing(example, texts))
    ]
    gone = [
        f"{file}:{line} is no row any more" for file, line in places if (file, line) not in held and line < FURTHEST
    ]
    return found + gone


def _rows(section: DataSection, split: str, wanted: Any) -> Iterator[tuple[tuple[str, int], Any]]:
    """The wanted rows as their files hold them now."""
    own = split == "eval" and section.eval is not None
    for origin in origins(section, "eval" if own else "train"):
        last = max((line for file, line in wanted if file == origin.shown), default=0)
        for number, (file, line, row) in enumerate(origin.read()):
            if number >= FURTHEST or line > last:
                break
            if (file, line) in wanted:
                yield (file, line), row


def _missing(example: Example, texts: Sequence[str]) -> list[str]:
    """The lines of the example that the row of its place does not hold; of several rows there, the nearest one."""
    parts = {part: squeeze(part) for part in _lines(example)}
    return min(([part for part, form in parts.items() if form not in text] for text in texts), key=len)


def _lines(example: Example) -> Iterator[str]:
    """Every line of every text of an example."""
    texts = [
        example.prompt,
        example.completion,
        example.text,
        example.text_pair,
        *(message.content for message in (*example.messages, *example.answers)),
    ]
    for text in texts:
        yield from (text or "").splitlines()


def _strings(value: Any) -> Iterator[str]:
    """Every text and number in a row of any shape."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _strings(entry)
    elif value is not None:
        yield str(value)
