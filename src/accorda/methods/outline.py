"""What the files of the methods say, read as text: names, promises, settings. No torch is imported for it.

The one class of a method's file that derives from a kind of the contract is the method. Its settings are literals or
names of the same file, so that they can be read without running it; a string below a setting explains it.
"""

import ast
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import annotated_types

from accorda.recipe import types
from accorda.recipe.words import described

FAMILIES = ("additive", "side", "selective", "reparametrized")
HERE = Path(__file__).resolve().parent
CONTRACT = HERE / "contract.py"


@dataclass(frozen=True)
class Setting:
    """One field of a method: its default, None where it must be given, what it accepts, and the sentence about it."""

    name: str
    default: Any
    accepts: str = ""
    says: str = ""


@dataclass(frozen=True)
class Outline:
    """A method as its file describes it; `about` is the file's docstring."""

    name: str
    family: str
    kind: str
    paper: str
    traits: dict[str, Any]
    settings: tuple[Setting, ...]
    about: str
    rate_of: str | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        """Every setting's default."""
        return {setting.name: setting.default for setting in self.settings}


def methods() -> dict[str, Outline]:
    """Every method by name, in the order of the families."""
    return {name: outline(name) for name in files()}


def relatives() -> dict[str, str | None]:
    """By method the one whose learning rate it takes where none is known for itself."""
    return {name: method.rate_of for name, method in methods().items()}


def files() -> dict[str, Path]:
    """The file of every method by name, in the order of the families."""
    found = [path for family in FAMILIES for path in sorted((HERE / family).glob("*.py"))]
    return {path.stem: path for path in found if path.stem != "__init__"}


@cache
def outline(name: str) -> Outline:
    """A method by name.

    Raises:
        ValueError: its file says something that only running it could tell.
    """
    path, (kinds, traits) = files()[name], _contract()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = dict(_constants(tree.body))
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and _base(node) in kinds]
    if len(found) != 1:
        raise ValueError(f"{path}: must define one method, it defines {len(found)}")
    kind, inherited = kinds[_base(found[0])]
    said = dict(_constants(found[0].body))
    own = {setting.name: setting for setting in _settings(found[0], constants, path)}
    settings = [own.pop(setting.name, setting) for setting in inherited]
    given = said["traits"]
    if not isinstance(given, ast.Call):
        raise ValueError(f"{path}: traits must be written as Traits(...)")
    promises = {word.arg: _literal(word.value, constants, path) for word in given.keywords if word.arg}
    return Outline(
        name=name,
        family=path.parent.name,
        kind=kind,
        paper=_literal(said["paper"], constants, path),
        traits={key: promises.get(key, default) for key, default in traits.items()},
        settings=(*settings, *own.values()),
        about=ast.get_docstring(tree) or "",
        rate_of=_literal(said.get("rate_of"), constants, path),
    )


def settings_in(path: Path, bases: Collection[str]) -> tuple[Setting, ...]:
    """The settings of the class in a file that derives from one of these, as the file has them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and _base(node) in bases]
    if len(found) != 1:
        raise ValueError(f"{path}: must define one class of {', '.join(bases)}, it defines {len(found)}")
    return tuple(_settings(found[0], dict(_constants(tree.body)), path))


@cache
def _contract() -> tuple[dict[str, tuple[str, tuple[Setting, ...]]], dict[str, Any]]:
    """Of every class that is a kind: the kind and its settings. And the promises with what holds unless said."""
    tree = ast.parse(CONTRACT.read_text(encoding="utf-8"))
    kinds, traits = {}, {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Traits":
            traits = {setting.name: setting.default for setting in _settings(node, {}, CONTRACT)}
        elif isinstance(node, ast.ClassDef) and _base(node) == "Method":
            kind = dict(_constants(node.body)).get("kind")
            kinds[node.name] = (_literal(kind, {}, CONTRACT), tuple(_settings(node, {}, CONTRACT)))
    return kinds, traits


def _settings(node: ast.ClassDef, constants: Mapping[str, ast.expr], path: Path) -> Iterator[Setting]:
    """The annotated fields of a class, each with the string below it."""
    for statement, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if ast.unparse(statement.annotation).startswith("ClassVar"):
                continue
            default = None if statement.value is None else _literal(_default(statement.value), constants, path)
            yield Setting(statement.target.id, default, _accepts(statement.annotation), _text(below))


def _default(value: ast.expr) -> ast.expr:
    """What a field begins with, where it is written as `field(default=..., metadata=...)` too."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        return next(word.value for word in value.keywords if word.arg == "default")
    return value


def _accepts(annotation: ast.expr) -> str:
    """The type in words; nothing where only running the file could tell it."""
    try:
        kind = eval(ast.unparse(annotation), {**vars(typing), **vars(annotated_types), **vars(types)})
    except (NameError, AttributeError):
        return ""
    return described(kind)


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def _constants(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Assignments to one name, annotated or not."""
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and node.value is not None:
            yield target.id, node.value


def _base(node: ast.ClassDef) -> str:
    return node.bases[0].id if node.bases and isinstance(node.bases[0], ast.Name) else ""


def _literal(node: ast.expr | None, constants: Mapping[str, ast.expr], path: Path) -> Any:
    if isinstance(node, ast.Name) and node.id in constants:
        node = constants[node.id]
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        raise ValueError(f"{path}:{getattr(node, 'lineno', '?')}: a default must be a literal") from None
