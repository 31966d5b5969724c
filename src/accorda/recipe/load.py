"""From files, command line and Python to one `Recipe`: later layers win, every value remembers where it came from."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from accorda.errors import Refusal
from accorda.recipe.layers import HEADS, expanded, full_name, put
from accorda.recipe.parse import parse_file, parse_value
from accorda.recipe.sections import PYTHON, Recipe
from accorda.recipe.words import meant, shown

SHORT = {  # the names of the command line's flags and of Python's keyword arguments
    "stage": "stage",
    "model": "model.path",
    "data": "data.train",
    "eval_data": "data.eval",
    "columns": "data.columns",
    "method": "method.name",
    "rank": "method.rank",
    "lr": "training.learning_rate",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "output": "output",
}
COMMAND_LINE = "command line"


def load(
    source: str | PathLike[str] | Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe from a file or mapping, then `a.b=value` overrides and flags by dotted name, which win.

    Relative paths in it stay relative to the working directory. A `recipe.yaml` that a run wrote gives an equal
    recipe with the origins it was written with.

    Raises:
        Refusal: unreadable file, unknown setting, wrong value, the same setting given twice on the command line.
    """
    return Recipe.build(*merged(source, overrides, flags))


def merged(
    source: str | PathLike[str] | Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """The nested values of `load`, not yet read as a recipe, and the origin of each by dotted name."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if isinstance(source, Mapping):
        values, origins = expanded(source), {str(name): PYTHON for name in source}
    elif source is not None:
        given, origins = parse_file(str(source))
        values = expanded(given)
    for name, value in _command_line(overrides, flags or {}).items():
        put(values, origins, name.split("."), value, COMMAND_LINE)
    return values, origins


def from_keywords(**keywords: Any) -> Recipe:
    """A recipe from Python's keyword arguments: sections as mappings, or the names of flags (`rank=`, `lr=`)."""
    return Recipe.build(*merged_keywords(**keywords))


def merged_keywords(**keywords: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The nested values of `from_keywords`, not yet read as a recipe, and the origin of each."""
    sections = [name for name in Recipe.__dataclass_fields__ if name != "origins"]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, value in keywords.items():
        if name not in sections and name not in SHORT:
            near = meant(name, [*sections, *SHORT])
            raise Refusal(f"{name} = {shown(value)} (python): no such setting{near}")
        short = name not in sections or (name in HEADS and not isinstance(value, Mapping))
        put(values, origins, SHORT[name].split(".") if short else [name], value, PYTHON)
    return expanded(values), origins


def _command_line(overrides: Iterable[str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags and `a.b=value` overrides as one mapping; the same setting twice must agree."""
    given: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not name.strip():
            raise Refusal(f"{override}: an override is written KEY.PATH=VALUE, for example training.batch_size=16")
        value = parse_value(text, name.strip())
        _once(given, full_name(name.strip(), value), value)
    for name, value in flags.items():
        _once(given, name, value)
    return given


def _once(given: dict[str, Any], name: str, value: object) -> None:
    """Take a setting that may have been given before; two different values are refused."""
    if name in given and given[name] != value:
        raise Refusal(f"{name} = {shown(value)} (command line): already given as {shown(given[name])}; say it once")
    given[name] = value
