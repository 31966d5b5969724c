"""Rules of the house that a program can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from accorda import __version__
from accorda.methods.outline import FAMILIES

TOP = Path(__file__).resolve().parents[1]
SOURCES = sorted((TOP / "src" / "accorda").rglob("*.py"))
PUBLIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(TOP / "src" / "accorda").as_posix())
def test_every_file_and_public_name_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    bare = [node.name for node in tree.body if isinstance(node, PUBLIC) and not node.name.startswith("_")]
    silent = [n.name for n in tree.body if isinstance(n, PUBLIC) and n.name in bare and not ast.get_docstring(n)]
    assert silent == []


def test_the_changelog_knows_this_version():
    text = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(__version__)}\b", text, re.MULTILINE)


def test_every_direct_dependency_is_pinned():
    import tomllib

    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    asked = {re.split(r"[<>=;\[ ]", line)[0] for line in [*project["dependencies"], *extras]} - {"accorda"}
    pinned = {line.split("==")[0] for line in (TOP / "constraints.txt").read_text().splitlines() if "==" in line}
    assert asked <= pinned


def test_every_core_dependency_is_imported():
    import tomllib

    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {re.split(r"[<>=;\[ ]", line)[0].replace("-", "_") for line in project["dependencies"]}
    modules = {"yaml" if name == "pyyaml" else name for name in asked}
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    imported = set(re.findall(r"^ *(?:from|import) (\w+)", text, re.MULTILINE))
    assert modules - imported == {"tokenizers"}  # whose objects come through transformers: data/words.py


def test_no_method_of_any_family_may_import_another():
    import tomllib

    contracts = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (independent,) = (one["modules"] for one in contracts if one["type"] == "independence")
    assert independent == [f"accorda.methods.{family}.*" for family in FAMILIES]


def test_sizes_hold():
    done = subprocess.run([sys.executable, TOP / "tools" / "sizes.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
