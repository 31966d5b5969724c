"""A sweep as a user types it."""

import json
import shutil
from pathlib import Path

import pytest
from tests.stages.runs import SUMS, write_rows

from accorda.cli.main import main
from accorda.cli.terminal.sweep import compared

FEW = ("--lr", "0.01", "--batch-size", "8", "training.max_steps=2", "training.threads=1", "evaluation.samples=0")


@pytest.fixture
def place(tiny, tmp_path, monkeypatch) -> Path:
    shutil.copytree(tiny, tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl", SUMS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    return tmp_path


TRAIN = ("train", "--model", "model", "--data", "rows.jsonl", *FEW)


def test_one_command_is_several_runs_a_table_and_a_picture(place, capsys):
    assert main([*TRAIN, "--output", "out", "data.limit=[8, 20]"]) == 0
    told = capsys.readouterr()
    head, base, *rows = told.out.splitlines()[:4]
    assert head.split()[:5] == ["data.limit", "rows", "steps", "time", "eval_loss"]
    assert base.split()[0] == "base"
    assert [row.split()[:3] for row in rows] == [["8", "8", "2"], ["20", "20", "2"]]
    assert all("[" in row and "8 hold" in row for row in rows)
    assert "the same for every run" in told.out
    assert "training limit-8, limit-20 together" in told.err
    assert "limit-20 is complete" in told.err
    assert {path.name for path in (place / "out").iterdir()} == {
        *("limit-8", "limit-20", "sweep.json", "sweep.svg", "sweep.png", "train.jsonl", "eval.jsonl")
    }
    assert main(["runs", "out"]) == 0
    assert "limit-20" in capsys.readouterr().out


def test_runs_are_compared_and_told_apart(place, capsys):
    assert main([*TRAIN, "--output", "out", "method=[lora,bitfit]"]) == 0
    capsys.readouterr()
    assert main(["compare", "out", "--picture", "out.svg", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in found["runs"]] == ["lora", "bitfit"]
    for row in found["runs"]:
        result = json.loads((Path(row["path"]) / "result.json").read_text())
        assert row["metrics"]["eval_loss"]["value"] == result["eval_loss"]
        assert row["kept_parameters"] == row["trainable_parameters"] == result["trainable_parameters"]
    assert (place / "out.svg").is_file()
    assert main(["compare", "out"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["run", "method", "trained", "kept", "time", "memory", "eval_loss"]
    assert "baseline: method-lora" in "".join(table)
    assert main(["diff", "out/method-lora", "out/method-bitfit"]) == 0
    assert "method.only_existing" in capsys.readouterr().out
    assert main(["diff", "out/method-lora", "out/method-lora"]) == 0
    assert capsys.readouterr().out == "the same settings, data and environment\n"
    assert main(["diff", "out/method-lora", "model"]) == 2
    assert "no run here" in capsys.readouterr().err.splitlines()[-1]


def test_json_is_the_record(place, capsys):
    assert main([*TRAIN, "--output", "out", "--rank", "[2,4]", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    stored = json.loads((place / "out" / "sweep.json").read_text())
    assert told == {name: value for name, value in stored.items() if name != "plan"}
    assert [row["values"] for row in told["runs"]] == [{"method.rank": 2}, {"method.rank": 4}]


@pytest.mark.parametrize("how", [("method=[lora,bitfit]",), ("--method", "[lora,bitfit]")])
def test_a_dry_run_of_several_methods(place, capsys, how):
    assert main([*TRAIN, "--output", "out", "--dry-run", *how]) == 0
    out = capsys.readouterr().out
    assert "method-lora" in out
    assert "method-bitfit" in out
    assert "nothing was written" in out
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("data.limit=[8,0]",), "data.limit = 0"),
        (("data.limit=[8,8]",), "is there twice"),
        (("data.max_length=[64,100000]",), "max_length-100000"),
        (("evaluation.metrics=[nothing,f1]",), "nothing"),
        (("training.sede=[1,2]",), "did you mean training.seed?"),
    ],
)
def test_one_bad_value_refuses_the_command(place, capsys, overrides, words):
    assert main([*TRAIN, "--output", "out", *overrides]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert not (place / "out").exists()


def test_stopped_and_unproven_runs_decide_the_exit_code():
    run = {"run": "seed-0", "values": {"training.seed": 0}, "rows": 3, "steps": 2, "train_seconds": 1.5, "reason": None}
    done = run | {"status": "complete", "metrics": {}, "proofs": {"holds": 8, "fails": 0}}
    failed = done | {"status": "unproven", "proofs": {"holds": 7, "fails": 1}}
    stopped = run | {"status": "stopped", "metrics": {}, "proofs": None, "reason": "the loss is not finite"}
    record = {"axes": [{"setting": "training.seed", "values": [0, 1]}], "metrics": [], "base": {}, "output": "out"}
    record |= {"held_out": {"rows": None, "same": False}, "plan": {}}
    cases = (
        ("complete", [done], 0, ""),
        ("unproven", [done, failed], 1, "seed-0"),
        ("stopped", [stopped, done], 3, "finite"),
    )
    for status, runs, code, words in cases:
        outcome = compared({**record, "status": status, "runs": runs})
        assert (outcome.code, bool(outcome.error)) == (code, code != 0)
        assert words in outcome.error
        assert "plan" not in outcome.result
