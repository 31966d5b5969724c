"""No setting is decoration: whatever a recipe can say is read by the code that runs it."""

import sys

import pytest
from tests.stages.runs import settings

from accorda.recipe import sections
from accorda.recipe.reader import names
from accorda.recipe.sections import Recipe
from accorda.stages import train

SECTIONS = {"model": "ModelSection", "data": "DataSection", "training": "TrainingSection"}
SECTIONS |= {"evaluation": "EvaluationSection", "": "Recipe"}
LATER = {"algorithm", "rollout", "reward"}  # for stages that are still to come
BY_SOURCE = {"data.train": "sources", "data.format": "sources", "data.columns": "sources"}  # handed out by a method


@pytest.fixture
def read(monkeypatch) -> set[str]:
    """The dotted names of the settings that code outside `accorda.recipe` looks at."""
    seen: set[str] = set()
    for section, name in SECTIONS.items():
        cls = getattr(sections, name)

        def look(self, attribute, section=section, plain=object.__getattribute__):
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.startswith("accorda.") and not caller.startswith("accorda.recipe"):
                seen.add(f"{section}.{attribute}" if section else attribute)
            return plain(self, attribute)

        monkeypatch.setattr(cls, "__getattribute__", look)
    return seen


def test_a_run_reads_every_setting(read, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    recipe = settings(tmp_path, training={"max_steps": None})
    train(recipe)
    wanted = {name for name in names(Recipe) if name not in SECTIONS and name not in LATER}
    wanted = {f"data.{BY_SOURCE[name]}" if name in BY_SOURCE else name for name in wanted}
    assert wanted - read == set()
