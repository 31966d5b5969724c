from pathlib import Path

import pytest

from accorda.recipe.load import load
from accorda.stages import train

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHORT = ["training.max_steps=2", "training.batch_size=4", "training.threads=1", "data.limit=60", "data.overlong=skip"]
BEHIND_OTHERS = {"instructgpt"}
"""They begin from runs: tests/stages/test_instructgpt.py makes those first."""
RECIPES = [path for path in sorted(EXAMPLES.glob("*.yaml")) if path.stem not in BEHIND_OTHERS]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_example_runs_as_it_is_and_proves_itself(path, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "checkout"
    place.mkdir()
    (tmp_path / "shared").symlink_to(shared)
    (place / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(place)
    run = train(load(path, overrides=SHORT))
    assert run.proven
    assert run.result["steps"] == 2
