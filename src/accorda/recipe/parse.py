"""YAML in, with the line of every value: duplicate keys are refused, `1e-4` is a number, `no` and `on` are text."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.recipe.stamp import is_as_written
from accorda.recipe.words import printable, shown

NULL, BOOL, INT, FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))
SCALARS = (  # YAML 1.2's core schema; PyYAML's own rules (1.1) read 1e-4 as text, `no` as false and 010 as eight
    (NULL, r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    (BOOL, r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    (INT, r"[-+]?[0-9]+", list("-+0123456789")),
    (
        FLOAT,
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)
CONSTRUCTORS = {
    NULL: lambda text: None,
    BOOL: lambda text: text.lower() == "true",
    INT: int,
    FLOAT: lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
}
COMMENT = re.compile(r"\s+# (.*)")


ROWS = (".csv", ".tsv", ".jsonl", ".parquet")


def parse_file(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A recipe file's mapping and, by dotted name, `path:line` of every value (or the origin written behind it).

    Raises:
        Refusal: no such file, not UTF-8, not YAML, not a mapping, a key given twice.
    """
    if Path(path).suffix.lower() in ROWS:
        raise Refusal(f"{path}: a file of rows and no recipe; give it with --data {path}")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Refusal(f"{path}: cannot be read as a recipe: {(error.strerror or 'unreadable').lower()}") from error
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}: not a recipe: byte {error.start} is not UTF-8 text") from error
    value, lines = parse(text, path)
    if value is None:
        return {}, {}
    if not isinstance(value, dict):
        raise Refusal(f"{path}: a recipe must be a mapping of sections to settings")
    origins = {name: f"{path}:{line}" for name, (line, _) in lines.items()}
    if is_as_written(text):
        origins |= {name: comment for name, (_, comment) in lines.items() if comment}
    return value, origins


def parse(text: str, path: str) -> tuple[Any, dict[str, tuple[int, str]]]:
    """The value of one YAML document and, by dotted name, its line and the comment behind it."""
    import yaml

    try:
        loader = _loader_class()(text)
        node = loader.get_single_node()
        lines: dict[str, tuple[int, str]] = {}
        if node is None:
            return None, lines
        rows = text.splitlines()
        for name, child in _named(node, "", path, ()):
            lines[name] = (child.start_mark.line + 1, _comment(rows, child))
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Refusal(f"{path}{line}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise Refusal(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise Refusal(f"{path}: not valid YAML: nested too deeply") from error


def parse_value(text: str, at: str) -> Any:
    """One value typed as YAML types it: `16`, `1e-4`, `true`, `[rouge, bleu]`, `"16"`; all else is text as it is."""
    if not text.lstrip().startswith(("[", "{", '"', "'")):
        tag = next((tag for tag, pattern, _ in SCALARS if re.fullmatch(pattern, text.strip())), "")
        try:
            return CONSTRUCTORS[tag](text.strip()) if tag else text
        except ValueError as error:  # more digits than Python reads
            raise Refusal(f"{at} = {shown(text)} (command line): no number: too many digits") from error
    try:
        return parse(text, "")[0]
    except Refusal as error:
        reason = str(error).partition(": ")[2]
        raise Refusal(f"{at} = {shown(text)} (command line): {reason}") from error


def _named(node: Any, at: str, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Every value node below `node` with its dotted name; a key given twice is refused."""
    import yaml

    if id(node) in above:
        raise Refusal(f"{path}:{node.start_mark.line + 1}: {printable(at)} contains itself")
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = f"{at}.{key.value}" if at else str(key.value), key.start_mark.line + 1
            if name in seen:
                raise Refusal(f"{path}:{line}: {printable(name)} is given twice (first in line {seen[name]})")
            seen[name] = line
            yield name, value
            yield from _named(value, name, path, (*above, id(node)))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{at}[{index}]", item
            yield from _named(item, f"{at}[{index}]", path, (*above, id(node)))


def _comment(rows: list[str], node: Any) -> str:
    """What stands behind a value that ends its line."""
    end = node.end_mark
    found = COMMENT.fullmatch(rows[end.line][end.column :]) if end.line < len(rows) else None
    return found[1] if found else ""


def _loader_class() -> Any:
    """PyYAML's safe loader with the scalars of YAML 1.2."""
    import yaml

    loader: Any = type("Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": {}})
    for tag, pattern, first in SCALARS:
        loader.add_implicit_resolver(tag, re.compile(rf"^(?:{pattern})$"), first)
        loader.add_constructor(tag, lambda loader, node, tag=tag: CONSTRUCTORS[tag](loader.construct_scalar(node)))
    return loader
