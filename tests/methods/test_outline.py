"""What the files say as text is what the classes are."""

import dataclasses
import subprocess
import sys

import pytest

from accorda.methods import outline
from accorda.methods.registry import methods
from accorda.recipe.reader import hints
from accorda.recipe.words import literals


def test_the_names_are_those_of_the_registry():
    assert list(outline.files()) == list(methods())


@pytest.mark.parametrize("name", methods())
def test_the_text_says_what_the_class_is(name):
    told, method = outline.outline(name), methods()[name]
    assert (told.family, told.kind, told.paper) == (method.family, method.kind, method.paper)
    assert told.traits == dataclasses.asdict(method.traits)
    assert told.defaults == {
        field.name: None if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(method)
    }


@pytest.mark.parametrize("name", methods())
def test_every_setting_is_explained_with_its_choices(name):
    """The string below the field: what `init` writes behind it."""
    types = hints(methods()[name])
    for setting in outline.outline(name).settings:
        assert setting.says
        assert all(str(choice) in setting.says for choice in literals(types[setting.name]))


def test_reading_imports_nothing_heavy():
    code = "import sys; from accorda.methods.outline import outline; outline('lora'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_cannot_be_read_says_where(tmp_path, monkeypatch):
    source = "class A(ModuleMethod):\n    paper = 'x'\n    traits = Traits()\n    rank: int = compute()\n"
    (tmp_path / "side").mkdir()
    (tmp_path / "side" / "odd.py").write_text(source)
    monkeypatch.setattr(outline, "HERE", tmp_path)
    with pytest.raises(ValueError, match=r"odd\.py:4: a default must be a literal"):
        outline.outline("odd")
