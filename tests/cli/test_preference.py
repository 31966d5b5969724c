"""Stages reward and preference by the command line: recipes, runs, refusals, measuring."""

import json

import pytest
from tests.stages.compared import PAIRS, THUMBS
from tests.stages.runs import write_rows

from accorda.cli import init
from accorda.cli.main import main
from accorda.objectives.preference.registry import algorithms
from accorda.recipe.load import load
from accorda.stages.preference import algorithm


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    write_rows(tmp_path / "thumbs.jsonl", THUMBS)


def flags(tiny, stage, *more):
    common = ("--model", str(tiny), "--data", "pairs.jsonl", "--output", "run", "--lr", "0.01")
    return ["train", "--stage", stage, *common, "training.max_steps=2", "training.threads=1", *more]


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_every_algorithm_has_a_recipe_that_says_what_its_settings_mean(name, here, tmp_path):
    assert main(["init", name.replace("_", "-"), "--output", "r.yaml"]) == 0
    recipe = load(tmp_path / "r.yaml")
    assert (recipe.stage, recipe.algorithm["name"]) == ("preference", name)
    assert algorithm(recipe) == algorithms()[name]()
    lines = (tmp_path / "r.yaml").read_text().partition("algorithm:\n")[2].partition("\n\n")[0].splitlines()
    fields = [line for line in lines if line.strip().startswith(tuple(recipe.algorithm))]
    assert len(fields) == len(recipe.algorithm)
    assert all("  # " in line for line in fields)


def test_names_are_those_of_the_registry():
    assert list(init.algorithms("preference")) == sorted(algorithms())


def test_a_reward_model_is_trained_measured_and_does_not_write(tiny, capsys):
    assert main(flags(tiny, "reward")) == 0
    capsys.readouterr()
    assert main(["eval", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["rows"]] == ["longer answer", "tuned"]
    assert found["num_rows"] == 2
    assert main(["eval", "run", "--data", "pairs.jsonl", "--limit", "10"]) == 0
    out = capsys.readouterr().out
    assert "preference_accuracy" in out
    assert "10 rows" in out
    assert main(["generate", "run", "--prompt", "3 plus 4 is "]) == 2
    assert "a reward model writes no answers" in capsys.readouterr().err.splitlines()[-1]
    assert main(["eval", "run", "--data", "thumbs.jsonl"]) == 2
    assert "not on thumbs" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_a_policy_is_measured_on_pairs_as_it_was_in_training(name, tiny, capsys, tmp_path):
    assert main(flags(tiny, "preference", f"algorithm.name={name}")) == 0
    out = capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    low, high = result["intervals"]["preference_accuracy"]
    assert f"{result['preference_accuracy']:.4g} (95% interval {low:.4g} to {high:.4g})" in out
    assert f"| {low:,.4g} to {high:,.4g} |" in (tmp_path / "run" / "adapter" / "README.md").read_text()
    assert main(["eval", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rules = ["longer answer"] if name == "dpo" else []  # a thumb has nothing beside it
    assert [row["name"] for row in found["rows"]] == [*rules, "tuned"]
    measured = found["rows"][-1]["metrics"]["preference_accuracy"]
    assert (measured["value"], measured["low"], measured["high"]) == (result["preference_accuracy"], low, high)
    assert main(["eval", "run", "--data", "pairs.jsonl", "--limit", "10", "--metrics", "preference_accuracy"]) == 0
    assert "10 rows" in capsys.readouterr().out


def test_a_policy_is_measured_on_text_where_metrics_of_text_are_named(tiny, capsys, tmp_path):
    assert main(flags(tiny, "preference")) == 0
    write_rows(tmp_path / "text.jsonl", [{"prompt": "3 plus 4 is ", "completion": "7"}])
    capsys.readouterr()
    assert main(["eval", "run", "--data", "text.jsonl"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--metrics perplexity, or another of text")
    assert main(["eval", "run", "--data", "text.jsonl", "--metrics", "perplexity"]) == 0
    assert "perplexity" in capsys.readouterr().out
    for metrics in ([], ["--metrics", "perplexity"]):
        assert main(["eval", "run", "--column", "prompt=a", *metrics]) == 2
        says = "error: --column: names columns of --data, which is not given"
        assert capsys.readouterr().err.splitlines()[-1] == says


def test_a_policy_has_a_loss_of_compared_answers_and_the_base_of_its_training(tiny, capsys, tmp_path):
    assert main(flags(tiny, "preference")) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    write_rows(tmp_path / "text.jsonl", [{"prompt": "3 plus 4 is ", "completion": "7"}])
    capsys.readouterr()
    assert main(["eval", "run", "--metrics", "eval_loss", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["metrics"]["eval_loss"]["value"] == pytest.approx(result["eval_loss"], rel=1e-5)
    assert main(["eval", "run", "--metrics", "eval_loss", "--data", "text.jsonl"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--metrics perplexity, or another of text")
    for more in (["--quantization", "nf4"], ["--no-double-quantization"], ["--trust-remote-code"]):
        assert main(["eval", "run", *more]) == 2
        says = f"error: {' '.join(more)}: run is of stage preference: its base is opened as in training; leave it out"
        assert capsys.readouterr().err.splitlines()[-1] == says


def test_a_policy_is_trained_and_writes(tiny, capsys):
    assert main(flags(tiny, "preference", "algorithm.name=ipo")) == 0
    capsys.readouterr()
    assert main(["generate", "run", "--prompt", "3 plus 4 is ", "--max-new-tokens", "4"]) == 0


@pytest.mark.parametrize(
    ("stage", "more", "line"),
    [
        ("preference", ["algorithm.name=dppo"], "algorithm.name = dppo (command line): no such algorithm"),
        ("preference", ["algorithm.name=orpo", "algorithm.reference=x"], "algorithm.reference"),
        ("preference", ["algorithm.name=kto", "training.batch_size=1"], "training.batch_size = 1 (command line)"),
        ("preference", ["algorithm.beta=-1"], "algorithm.beta = -1 (command line)"),
        ("preference", ["data.overlong=truncate"], "data.overlong = truncate: compared answers are never cut"),
        ("preference", ["method.dropout=0.1"], "method.dropout = 0.1 (command line): answers are compared"),
        ("reward", ["algorithm.name=dpo"], "algorithm.name"),
        ("reward", ["evaluation.generate=3"], "evaluation.generate = 3 (command line): a reward model writes no"),
        ("reward", ["algorithm.centring=-1"], "algorithm.centring = -1 (command line)"),
        ("reward", ["evaluation.metrics=[accuracy]"], "metrics: accuracy is about classes"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(stage, more, line, tiny, capsys, tmp_path):
    assert main(flags(tiny, stage, *more)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {line}"), error
    assert not (tmp_path / "run").exists()
