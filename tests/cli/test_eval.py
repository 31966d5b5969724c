"""`accorda eval` on a tiny run, from the command line."""

import json

import pytest
import torch
from tests.zoo import tiny_model_folder

from accorda.cli.eval import side_by_side
from accorda.cli.main import main
from accorda.cli.terminal import counting
from accorda.data.renderer import Renderer
from accorda.methods.install import install
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.storage import save_adapter
from accorda.models.load import load_model, load_tokenizer

ROWS = [{"question": f"What is {n}? ", "answer": f"It is {n}."} for n in range(12)]
COLUMNS = ["--column", "prompt=question", "--column", "completion=answer"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, an adapter of it, and rows."""
    home = tmp_path_factory.mktemp("eval")
    base = tiny_model_folder(home, max_position_embeddings=128)
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    model = install(load_model(base), LoRA(rank=2), "default")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    tokenizer = load_tokenizer(base)
    save_adapter(model, home / "adapter", beside=lambda place: Renderer(tokenizer, kind="completion").save(place))
    return home


def evaluated(folder, name, *more):
    rows = str(folder / "rows.jsonl")
    return main(["eval", str(folder / name), "--data", rows, *COLUMNS, "--max-new-tokens", "4", *more])


def test_three_rows_as_json(folder, capsys):
    metrics = "perplexity,f1,bleu"
    train = str(folder / "rows.jsonl")
    assert evaluated(folder, "adapter", "--metrics", metrics, "--train", train, "--shots", "2", "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    found = json.loads(out)
    assert [row["name"] for row in found["rows"]] == ["base", "base + 2 examples", "tuned"]
    assert all(set(row["metrics"]) == {"perplexity", "f1", "bleu"} for row in found["rows"])
    assert found["num_rows"] == 12
    assert found["model"] == str(folder / "adapter")


def test_a_table_with_intervals_notes_and_answers(folder, capsys):
    assert evaluated(folder, "adapter", "--metrics", "eval_loss,bleu", "--limit", "4") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert "eval_loss (lower is better)" in lines[0]
    assert "bleu (higher is better)" in lines[0]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["base", "base + 3 examples", "tuned"]
    assert lines[1].count("[") == 2
    assert "4 rows" in lines
    assert any(line.startswith("bleu: signature nrefs:1") for line in lines)
    assert any("no training rows were named" in line for line in lines)
    assert out.count("> What is") == 3
    assert "error" not in err


def test_over_one_row_intervals_are_said_to_say_nothing(folder, capsys):
    assert evaluated(folder, "adapter", "--metrics", "eval_loss", "--limit", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1 row" in lines
    assert any("no width" in line for line in lines)


def test_progress_names_every_line_of_the_report(folder, capsys, monkeypatch):
    monkeypatch.setattr(counting, "QUIET_SECONDS", 0.0)
    assert evaluated(folder, "adapter", "--metrics", "perplexity,exact_match", "--max-new-tokens", "2") == 0
    lines = capsys.readouterr().err.splitlines()
    for name in ("base", "tuned"):
        assert f"{name}: log-likelihoods 12/12" in lines
        assert f"{name}: answers 12/12" in lines


def test_a_model_alone_is_a_base(folder, capsys):
    assert evaluated(folder, "llama", "--shots", "0", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [bool(row["metrics"]) for row in found["rows"]] == [True, False, False]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{adapter}", "--metrics", "rogue"], "metrics: no metric is called 'rogue'; did you mean 'rouge'?"),
        (["{adapter}"], "data: no rows to evaluate with; name a file with --data"),
        (["{adapter}", "--data", "{folder}/none.jsonl"], "none.jsonl"),
        (["{adapter}", "--data", "{rows}"], "rows.jsonl"),
        (["{adapter}", "--data", "{rows}", "--column", "prompt"], "--column prompt: write it as ours=theirs"),
        (["{folder}/nothing"], "nothing: no such folder"),
        (
            ["{adapter}", "--data", "{rows}", *COLUMNS, "--train", "{folder}/none.jsonl"],
            "none.jsonl: no such file",
        ),
        (["{adapter}", "--seed", "9" * 30], "is too large; the largest is 9,223,372,036,854,775,807"),
        (["{adapter}", "--shots", "-1"], "--shots: -1 must be a whole number of at least 0"),
        (["{adapter}", "--limit", "0"], "--limit: 0 must be a whole number of at least 1"),
        ([], "RUN: missing"),
    ],
)
def test_bad_input_is_one_line(folder, arguments, line, capsys):
    places = {"adapter": folder / "adapter", "rows": folder / "rows.jsonl", "folder": folder}
    assert main(["eval", *(argument.format(**places) for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("error: ")
    assert line in err.splitlines()[-1]


def test_the_reference_of_a_row_is_told_apart_from_a_model_of_that_name():
    sample = {"prompt": "2 and 2?", "reference": "4", "answers": {"reference": "5", "tuned": "4"}}
    assert side_by_side(sample).splitlines()[1:] == [
        "  row's own answer  4",
        "  reference         5",
        "  tuned             4",
    ]
    assert "row's own" not in side_by_side({**sample, "reference": " "})
    told = side_by_side({**sample, "answers": {"base": "5", "tuned": "4"}})
    assert told.splitlines()[1:] == ["  reference  4", "  base       5", "  tuned      4"]
