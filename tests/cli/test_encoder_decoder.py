"""Encoder-decoders on the command line, as a user would: train, look, ask, measure, merge; and what is refused."""

import io
import json
import sys
from pathlib import Path

import pytest
from tests.stages.runs import write_rows
from tests.zoo import ENCODER_DECODERS, tiny_model_folder

from accorda.cli.main import main

ROWS = [
    {"instruction": "How many clips?", "input": f"{n} and one.", "output": f"The answer is {n}."} for n in range(30)
]
FEW = ("--lr", "0.01", "--batch-size", "8", "training.max_steps=4", "training.threads=1", "evaluation.every=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working directory with both kinds of model, without chat templates, and rows of instructions."""
    place = tmp_path_factory.mktemp("encoder-decoder")
    for name in ENCODER_DECODERS:
        tiny_model_folder(place, name, chat_template=False)
    write_rows(place / "rows.jsonl", ROWS)
    return place


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCORDA_CACHE", str(place / "cache"))


def told(capfd, *arguments: str, code: int = 0):
    """The JSON a command prints, or its refusal."""
    assert main([*arguments, "--json"]) == code
    captured = capfd.readouterr()
    if code:
        return captured.err.splitlines()[-1]
    return json.loads(captured.out.splitlines()[-1])


@pytest.fixture(params=ENCODER_DECODERS)
def run(request, place, capfd) -> str:
    """A run of either kind, made once."""
    folder = f"runs/{request.param}"
    if not Path(folder).is_dir():
        told(capfd, "train", "--model", request.param, "--data", "rows.jsonl", *FEW, "--output", folder)
    return folder


def test_a_run_is_asked_chatted_with_measured_and_merged(run, capfd, monkeypatch):
    asked = told(capfd, "generate", run, "--prompt", "How many clips?", "--max-new-tokens", "5")
    (answer,) = asked["completions"]
    assert answer["text"] == main_chat(run, "How many clips?", capfd, monkeypatch)
    measured = told(capfd, "eval", run, "--metrics", "eval_loss,exact_match", "--limit", "2", "--max-new-tokens", "3")
    assert [row["name"] for row in measured["rows"]] == ["base", "base + 3 examples", "tuned"]
    assert all(row["metrics"] for row in measured["rows"])
    merged = told(capfd, "merge", run, "--output", f"{run}-merged")
    assert merged
    again = told(capfd, "generate", f"{run}-merged", "--prompt", "How many clips?", "--max-new-tokens", "5")
    assert again["completions"][0]["text"] == answer["text"]


def main_chat(run: str, line: str, capfd, monkeypatch) -> str:
    """What `accorda chat` answers to one line on standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{line}\n"))
    monkeypatch.setattr(sys, "__stdout__", sys.stdout)
    assert main(["chat", run, "--max-new-tokens", "5"]) == 0
    captured = capfd.readouterr()
    assert "each message is a prompt of its own" in captured.err
    return captured.out.removesuffix("\n")


@pytest.mark.parametrize("model", ENCODER_DECODERS)
def test_a_model_is_looked_at_and_billed(model, capfd):
    seen = told(capfd, "inspect", model)
    assert seen["tokens"]["decoder_start"] == ("<pad>" if model == "t5" else "</s>")
    assert seen["tokens"]["template"] == "none"
    assert seen["tokens"]["stop"] == ["</s>"]
    checked = told(capfd, "data", "check", "rows.jsonl", "--model", model)
    assert (checked["kind"], checked["template"]) == ("completion", None)
    assert checked["rows"]["kept"] == len(ROWS)
    assert not [warning for warning in checked["warnings"] if "joined" in warning]
    assert told(capfd, "plan", "--model", model, "--data", "rows.jsonl", *FEW)
    assert told(capfd, "plan", "--model", model, "--method", "lora")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ((*FEW, "--stage", "pretrain"), "stage = pretrain: running text has no answer"),
        ((*FEW, "data.max_length=512"), "the model has 256 positions"),
        (("--method", "bitfit"), "for a small bart; give one with --lr"),
    ],
)
def test_refusals(more, why, capfd):
    refused = told(capfd, "train", "--model", "bart", "--data", "rows.jsonl", *more, code=2)
    assert refused.startswith("error: ")
    assert why in refused


def test_more_than_one_turn_needs_a_template(place, capfd):
    turns = [{"role": role, "content": "text"} for role in ("user", "assistant") * 2]
    write_rows(place / "turns.jsonl", [{"messages": turns}] * 4)
    refused = told(capfd, "train", "--model", "t5", "--data", "turns.jsonl", *FEW, code=2)
    assert "without a chat template reads one question" in refused
    more = ("data.template=plain", "data.supervise=last", "data.eval_split=0", "--output", "runs/turns")
    assert told(capfd, "train", "--model", "t5", "--data", "turns.jsonl", *FEW, *more)["steps"] == 4
