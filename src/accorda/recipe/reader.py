"""One strict reader for every frozen dataclass: a method, an optimizer, an algorithm, the recipe.

A key that no field has, a value of the wrong type or out of range, a field that is missing: each is one `Refusal` that
names the setting, the value, where it came from and what would be right.
"""

import dataclasses
import functools
import json
import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

from accorda.errors import Refusal
from accorda.recipe.words import described, literals, meant, printable, shown

T = TypeVar("T")
Origins = Mapping[str, str]


def read(cls: type[T], mapping: Mapping[str, Any], *, at: str = "", origins: Origins | None = None) -> T:
    """Build the dataclass `cls` from a mapping whose keys are its fields.

    `at` is the dotted name of the mapping in the recipe (`training`), `origins` tells by full dotted name where each
    value came from. Values are taken strictly: `true` is not 1, "8" is not 8, 1 is a float where a float is asked for.

    Raises:
        Refusal: unknown key, missing field, wrong type, out of range, or what the class's own check objects to.
    """
    return _read(cls, mapping, at, origins, names(cls, at))


def _read(cls: type[T], mapping: Mapping[str, Any], at: str, origins: Origins | None, known: Sequence[str]) -> T:
    """`read`, with every dotted name of the outermost class for did-you-mean."""
    if not isinstance(mapping, Mapping):
        raise refusal(at, mapping, "must be a mapping of names to values", origins)
    fields, types, values = {field.name: field for field in settings(cls)}, hints(cls), {}
    for key, value in mapping.items():
        name = dotted(at, str(key))
        if key not in fields:
            raise refusal(name, value, f"no such setting{meant(name, known)}", origins)
        values[key] = value_of(fields[key], types[key], value, name, origins, known)
    for name, field in fields.items():
        if name not in values and required(field):
            raise Refusal(f"{dotted(at, name)}: missing; it must be {described(types[name])}")
    try:
        return cls(**values)
    except ValueError as error:
        raise Refusal(_objection(str(error), cls, at, origins)) from error


def _objection(says: str, cls: type, at: str, origins: Origins | None) -> str:
    """What a class's own check objects to; where it begins `setting = value: ` in the words of `refusal`."""
    name, _, rest = says.partition(" = ")
    value, colon, reason = rest.partition(": ")
    if colon and name in {field.name for field in settings(cls)}:
        return f"{dotted(at, name)} = {value}{came_from(dotted(at, name), origins)}: {reason}"
    return f"{at or cls.__name__}{came_from(at, origins)}: {says}"


def names(cls: type, at: str = "") -> list[str]:
    """The dotted names of every setting of a dataclass and of the dataclasses in it."""
    found = []
    for field in settings(cls):
        found.append(dotted(at, field.name))
        if nested(hints(cls)[field.name]):
            found += names(hints(cls)[field.name], dotted(at, field.name))
    return found


def nested(annotation: Any) -> bool:
    """Whether a field is a dataclass of its own."""
    return dataclasses.is_dataclass(annotation) and isinstance(annotation, type)


def settings(cls: type) -> list[dataclasses.Field[Any]]:
    """The fields a user may set, in their order."""
    return [field for field in dataclasses.fields(cls) if field.init and field.metadata.get("setting", True)]


def value_of(
    field: dataclasses.Field[Any], annotation: Any, value: Any, at: str, origins: Origins | None, known: Sequence[str]
) -> Any:
    """One field's value: by its own reader, as a nested dataclass, or checked against its type."""
    if "reader" in field.metadata:
        return field.metadata["reader"](value, at, origins)
    if nested(annotation):
        return _read(annotation, value, at, origins, known)
    return checked(annotation, value, at, origins)


def checked(annotation: Any, value: object, at: str, origins: Origins | None) -> Any:
    """The value as the type wants it (lists as tuples, 1 as 1.0), or a refusal that says what is wanted."""
    from pydantic import ValidationError

    value = plain(value)
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):  # a function, an object: only from Python
        text = None
    try:
        adapter = type_adapter(annotation)
        found = (
            adapter.validate_python(value, strict=True) if text is None else adapter.validate_json(text, strict=True)
        )
    except ValidationError as error:
        reason = f"must be {described(annotation)}{way_out(annotation, value)}"
        raise refusal(at, value, reason, origins) from error
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # what counts with it further on holds no more
        raise refusal(at, value, "must be a number that fits in 64 bits", origins)
    return found


def way_out(annotation: Any, value: object) -> str:
    """What to write instead, where that can be guessed."""
    kinds = described(annotation).split(" or ")
    if isinstance(value, int | float) and any("text" in kind for kind in kinds if "list" not in kind):
        return "; put it in quotes to make it text"
    if isinstance(value, str) and kinds[0].startswith("a list") and len(kinds) == 1:
        return f"; write [{shown(value)}] for one"
    return meant(value, (str(word) for word in literals(annotation))) if isinstance(value, str) else ""


@functools.cache
def type_adapter(annotation: Any) -> Any:
    """Pydantic's validator of one type; not-a-number and infinity are never settings."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True))


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """The types of the fields with their ranges."""
    return get_type_hints(cls, include_extras=True)


def plain(value: object) -> Any:
    """Paths, numpy numbers and foreign sequences as the plain values that a recipe file would hold."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    if isinstance(value, numbers.Integral) and not isinstance(value, int):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, int | float):
        return float(value)
    return value


def required(field: dataclasses.Field[Any]) -> bool:
    """Whether the field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def refusal(at: str, value: object, reason: str, origins: Origins | None) -> Refusal:
    """`training.rank = 0 (recipe.yaml:7): must be a whole number above 0`."""
    return Refusal(f"{printable(at)} = {shown(value)}{came_from(at, origins)}: {reason}")


def came_from(at: str, origins: Origins | None) -> str:
    """` (origin)` of the setting or of the nearest mapping around it; nothing where none is known."""
    origin = origin_of(at, origins)
    return f" ({origin})" if origin else ""


def origin_of(at: str, origins: Origins | None) -> str | None:
    """The origin recorded for a dotted name, else for what it stands in."""
    while origins and at:
        if at in origins:
            return origins[at]
        at = at[: at.rfind("[")] if at.endswith("]") else at.rpartition(".")[0]
    return None


def dotted(at: str, name: str) -> str:
    """A name inside a section."""
    return f"{at}.{name}" if at else name
