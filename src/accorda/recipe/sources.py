"""What `data.train` and `data.eval` may be: a path, several, several with weights, or rows given from Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accorda.recipe.reader import Origins, checked, origin_of, plain, read, refusal
from accorda.recipe.types import PositiveFloat, Text

WANTED = "must be a path, hf:owner/name:split, a list of paths, or a list of {path, weight, format, columns}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file, folder or hub data set; `format` and `columns` are the section's where left out."""

    path: Text
    weight: PositiveFloat = 1.0
    format: str | None = None
    columns: dict[str, str] = field(default_factory=dict)


Rows = list[dict[str, Any]]
Sources = str | tuple[Source, ...] | Rows | None


def read_sources(value: object, at: str, origins: Origins | None) -> Sources:
    """One path as text, several as a tuple of `Source`, rows from Python as the list they came in."""
    if value is None or isinstance(plain(value), str):
        return checked(Text | None, value, at, origins)
    if isinstance(value, Mapping):
        return (read(Source, value, at=at, origins=origins),)
    if not isinstance(value, Sequence) or not value:
        raise refusal(at, value, WANTED, origins)
    if given_as_rows(value, at, origins):
        return list(value)
    return tuple(read_source(item, f"{at}[{index}]", origins) for index, item in enumerate(value))


def read_source(item: object, at: str, origins: Origins | None) -> Source:
    """One entry of a list of sources."""
    if isinstance(item, Mapping):
        return read(Source, item, at=at, origins=origins)
    if not isinstance(plain(item), str):
        raise refusal(at, item, WANTED, origins)
    return Source(path=checked(Text, item, at, origins))


def given_as_rows(items: Sequence[Any], at: str, origins: Origins | None) -> bool:
    """Whether Python handed over the examples themselves; a file can only name where they are."""
    names = set(Source.__dataclass_fields__)
    if (origin_of(at, origins) or "python") != "python" or not all(isinstance(item, Mapping) for item in items):
        return False
    return not all("path" in item and set(item) <= names for item in items)


def plain_sources(value: Sources) -> Any:
    """The value as a recipe file would hold it: of each source only what differs from the defaults."""
    if not isinstance(value, tuple):
        return value
    bare = vars(Source(path=""))
    return [{key: item for key, item in vars(source).items() if item != bare[key]} for source in value]
