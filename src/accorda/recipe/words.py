"""Settings in words: what a type accepts, how a value is shown, which name was probably meant."""

import difflib
import json
import types
from collections.abc import Iterable, Mapping
from importlib.metadata import distribution
from typing import Annotated, Any, Literal, Union, get_args, get_origin

NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    Any: "a value",
}
BOUNDS = (("gt", "above"), ("ge", "of at least"), ("lt", "below"), ("le", "of at most"))
LONGEST_VALUE = 80
OTHER_NAMES = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "bsz": "batch_size",
    "r": "rank",
    "lam": "gae_lambda",
    "lambda": "gae_lambda",
}
"""What settings are called elsewhere, where no letters of it would lead to the name."""


def shown(value: object) -> str:
    """The value on one line, shortened, as it would be written in a recipe."""
    text = value if isinstance(value, str) and value.isprintable() and value else json.dumps(value, default=repr)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def meant(word: str, words: Iterable[str]) -> str:
    """`; did you mean X?` for the nearest of `words`, or nothing where none is near.

    Dotted names are compared by their last part, the same section first: `batch_size` is `training.batch_size`.
    """
    section, _, last = word.rpartition(".")
    last = OTHER_NAMES.get(last, last)
    known = sorted(words, key=lambda name: name.rpartition(".")[0] != section)
    near = difflib.get_close_matches(last, [name.rpartition(".")[2] for name in known], n=1, cutoff=0.6)
    found = next((name for name in known if near and name.rpartition(".")[2] == near[0]), "")
    return f"; did you mean {found}?" if found else ""


def choice(word: str, words: Iterable[str]) -> str:
    """`; did you mean X?`, or all of them where none is near."""
    return meant(word, words) or f"; choose one of {', '.join(words)}"


def several(number: int, noun: str) -> str:
    """`1 row`, `3 rows`, `1,200 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def install(extra: str) -> str:
    """The command that brings an extra of accorda: into the clone that is installed, else from the index."""
    told = json.loads(distribution("accorda").read_text("direct_url.json") or "{}")
    clone = told.get("dir_info", {}).get("editable") and str(told.get("url", "")).removeprefix("file://")
    return f"pip install -e '{clone}[{extra}]'" if clone else f"pip install 'accorda[{extra}]'"


def printable(name: str) -> str:
    """A name on one line, whatever is in it."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def literals(annotation: Any) -> list[Any]:
    """Every literal value that the type lists, at any depth of unions."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [value for part in get_args(annotation) for value in literals(part)]
    return []


def described(annotation: Any) -> str:
    """What the type accepts: `PositiveInt | Auto` is "a whole number above 0 or auto"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated and any(hasattr(constraint, "min_length") for constraint in arguments[1:]):
        return f"non-empty {described(arguments[0])}"
    if origin is Annotated:
        return described(arguments[0]) + bounds(arguments[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(described(part) for part in arguments))
    if origin is Literal:
        return (
            ", ".join(shown(value) for value in arguments[:-1])
            + (" or " if arguments[1:] else "")
            + shown(arguments[-1])
        )
    if origin in (list, tuple, set, frozenset):
        return "a list" + (f", each {described(arguments[0])}" if arguments else "")
    if annotation in (dict, Mapping) or origin in (dict, Mapping):
        return "a mapping of names to values"
    return NAMES.get(annotation) or getattr(annotation, "__name__", str(annotation))


def bounds(constraints: Iterable[object]) -> str:
    """The range in words; nothing for a constraint that is not a range."""
    found = []
    for constraint in constraints:
        for name, word in BOUNDS:
            limit = getattr(constraint, name, None)
            if limit is not None:
                found.append(f"{word} {limit}")
    return " " + " and ".join(found) if found else ""
