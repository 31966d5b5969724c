"""What may go: never a run that is still going, never one that another came out of."""

import json
import os
from pathlib import Path

from accorda.runs.cleaning import DAY, remove, size, waste
from accorda.runs.lineage import runs

NOW = 1_800_000_000.0


def make(path: Path, days: float, *, complete: bool, model: str = "m", checkpoints: int = 1) -> Path:
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text(f"stage: sft  # default\nmodel:\n  path: {model}  # command line\n")
    (path / "environment.json").write_text("{}")
    (path / "events.jsonl").write_text('{"event": "step"}\n')
    for step in range(checkpoints):
        (path / "checkpoints" / f"step-{step}").mkdir(parents=True)
        (path / "checkpoints" / f"step-{step}" / "state").write_bytes(b"x" * 1000)
    if complete:
        (path / "result.json").write_text(json.dumps({"status": "complete", "parents": [model]}))
    for place in [*path.rglob("*"), path]:
        os.utime(place, (NOW - days * DAY,) * 2)
    return path


def named(folder: Path, days: int = 14) -> set[str]:
    return {item.path.relative_to(folder).as_posix() for item in waste(runs(folder), days, NOW)}


def test_checkpoints_of_complete_runs_and_old_unfinished_runs(tmp_path):
    make(tmp_path / "done", 1, complete=True)
    make(tmp_path / "bare", 99, complete=True, checkpoints=0)
    make(tmp_path / "old", 15, complete=False)
    make(tmp_path / "going", 13, complete=False)
    assert named(tmp_path) == {"done/checkpoints", "old"}
    assert named(tmp_path, days=12) == {"done/checkpoints", "old", "going"}


def test_a_folder_of_ones_own_that_holds_a_recipe_is_no_run(tmp_path):
    mine = make(tmp_path / "mine", 99, complete=False)
    (mine / "environment.json").unlink()
    (mine / "rows.csv").write_text("a,b\n")
    assert named(tmp_path) == set()


def test_news_in_any_place_counts(tmp_path):
    for name, file in (("a", "events.jsonl"), ("b", "checkpoints/step-0")):
        make(tmp_path / name, 99, complete=False)
        os.utime(tmp_path / name / file, (NOW,) * 2)
    assert named(tmp_path) == set()


def test_a_parent_of_a_run_that_stays_stays(tmp_path):
    parent = make(tmp_path / "parent", 99, complete=False)
    middle = make(tmp_path / "middle", 99, complete=False, model=str(parent / "model"))
    make(tmp_path / "alone", 99, complete=False)
    (parent / "model").mkdir()
    (middle / "adapter").mkdir()
    make(tmp_path / "child", 1, complete=True, model=str(middle / "adapter"), checkpoints=0)
    assert named(tmp_path) == {"alone"}
    (tmp_path / "child" / "result.json").write_text(json.dumps({"status": "complete", "parents": []}))
    assert named(tmp_path) == {"alone", "parent", "middle"}


def test_what_goes_is_gone_and_nothing_else(tmp_path):
    make(tmp_path / "done", 1, complete=True)
    make(tmp_path / "old", 15, complete=False)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("x")
    (tmp_path / "old" / "link").symlink_to(tmp_path / "elsewhere")
    found = waste(runs(tmp_path), 14, NOW)
    assert {item.bytes for item in found} == {1000, size(tmp_path / "old")}
    remove(found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "elsewhere"]
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == [
        *("environment.json", "events.jsonl", "recipe.yaml", "result.json"),
    ]
    assert (tmp_path / "elsewhere" / "precious").exists()
