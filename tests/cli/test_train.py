"""The verbs of a run: train, its dry run, resume, verify, and what they print."""

import json
import shutil
from pathlib import Path

import pytest
from tests.stages.runs import SUMS, write_rows

from accorda.cli.main import main
from accorda.recipe.load import load
from accorda.runs.layout import RunFolder

FEW = ("--lr", "0.01", "--batch-size", "8", "training.max_steps=4", "training.threads=1", "evaluation.every=2")


@pytest.fixture(scope="module")
def place(tiny, tmp_path_factory) -> Path:
    """A working directory with a model and rows whose columns have other names."""
    place = tmp_path_factory.mktemp("train")
    shutil.copytree(tiny, place / "model")
    write_rows(place / "rows.jsonl", [{"q": row["prompt"], "a": row["completion"]} for row in SUMS])
    return place


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCORDA_CACHE", str(place / "cache"))


TRAIN = ("train", "--model", "model", "--data", "rows.jsonl", "--column", "prompt=q", "--column", "completion=a", *FEW)


@pytest.fixture(scope="module")
def run(place, tiny) -> tuple[Path, int, str, str]:
    """A run made by the command line: its folder, exit code, and what was printed."""
    import contextlib
    import io
    import os

    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(place)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*TRAIN, "--method", "lora", "--rank", "2", "--output", "runs/a", "--json"])
    finally:
        os.chdir(before)
    return place / "runs" / "a", code, out.getvalue(), err.getvalue()


def test_a_run_ends_with_its_result(run):
    folder, code, out, err = run
    assert code == 0, err
    assert out.count("\n") == 1
    assert json.loads(out) == json.loads(RunFolder(folder).result.read_text())
    assert "error: " not in err
    assert "step 4/4" in err


def test_flags_are_in_the_recipe_with_their_origin(run):
    recipe = load(RunFolder(run[0]).recipe)
    assert (recipe.model.path, recipe.data.train, recipe.output) == ("model", "rows.jsonl", "runs/a")
    assert recipe.data.columns == {"prompt": "q", "completion": "a"}
    assert (recipe.method["name"], recipe.method["rank"], recipe.training.learning_rate) == ("lora", 2, 0.01)
    assert (recipe.training.batch_size, recipe.training.max_steps) == (8, 4)
    given = ("model.path", "data.train", "data.columns.prompt", "method.rank", "training.batch_size", "output")
    assert {recipe.origin(name) for name in given} == {"command line"}
    assert recipe.origin("method.alpha") == "default"
    assert recipe.origin("data.max_length").startswith("auto: ")


def test_a_run_verifies(run, capsys):
    assert main(["verify", "runs/a"]) == 0
    told = capsys.readouterr()
    *table, left = told.out.splitlines()[1:]
    assert {"mask: holds", "save: holds"} <= set(told.err.splitlines())
    rows = {line.split()[0]: line.split()[1] for line in table}
    assert {"mask", "coverage", "movement", "packing", "resume", "save", "merge"} <= set(rows)
    assert set(rows.values()) == {"holds"}
    assert left.startswith("not applicable: ")
    assert main(["verify", "runs/a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "proven"
    assert found["details"][0]["evidence"]


def test_a_changed_run_does_not_verify(run, place, capsys):
    shutil.copytree(run[0], place / "runs" / "broken")
    weights = place / "runs" / "broken" / "adapter" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 0x40
    weights.write_bytes(bytes(data))
    assert main(["verify", "runs/broken", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "unproven"
    assert err.splitlines()[-1].startswith("error: the proof of ")
    shutil.rmtree(place / "runs" / "broken")


def test_anybodys_adapter_is_looked_through(adapter, capsys):
    assert main(["verify", str(adapter), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proofs"]["save"] == "holds"


def test_a_run_merges_and_generates(run, tmp_path, capsys):
    assert main(["merge", "runs/a", "--output", str(tmp_path / "merged"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proof"]["verdict"] == "holds"
    few = ("--prompt", "3 plus 4 is ", "--max-new-tokens", "4", "--json")
    assert main(["generate", "runs/a", *few]) == 0
    tuned = json.loads(capsys.readouterr().out)["completions"]
    assert main(["generate", str(tmp_path / "merged"), *few]) == 0
    merged = json.loads(capsys.readouterr().out)["completions"]
    assert tuned[0]["token_ids"] == merged[0]["token_ids"]


def test_a_complete_run_is_neither_resumed_nor_trained_again(run, capsys):
    assert main(["resume", "runs/a"]) == 2
    assert capsys.readouterr().err == "error: runs/a: the run is complete; nothing is left to resume\n"
    assert main([*TRAIN, "--output", "runs/a"]) == 2
    assert "output = runs/a" in capsys.readouterr().err.splitlines()[-1]


def test_an_unfinished_run_is_resumed_to_its_end(run, place, capsys):
    shutil.copytree(run[0], place / "runs" / "killed")
    begun = RunFolder(place / "runs" / "killed")
    begun.result.unlink()
    begun.recipe.write_text(begun.recipe.read_text().replace("runs/a", "runs/killed"))
    assert main(["generate", "runs/killed", "--prompt", "a"]) == 2
    assert "accorda resume runs/killed" in capsys.readouterr().err
    assert main(["resume", "runs/killed"]) == 0, capsys.readouterr().err
    assert begun.is_complete()
    assert (begun.adapter / "adapter_model.safetensors").read_bytes() == (
        run[0] / "adapter" / "adapter_model.safetensors"
    ).read_bytes()
    shutil.rmtree(begun.path)


def test_a_dry_run_shows_all_and_writes_nothing(place, capsys):
    before = sorted(place.rglob("*"))
    assert main([*TRAIN, "--dry-run", "--output", "runs/b"]) == 0
    text = capsys.readouterr().out
    for part in (
        "rows.jsonl",
        "learned tokens",
        "over-length",
        "steps",
        "rows per step",
        "activations",
        "data.max_length",
        "coverage",
    ):
        assert part in text
    assert main([*TRAIN, "--dry-run", "--output", "runs/b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], found["steps"]) == ("dry run", 4)
    assert found["decided"]["data.max_length"]["origin"].startswith("auto")
    assert [path for path in sorted(place.rglob("*")) if "cache" not in path.parts] == [
        path for path in before if "cache" not in path.parts
    ]


def test_a_fault_of_ours_leaves_its_traceback_in_the_run(place, capsys, monkeypatch):
    from accorda.stages import outcome

    def broken(*_: object) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(outcome, "finish", broken)
    assert main([*TRAIN, "--output", "runs/crashed"]) == 70
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"the traceback is in {Path('runs/crashed/crash.log')}")
    assert "ZeroDivisionError: no" in (place / "runs" / "crashed" / "crash.log").read_text()
    shutil.rmtree(place / "runs" / "crashed")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("a.yaml", "b.yaml"), "b.yaml: a second recipe"),
        (("--column", "prompt=other"), "--column prompt=other: prompt is already q; say it once"),
        (("--column", "prompt"), "--column prompt: write it as ours=theirs"),
        (("--output", ""), "--output: must not be empty"),
    ],
)
def test_what_train_does_not_take(more, line, capsys):
    assert main([*TRAIN, *more]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {line}")


def test_a_profile_is_of_one_run(capsys):
    assert main([*TRAIN, "--rank", "[1,2]", "--profile"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: --profile: of one run")
    assert main([*TRAIN, "--output", "profiled", "--profile"]) == 0
    told = capsys.readouterr().out
    assert "products" in told
    assert "FLOP/s over whole steps" in told
