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
    places = {(dataset[index].file, dataset[index].line): dataset.example(index) for index in sample}
    found, read = [], set[tuple[str, int]]()
    for (file, line), row in _rows(section, dataset.report.split, places.keys()):
        read.add((file, line))
        text = squeeze("\n".join(_strings(row)))
        missing = [part for part in _lines(places[file, line]) if squeeze(part) not in text]
        if missing:
            found.append(f"{file}:{line} does not hold {missing[0][:40]!r}")
    gone = [
        f"{file}:{line} is no row any more" for file, line in places if (file, line) not in read and line < FURTHEST
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


def _lines(example: Example) -> Iterator[str]:
    """Every line of every text of an example."""
    texts = [example.prompt, example.completion, example.text, *(message.content for message in example.messages)]
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
