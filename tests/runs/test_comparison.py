"""Runs side by side, from folders alone."""

import json

import pytest
import torch
from safetensors.torch import save_file

from accorda.cli.compare import about
from accorda.errors import Refusal
from accorda.runs.comparison import compare, kept, named
from accorda.runs.comparison_picture import draw
from accorda.runs.layout import RunFolder


def make(path, loss, *, low=None, high=None, trained=100, rows="same", complete=True):
    """A complete run as its files tell it: one evaluation, one result."""
    folder = RunFolder(path)
    folder.adapter.mkdir(parents=True)
    folder.recipe.write_text("stage: sft  # default\n")
    folder.environment.write_text(json.dumps({"data": {"eval": rows}}))
    intervals = {} if low is None else {"intervals": {"eval_loss": [low, high]}}
    folder.events.write_text(json.dumps({"event": "evaluation", "step": 3, "eval_loss": loss, **intervals}) + "\n")
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, folder.adapter / "adapter_model.safetensors")
    folder.data.write_text(json.dumps({"eval": {"rows": {"kept": 7}}}))
    if complete:
        result = {"method": path.name, "status": "complete", "steps": 3, "train_seconds": 2.0}
        folder.result.write_text(json.dumps(result | {"trainable_parameters": trained, "peak_memory_bytes": 10}))
    return path


def test_differences_are_from_the_first_and_apart_where_intervals_are(tmp_path):
    base = make(tmp_path / "base", 2.0, low=1.8, high=2.2)
    near = make(tmp_path / "near", 1.9, low=1.7, high=2.1)
    far = make(tmp_path / "far", 1.0, low=0.9, high=1.1)
    bare = make(tmp_path / "bare", 1.5)
    found = compare([base, near, far, bare])
    assert found["baseline"] == "base"
    assert found["held_out"] == {"rows": 7, "same": True}
    metrics = [row["metrics"]["eval_loss"] for row in found["runs"]]
    assert [round(metric["difference"], 6) for metric in metrics] == [0.0, -0.1, -1.0, -0.5]
    assert [metric["apart"] for metric in metrics] == [False, False, True, None]
    assert {row["kept_parameters"] for row in found["runs"]} == {17}


def test_other_held_out_rows_are_said(tmp_path):
    runs = [make(tmp_path / name, 1.0, rows=name) for name in "ab"]
    found = compare([*runs, make(tmp_path / "c", 0.5, rows="a")])
    assert found["held_out"]["same"] is False
    assert [row["metrics"]["eval_loss"]["difference"] for row in found["runs"]] == [0.0, None, -0.5]
    assert "NOT the same for every run (7 of a, 7 of b, 7 of c)" in about(found)


def test_losses_of_other_algorithms_are_not_taken_from_each_other(tmp_path):
    runs = [
        make(tmp_path / name, loss, low=loss, high=loss) for name, loss in {"dpo": 0.6, "ipo": 3.0, "too": 0.5}.items()
    ]
    for run, algorithm in zip(runs, ("dpo", "ipo", "dpo"), strict=True):
        RunFolder(run).recipe.write_text(f"stage: preference  # yours\nalgorithm:\n  name: {algorithm}  # yours\n")
    found = compare(runs)
    assert [row["metrics"]["eval_loss"]["difference"] for row in found["runs"]] == [0.0, None, pytest.approx(-0.1)]
    assert "of different stages or algorithms" in about(found)
    assert "of different stages" not in about(compare([runs[0], runs[2]]))


@pytest.mark.parametrize("content", ["{", None])
def test_a_number_of_rows_that_no_file_tells_is_unknown(content, tmp_path):
    runs = [make(tmp_path / name, 1.0) for name in "ab"]
    (runs[0] / "data.json").unlink()
    if content is not None:
        (runs[0] / "data.json").write_text(content)
    assert "measured on an unknown number of held-out rows, the same for every run" in about(compare(runs))


def test_names_are_as_short_as_they_can_be(tmp_path):
    assert named([tmp_path / "x" / "lora", tmp_path / "y" / "bitfit"]) == ["lora", "bitfit"]
    assert named([tmp_path / "x" / "lora", tmp_path / "y" / "lora"]) == ["x/lora", "y/lora"]


def test_a_broken_file_is_not_counted(tmp_path):
    run = make(tmp_path / "run", 1.0)
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"\x05")
    assert kept(RunFolder(run)) is None


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_picture_names_every_run(tmp_path, suffix):
    found = compare([make(tmp_path / name, 1.0, low=0.5, high=2.0, trained=10**n) for n, name in enumerate("pqr", 2)])
    draw(found, tmp_path / f"picture{suffix}")
    drawn = (tmp_path / f"picture{suffix}").read_bytes()
    assert drawn.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    if suffix == ".svg":
        assert all(f">{name}<".encode() in drawn for name in "pqr")


def test_a_picture_in_no_folder_is_refused(tmp_path):
    found = compare([make(tmp_path / name, 1.0) for name in "pq"])
    with pytest.raises(Refusal, match="there is no folder"):
        draw(found, tmp_path / "none" / "picture.svg")


def test_refusals(tmp_path):
    run = make(tmp_path / "run", 1.0)
    other = make(tmp_path / "other", 1.0)
    unfinished = make(tmp_path / "unfinished", 1.0, complete=False)
    for paths, words in (
        ([run], "at least two"),
        ([run, tmp_path], "no run here"),
        ([run, unfinished], f"accorda resume {unfinished}"),
    ):
        with pytest.raises(Refusal, match=words):
            compare(paths)
    found = compare([run, other])
    with pytest.raises(Refusal, match="eval_loss"):
        draw(found, tmp_path / "a.svg", "bleu")
    with pytest.raises(Refusal, match="must end in"):
        draw(found, tmp_path / "a.txt")
