"""Bad input as a user meets it: one line that begins with `error: `, exit code 2, and nothing left behind."""

import gzip
import json
import os
import shutil

import pytest
from tests.stages.runs import SUMS, write_rows
from tests.zoo import tiny_model_folder

from accorda.cli.main import main

TRAIN = ("train", "--model", "llama", "--data", "rows.jsonl", "--lr", "0.01", "--output", "out", "training.threads=1")


def text(name, content):
    """A file of the working directory."""

    def make(place):
        (place / name).write_text(content, encoding="utf-8")

    return make


def binary(name, content):
    """A file of the working directory, as bytes."""
    return lambda place: (place / name).write_bytes(content)


def without(name, path="llama"):
    """A model folder that lacks a file."""

    def make(place):
        (place / path / name).unlink()

    return make


def torn_weights(place):
    path = place / "llama" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled_weights(place):
    (place / "llama" / "model.safetensors").rename(place / "llama" / "pytorch_model.bin")


def other_output(place):
    (place / "out").mkdir()
    (place / "out" / "mine.txt").write_text("mine", encoding="utf-8")


def on(path):
    """A run on other rows."""
    return tuple(path if word == "rows.jsonl" else word for word in TRAIN)


def nothing(place):
    """No preparation."""


def rows(*lines):
    """Training rows as they stand."""
    return text("rows.jsonl", "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


CASES = {
    "no verb": (nothing, (), "no verb"),
    "unknown verb": (nothing, ("trian",), "train"),
    "unknown flag": (nothing, (*TRAIN, "--bach-size", "3"), "--batch-size"),
    "flag without its value": (nothing, ("train", "--model"), "--model"),
    "no model": (nothing, ("train", "--data", "rows.jsonl"), "--model"),
    "no data": (nothing, ("train", "--model", "llama"), "--data"),
    "model folder missing": (
        nothing,
        ("train", "--model", "./lama", *TRAIN[3:]),
        "model.path = ./lama: no such folder",
    ),
    "model folder without a config": (without("config.json"), TRAIN, "llama"),
    "model folder without a tokenizer": (
        lambda place: [path.unlink() for path in (place / "llama").glob("*token*")],
        TRAIN,
        "tokenizer",
    ),
    "torn weights": (torn_weights, TRAIN, "model.safetensors"),
    "pickled weights": (pickled_weights, TRAIN, "pickle"),
    "data file missing": (nothing, on("row.jsonl"), "did you mean rows.jsonl?"),
    "bad JSON": (rows(SUMS[0], '{"prompt": "a", "completion"'), TRAIN, "rows.jsonl:2"),
    "empty file": (rows(), TRAIN, "rows.jsonl"),
    "columns nobody knows": (rows({"frage": "1", "antwort": "2"}), TRAIN, "--column"),
    "mapped column missing": (nothing, (*TRAIN, "--column", "prompt=question"), "question"),
    "wrong type": (rows(SUMS[0], {"prompt": "a", "completion": 3}), TRAIN, "rows.jsonl:2"),
    "empty completion": (rows(SUMS[0], {"prompt": "a", "completion": ""}), TRAIN, "rows.jsonl:2"),
    "rows too long": (rows(*[{"prompt": "1 plus " * 300, "completion": "1"}] * 9), TRAIN, "data.overlong"),
    "unknown setting": (nothing, (*TRAIN, "training.batchsize=3"), "training.batch_size"),
    "wrong value": (nothing, (*TRAIN, "training.batch_size=many"), "many"),
    "out of range": (nothing, (*TRAIN, "--batch-size", "0"), "training.batch_size"),
    "override without a value": (nothing, (*TRAIN, "training.batch_size"), "training.batch_size"),
    "same setting twice": (nothing, (*TRAIN, "training.learning_rate=0.5"), "learning_rate"),
    "unknown method": (nothing, (*TRAIN, "--method", "lorra"), "lora"),
    "setting of another method": (nothing, (*TRAIN, "--method", "bitfit", "--rank", "3"), "rank"),
    "target that matches nothing": (nothing, (*TRAIN, "method.target_modules=q_porj"), "q_proj"),
    "longer than the model": (nothing, (*TRAIN, "data.max_length=100000"), "positions"),
    "model where a recipe stands": (nothing, ("train", "llama", "--data", "rows.jsonl"), "--model llama"),
    "recipe missing": (nothing, ("train", "recpie.yaml"), "recpie.yaml"),
    "recipe is no YAML": (text("r.yaml", "stage: [sft"), ("train", "r.yaml"), "r.yaml"),
    "recipe with a key twice": (text("r.yaml", "stage: sft\nstage: sft\n"), ("train", "r.yaml"), "r.yaml:2"),
    "unknown stage": (nothing, (*TRAIN, "--stage", "sfd"), "sft"),
    "stage of a later version": (nothing, (*TRAIN, "--stage", "rl"), "stage"),
    "output in use": (other_output, TRAIN, "out"),
    "fp16 on a processor": (nothing, (*TRAIN, "training.precision=fp16"), "fp16"),
    "unknown quantization": (nothing, (*TRAIN, "model.quantization=int7"), "int8"),
    "unknown metric": (nothing, (*TRAIN, "evaluation.metrics=[rogue]"), "rouge"),
    "unknown tracker": (nothing, (*TRAIN, "training.trackers=[wandbb]"), "wandb"),
    "resume of nothing": (nothing, ("resume", "nowhere"), "nowhere"),
    "verify of nothing": (nothing, ("verify", "nowhere"), "nowhere"),
    "eval without data": (nothing, ("eval", "llama"), "--data"),
    "generate from nothing": (nothing, ("generate", "nowhere", "--prompt", "a"), "nowhere"),
    "merge of a bare model": (nothing, ("merge", "llama"), "llama"),
    "inspect of nothing": (nothing, ("inspect", "nowhere"), "nowhere"),
    "data check without a model": (nothing, ("data", "check", "rows.jsonl"), "--model"),
    "plan of nothing": (nothing, ("plan", "--model", "nowhere"), "nowhere"),
    "plan without a model": (nothing, ("plan",), "--model"),
    "plan for a device nobody knows": (nothing, ("plan", "--model", "llama", "--device", "rtx4090"), "rtx-4090"),
    "plan of a folder without a config": (without("config.json"), ("plan", "--model", "llama"), "llama"),
    "picture of another kind": (nothing, ("plan", "--picture", "memory.doc"), ".svg"),
    "table of a model": (nothing, ("plan", "--table", "--model", "llama"), "--table"),
    "unknown method shown": (nothing, ("methods", "lorra"), "lora"),
    "a number of 5,000 digits": (
        text("rows.jsonl", '{"prompt": ' + "9" * 5000 + "}\n"),
        TRAIN,
        "rows.jsonl:1: bad JSON",
    ),
    "a number of 5,000 digits in a list": (
        text("rows.json", '[\n{"prompt": ' + "9" * 5000 + "}]\n"),
        on("rows.json"),
        "rows.json:2: bad JSON: a number of more digits than Python reads",
    ),
    "a spreadsheet that says .csv": (binary("rows.csv", b"PK\x03\x04\x14\x00"), on("rows.csv"), "ZIP"),
    "a compressed file that does not say so": (
        binary("rows.csv", gzip.compress(b"prompt,completion\n")),
        on("rows.csv"),
        "rows.csv: compressed with gzip; let its name end in .gz",
    ),
    "UTF-16 without its mark": (
        binary("rows.csv", "prompt,completion\na,b\n".encode("utf-16-le")),
        on("rows.csv"),
        "rows.csv: UTF-16 text without its mark, or no text at all; save it as UTF-8",
    ),
    "a link to nothing": (
        lambda place: (place / "link.jsonl").symlink_to(place / "gone.jsonl"),
        on("link.jsonl"),
        "link.jsonl: a link to no file",
    ),
    "a pipe as rows": (
        lambda place: os.mkfifo(place / "pipe.jsonl"),
        on("pipe.jsonl"),
        "pipe.jsonl: no ordinary file",
    ),
    "a name too long": (nothing, on(f"{'x' * 300}.jsonl"), "cannot be read: File name too long"),
    "an output with a name too long": (nothing, (*TRAIN[:-3], f"output={'x' * 300}"), "output = xxxxxxxx"),
    "somebody's home who is not there": (nothing, on("~nobody-here/rows.jsonl"), "begins with ~"),
    "a field misspelt": (nothing, (*TRAIN, "--column", "promt=prompt"), "did you mean prompt?"),
    "more steps than 64 bits hold": (nothing, (*TRAIN, f"training.max_steps={10**19}"), "fits in 64 bits"),
    "a seed of more than 64 bits": (nothing, (*TRAIN, f"training.seed={10**30}"), "fits in 64 bits"),
    "a setting of 5,000 digits": (nothing, (*TRAIN, f"training.seed={'9' * 5000}"), "too many digits"),
    "more threads than there can be": (nothing, (*TRAIN[:-1], "training.threads=100000"), "at most 1024"),
    "a NUL in a recipe": (text("r.yaml", 'output: "a\\0b"\n'), ("train", "r.yaml", *TRAIN[1:5]), "NUL"),
    "a recipe nested too deeply": (text("r.yaml", "a: " + "[" * 5000), ("train", "r.yaml"), "nested too deeply"),
    "an adapter larger than the memory": (nothing, (*TRAIN, "--rank", str(10**15)), "out of memory"),
    "a picture where no folder is": (
        nothing,
        ("plan", "--table", "--picture", "none/memory.svg"),
        "--picture = none/memory.svg: there is no folder none",
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


def listing(place):
    return {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_is_one_line_and_leaves_nothing(case, model, tmp_path, monkeypatch, capsys):
    prepare, arguments, words = CASES[case]
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    shutil.copytree(model, place / "llama")
    write_rows(place / "rows.jsonl", SUMS)
    prepare(place)
    before = listing(place)
    assert main(list(arguments)) == 2
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert shown.out == ""
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert words in lines[-1]
    assert "Traceback" not in shown.err
    assert listing(place) == before


def test_a_refusal_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["resume", "nowhere", "--json"]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert shown["exit"] == 2
    assert "nowhere" in shown["error"]
