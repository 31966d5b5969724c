"""What is refused before torch is imported, in the words of the run itself."""

import os
import subprocess
import sys

import pytest

from accorda.quantization import formats
from accorda.recipe.number_formats import number_formats

NO_TORCH = """
import sys
sys.modules["torch"] = None
from accorda.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
TRAIN = ("train", "--model", "bundled", "--data", "bundled:tickets")
REFUSED = {
    (*TRAIN, "training.lr=1e-3"): "no such setting; did you mean training.learning_rate?",
    (*TRAIN, "model.quantization=nf5"): "model.quantization = nf5: no such number format; did you mean nf4?",
    (*TRAIN, "method=lroa"): "method.name = lroa (command line): no such method; did you mean lora?",
    (*TRAIN, "method=full", "model.quantization=nf4"): "leave that out, or train an adapter: method.name=lora",
    (*TRAIN, "--output", "taken"): "output = taken: is not empty; choose a folder that does not exist",
    ("train", "--model", "bundled", "--data", "tickets.csv"): "data.train: tickets.csv: no such file",
    (*TRAIN, "--output", "/proc/run"): "output = /proc/run: /proc cannot be written to; choose another place",
    (*TRAIN, "training.epochs=[1,2]", "--output", "/proc/run"): "output = /proc/run: /proc cannot be written to",
    (*TRAIN, "--output", "x" * 255): "file name too long: 255 bytes, where 250 are possible; choose a shorter one",
    ("init", "sft", "--output", "/proc/x.yaml"): "--output /proc/x.yaml: /proc cannot be written to; choose another",
    ("migrate", "trl.yaml", "--output", "/proc/x.yaml"): "--output /proc/x.yaml: /proc cannot be written to",
    ("merge", "r", "--output", "/proc/m"): "--output /proc/m: /proc cannot be written to; choose another place",
    ("quantize", "bundled", "--output", "/proc/m"): "--output /proc/m: /proc cannot be written to",
    ("demo", "--output", "/proc/d"): "output = /proc/d: /proc cannot be written to; choose another place",
    ("demo", "--align", "--output", "/proc/d"): "output = /proc/d/sft: /proc cannot be written to",
    ("plan", "--picture", "/proc/p.svg"): "--picture = /proc/p.svg: /proc cannot be written to",
    ("compare", "a", "b", "--picture", "/proc/p.svg"): "--picture = /proc/p.svg: /proc cannot be written to",
    ("resume", "runs/mine", "training.epochs=2"): "accorda train --model runs/mine --data FILE training.epochs=2",
    ("init",): "NAME: missing; there are the stages classify, preference, pretrain, reward, rl, sft, the algorithms",
    ("migrate", "empty.jsonl"): "empty.jsonl: the file is empty; name another",
    ("resume", "nowhere"): "nowhere: no run here (a run folder holds recipe.yaml); list them with: accorda runs",
    (*TRAIN[:3], "--data", "rows.csv", "--column", "prompt=qestion"): "rows.csv:2: data.columns: no column 'qestion'",
    (*TRAIN[:3], "--data", "rows.csv", "data.columns.promt=question"): "did you mean prompt?",
    (*TRAIN[:3], "--data", "empty.jsonl"): "data.train: empty.jsonl: the file is empty; name a file with rows",
    (*TRAIN[:3], "--data", "rows.csv", "--stage", "preference"): "--column chosen=COLUMN --column rejected=COLUMN",
    (*TRAIN, "--eval-data", "rows.tsv"): "data.eval: rows.tsv: no such file; did you mean rows.csv?",
    ("train", "--model", "./bundld", *TRAIN[3:]): "model.path = ./bundld: no such folder",
    ("eval", "bundled", "--data", "row.csv"): "data.eval: row.csv: no such file; did you mean rows.csv?",
    ("eval", "bundled", "--data", "empty.jsonl"): "data.eval: empty.jsonl: the file is empty",
    ("eval", "bundled", "--data", "rows.csv", "--metrics", "exact_mach"): "did you mean 'exact_match'?",
    ("eval", "bundled", "--data", "rows.csv", "--train", "row.csv"): "train: row.csv: no such file",
    ("eval", "runs/min", "--data", "rows.csv"): "model.path = runs/min: no such folder; did you mean runs/mine?",
    ("eval", "runs/mine", "--data", "rows.csv"): "rows.csv:2: no format fits its columns (question, stars)",
    ("verify", "runs/min"): "runs/min: no such folder; did you mean runs/mine?",
    ("verify", "nope"): "nope: no such folder; list runs with: accorda runs",
    ("verify", "runs"): "runs: a folder of runs and none itself; verify them one by one: runs/mine",
    ("verify", "runs/mine", "--data", "rows.csv"): "data = rows.csv: the run runs/mine has its own; leave it out",
    ("verify", "taken", "--data", "row.csv"): "data.eval: row.csv: no such file",
    ("generate", "bundled", "--file", "row.csv"): "--file row.csv: no such file; did you mean rows.csv?",
    ("generate", "bundled"): "standard input: is empty; give --prompt TEXT, --file F, or text there",
    ("generate", "./bundld", "--prompt", "a"): "model.path = ./bundld: no such folder",
    ("merge", "r", "--into", "requantised"): "requantised: no such choice; did you mean requantized?",
    ("quantize", "bundled", "--format", "nf8"): "--format = nf8: no such number format; did you mean nf4?",
    ("migrate", "no.yaml"): "no.yaml: cannot be read: no such file or directory",
    ("train", "--resume", "r"): "--resume: no such flag of accorda train; there is a verb of that name: accorda resume",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_refused_without_torch(arguments, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "rows.csv").write_text("question,stars\nWhat is it?,4\n", encoding="utf-8")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "recipe.yaml").write_text("stage: sft\n", encoding="utf-8")
    (tmp_path / "runs" / "mine" / "result.json").write_text("{}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, *arguments],
        cwd=tmp_path,
        env=os.environ,
        input="",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert REFUSED[arguments] in done.stderr
    assert done.stderr.count("\n") == 1


def test_number_formats_are_those_of_the_registry():
    assert set(number_formats()) == set(formats())
