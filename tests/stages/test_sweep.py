"""Several runs in one command: one folder each, the same held-out rows, kept and resumed when killed."""

import json
import math

import pytest
import torch
from tests.stages.runs import SUMS, settings

from accorda.errors import Refusal, Stopped
from accorda.evaluation.report import report
from accorda.methods.open import open_model
from accorda.recipe.load import load
from accorda.runs import events
from accorda.runs.layout import RunFolder
from accorda.runs.sweep import SweepFolder
from accorda.stages import train, verify
from accorda.stages.sweep import resume_sweep, sweep
from accorda.training.loop import Loop


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def recipe(place, **sections):
    return settings(place, "out", evaluation={"every": 4, "samples": 0}, **sections)


def run_of(place, name):
    return RunFolder(place / "out" / name)


def held_out(folder):
    return json.loads(folder.environment.read_text())["data"]["eval"]


def test_rows_vary_and_what_they_are_held_against_does_not(tmp_path):
    done = sweep(recipe(tmp_path, data={"limit": [5, 12, 30], "eval_split": 0.1}))
    names = ["limit-5", "limit-12", "limit-30"]
    folders = [run_of(tmp_path, name) for name in names]
    assert [folder.is_complete() for folder in folders] == [True] * 3
    assert len({held_out(folder) for folder in folders}) == 1
    record = done.result
    assert record["status"] == "complete"
    assert [(row["run"], row["rows"]) for row in record["runs"]] == [("limit-5", 5), ("limit-12", 12), ("limit-30", 30)]
    assert record["held_out"] == {"rows": 3, "same": True}
    assert record == json.loads(SweepFolder(tmp_path / "out").record.read_text())
    for row, folder in zip(record["runs"], folders, strict=True):
        result = json.loads(folder.result.read_text())
        found = row["metrics"]["eval_loss"]
        assert (found["value"], [found["low"], found["high"]]) == (
            result["eval_loss"],
            result["intervals"]["eval_loss"],
        )
        assert row["proofs"] == {"holds": 8, "fails": 0}
        assert folder.report.is_file()
    first = next(event for event in events.read(folders[0].events) if event["event"] == "evaluation")
    assert record["base"]["eval_loss"]["value"] == first["eval_loss"]
    lines = [(tmp_path / "out" / f"{split}.jsonl").read_text().splitlines() for split in ("train", "eval")]
    assert sorted(lines[0] + lines[1]) == sorted(map(json.dumps, SUMS[:34]))


def test_a_run_of_a_sweep_is_the_run_alone(tmp_path):
    sweep(recipe(tmp_path, method={"name": "lora", "rank": [2, 3]}))
    alone = train(load({**recipe(tmp_path, method={"name": "lora", "rank": 3}), "output": str(tmp_path / "alone")}))
    swept = run_of(tmp_path, "rank-3")
    name = "adapter_model.safetensors"
    assert (swept.adapter / name).read_bytes() == (alone.folder.adapter / name).read_bytes()
    assert json.loads(swept.result.read_text())["eval_loss"] == alone.result["eval_loss"]
    assert not (tmp_path / "out" / "train.jsonl").exists()  # a rank does not change what is held out


def test_several_lists_and_rows_from_python(tmp_path):
    given = recipe(tmp_path, training={"seed": [0, 1], "max_steps": 1}, method={"name": ["lora", "bitfit"]})
    given["data"]["train"] = SUMS
    done = sweep(given)
    names = ["method-lora_seed-0", "method-lora_seed-1", "method-bitfit_seed-0", "method-bitfit_seed-1"]
    assert [row["run"] for row in done.result["runs"]] == names
    assert len({held_out(run_of(tmp_path, name)) for name in names}) == 1
    recipes = [load(run_of(tmp_path, name).recipe) for name in names]
    assert [(one.method["name"], one.training.seed) for one in recipes] == [
        ("lora", 0),
        ("lora", 1),
        ("bitfit", 0),
        ("bitfit", 1),
    ]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"method": {"name": "lora", "rank": [2, 0]}}, "method.rank = 0"),
        ({"method": {"name": ["lora", "lorra"]}}, "did you mean lora?"),
        ({"data": {"max_length": [64, 9999]}}, "max_length-9999: data.max_length = 9999"),
        ({"data": {"train": [["a.jsonl"], ["b.jsonl"]]}}, "--eval-data"),
        ({"training": {"optimizer": {"name": "adamw", "beta2": [0.9, 2.0]}}}, "beta2 = 2.0"),
        ({}, "nothing varies"),
    ],
)
def test_one_bad_run_refuses_all_and_leaves_nothing(sections, words, tmp_path):
    with pytest.raises(Refusal) as refusal:
        sweep(recipe(tmp_path, **sections))
    assert words in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_checks_all_and_writes_nothing(tmp_path):
    done = sweep(recipe(tmp_path, data={"limit": [10, 20]}), dry_run=True)
    assert done.folder is None
    assert [(row["run"], row["rows"]["rows"]["kept"]) for row in done.result["runs"]] == [
        ("limit-10", 10),
        ("limit-20", 20),
    ]
    assert not (tmp_path / "out").exists()


def interrupted_after(monkeypatch, steps):
    """From so many steps on, all runs counted together, a step is a Ctrl-C."""
    made, step = [], Loop.step

    def counted(loop):
        made.append(loop)
        if len(made) > steps:
            raise KeyboardInterrupt
        return step(loop)

    monkeypatch.setattr(Loop, "step", counted)


@pytest.mark.parametrize("by", ["resume", "the same command"])
def test_what_was_stopped_goes_on_and_what_is_complete_stays(by, tmp_path, monkeypatch):
    """A run that changes the base is by itself; the others share one and are stopped together."""
    given = recipe(tmp_path, method={"name": ["full", "lora", "bitfit"]}, training={"max_steps": 4})
    interrupted_after(monkeypatch, 4 + 1 + 5)  # the first run's, a proof's, and some of the two others'
    with pytest.raises(Stopped, match=f"continue with: accorda resume {tmp_path / 'out'}$"):
        sweep(given)
    monkeypatch.undo()
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    full, *others = (run_of(tmp_path, f"method-{name}") for name in ("full", "lora", "bitfit"))
    assert full.is_complete()
    assert all(folder.is_unfinished() for folder in others)
    assert any(folder.checkpoint_steps() for folder in others)
    before = full.result.stat().st_mtime_ns
    done = resume_sweep(tmp_path / "out") if by == "resume" else sweep(given)
    assert done.result["status"] == "complete"
    assert full.result.stat().st_mtime_ns == before
    for folder in others:
        assert any(event["event"] == "resumed" for event in events.lines(folder.events))
        alone = train({**given, "method": load(folder.recipe).method, "output": str(tmp_path / folder.path.name)})
        name = "adapter_model.safetensors"
        assert (folder.adapter / name).read_bytes() == (alone.folder.adapter / name).read_bytes()
    with pytest.raises(Refusal, match="complete"):
        resume_sweep(tmp_path / "out")
    with pytest.raises(Refusal, match="complete sweep"):
        sweep(given)


def test_a_sweep_that_was_moved_goes_on_and_its_runs_are_measured(tmp_path, monkeypatch):
    interrupted_after(monkeypatch, 3)
    with pytest.raises(Stopped):
        sweep(recipe(tmp_path, data={"limit": [5, 12], "eval_split": 0.1}, training={"max_steps": 4}))
    monkeypatch.undo()
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert resume_sweep(moved).result["status"] == "complete"
    run = moved / "limit-5"
    assert all(proof.verdict != "fails" for proof in verify(run))
    assert report(open_model(run), None, "exact_match")["num_rows"] == len(
        (moved / "eval.jsonl").read_text().splitlines()
    )


def test_another_sweep_does_not_go_into_the_folder(tmp_path, monkeypatch):
    interrupted_after(monkeypatch, 2)
    with pytest.raises(Stopped):
        sweep(recipe(tmp_path, data={"limit": [8, 16]}))
    with pytest.raises(Refusal, match=r"another sweep \(data.limit differs\)"):
        sweep(recipe(tmp_path, data={"limit": [8, 17]}))
    with pytest.raises(Refusal, match=r"another sweep \(method.rank differs\)"):
        sweep(recipe(tmp_path, data={"limit": [8, 16]}, method={"name": "lora", "rank": 5}))


def test_a_run_that_diverges_does_not_stop_the_others(tmp_path, monkeypatch):
    step = Loop.step

    def diverging(loop):
        if loop.schedule(2) > 1:
            with torch.no_grad():
                next(iter(loop.parameters().values())).fill_(math.nan)
        return step(loop)

    monkeypatch.setattr(Loop, "step", diverging)
    done = sweep(recipe(tmp_path, training={"learning_rate": [50.0, 0.01]}))
    assert [row["status"] for row in done.result["runs"]] == ["stopped", "complete"]
    assert done.result["status"] == "stopped"
    assert "not finite" in done.result["runs"][0]["reason"]
    assert done.result["runs"][0]["metrics"] == {}


def test_threads_are_timed_once(tmp_path):
    sweep(recipe(tmp_path, training={"seed": [0, 1], "threads": "auto", "max_steps": 1}))
    first, second = (load(run_of(tmp_path, f"seed-{seed}").recipe) for seed in (0, 1))
    assert first.training.threads == second.training.threads
    assert second.origin("training.threads") == "auto: as in the first run of the sweep"
