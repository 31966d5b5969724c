"""A classifier from the command line, as a user has it: look, train, measure, ask, merge."""

import json
from pathlib import Path

import pytest
from tests.zoo import tiny_model_folder

from accorda.cli.main import main

ROWS = [
    {"review": f"{word} number {number}", "stars": label}
    for number in range(20)
    for word, label in (("good", "pos"), ("bad", "neg"))
]
COLUMNS = ["--column", "text=review", "--column", "label=stars"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a model, rows and a run."""
    place = tmp_path_factory.mktemp("classify")
    tiny_model_folder(place, "bert", framed=True)
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCORDA_CACHE", str(place / "cache"))
        patch.chdir(place)
        flags = ["--model", "bert", "--data", "rows.jsonl", *COLUMNS, "--lr", "0.02", "--output", "run"]
        assert main(["train", "--stage", "classify", *flags, "training.threads=1", "training.max_steps=6"]) == 0
    return place


@pytest.fixture
def here(home, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)


def told(capsys, *arguments, code=0):
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys, *arguments):
    assert main([*arguments]) == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("here")
def test_rows_are_looked_at(capsys):
    found = told(capsys, "data", "check", "rows.jsonl", "--model", "bert", "--stage", "classify", *COLUMNS)
    assert found["labels"] == {"neg": 20, "pos": 20}
    assert "label pos\n<s>good number" in found["sample"]


@pytest.mark.usefixtures("here")
def test_texts_get_labels(capsys):
    found = told(capsys, "generate", "run", "--prompt", "good number 3")["predictions"]
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1.0)
    assert found[0]["label"] == max(found[0]["probabilities"], key=found[0]["probabilities"].get)
    assert len(told(capsys, "generate", "run", "--file", "rows.jsonl", "--column", "text=review")["predictions"]) == 40
    line = refused(capsys, "generate", "run", "--prompt", "x", "--temperature", "0.5")
    assert line == "error: --temperature: run is a classifier, which writes no text; leave it out"
    assert "which does not talk; try accorda generate run" in refused(capsys, "chat", "run")
    Path("odd.jsonl").write_text('{"xyz": "good"}\n')
    assert "--column text=COLUMN" in refused(capsys, "generate", "run", "--file", "odd.jsonl")


@pytest.mark.usefixtures("here")
def test_it_is_measured_beside_what_needs_no_tuning(capsys):
    found = told(capsys, "eval", "run", "--metrics", "accuracy,f1_macro,matthews,eval_loss")
    assert [row["name"] for row in found["rows"]] == ["majority class", "linear probe", "tuned"]
    assert all(set(row["metrics"]) == {"accuracy", "f1_macro", "matthews", "eval_loss"} for row in found["rows"])
    assert "perplexity" not in str(told(capsys, "eval", "run")["metrics"])
    assert "rouge is about generated answers" in refused(capsys, "eval", "run", "--metrics", "rouge")


@pytest.mark.usefixtures("here")
def test_it_is_merged_and_says_the_same(capsys):
    found = told(capsys, "merge", "run", "--output", "merged")
    assert found["proof"]["verdict"] == "holds"
    one, other = (
        told(capsys, "generate", name, "--prompt", "good number 3")["predictions"][0] for name in ("run", "merged")
    )
    assert one["probabilities"]["pos"] == pytest.approx(other["probabilities"]["pos"], abs=1e-5)
    again = told(capsys, "merge", "run/adapter", "--output", "again")
    assert again["proof"]["verdict"] == "holds"
    assert again["reason"] == "nothing to measure on: the values that the adapter was trained on"
    asked = told(capsys, "merge", "run/adapter", "--output", "asked", "--into", "original")
    assert asked["reason"] == "asked for; there is nothing to measure on"


@pytest.mark.usefixtures("here")
def test_a_recipe_is_written_and_an_encoder_shown(capsys, tmp_path):
    path = tmp_path / "recipe.yaml"
    told(capsys, "init", "classify", "--model", "bert", "--data", "rows.jsonl", "--output", str(path))
    assert "algorithm:\n  labels: auto" in path.read_text()
    dry = told(capsys, "train", str(path), *COLUMNS, "--output", str(tmp_path / "run"), "--dry-run")
    assert (dry["stage"], dry["proofs"]) == ("classify", {"mask": "holds", "coverage": "holds"})
    shown = told(capsys, "inspect", "bert")
    assert (shown["class"], shown["blocks"]) == ("BertForSequenceClassification", 2)
    assert told(capsys, "verify", "run")["status"] == "proven"
