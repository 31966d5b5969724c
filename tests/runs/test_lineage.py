import json
from pathlib import Path

from accorda.runs.lineage import runs, tree


def make(path: Path, parents: list[str] | None = None, *, complete: bool = True) -> None:
    path.mkdir(parents=True)
    (path / "recipe.yaml").touch()
    (path / "environment.json").touch()
    if complete:
        (path / "result.json").write_text(json.dumps({"status": "complete", "steps": 3, "parents": parents or []}))


def shape(folder: Path) -> list[tuple[int, str]]:
    return [(depth, entry.path.name) for depth, entry in tree(runs(folder))]


def test_runs_stand_below_what_they_came_out_of(tmp_path):
    make(tmp_path / "a" / "sft")
    make(tmp_path / "dpo", [str(tmp_path / "a" / "sft")])
    make(tmp_path / "ppo", [str(tmp_path / "dpo"), str(tmp_path / "a" / "sft")])
    make(tmp_path / "other", ["some/hub-model"])
    make(tmp_path / "begun", complete=False)
    (tmp_path / "begun" / "checkpoints" / "step-40").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    make(tmp_path / "dpo" / "model" / "copied")
    assert shape(tmp_path) == [(0, "sft"), (1, "dpo"), (2, "ppo"), (0, "begun"), (0, "other")]
    begun = next(entry for entry in runs(tmp_path) if entry.path.name == "begun")
    assert (begun.status, begun.result["steps"]) == ("unfinished", 40)


def test_runs_moved_together_still_know_each_other(tmp_path):
    make(tmp_path / "old" / "sft")
    make(tmp_path / "old" / "dpo", [str(tmp_path / "old" / "sft")])
    (tmp_path / "old").rename(tmp_path / "new")
    assert shape(tmp_path) == [(0, "sft"), (1, "dpo")]


def test_a_circle_loses_no_run(tmp_path):
    make(tmp_path / "a", [str(tmp_path / "b")])
    make(tmp_path / "b", [str(tmp_path / "a")])
    make(tmp_path / "c", [str(tmp_path / "c")])
    assert sorted(name for _, name in shape(tmp_path)) == ["a", "b", "c"]
