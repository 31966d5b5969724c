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
    ("resume", "nowhere"): "nowhere: no run here (a run folder holds recipe.yaml); list them with: accorda runs",
    ("merge", "r", "--into", "requantised"): "requantised: no such choice; did you mean requantized?",
    ("quantize", "bundled", "--format", "nf8"): "--format = nf8: no such number format; did you mean nf4?",
    ("migrate", "no.yaml"): "no.yaml: cannot be read: no such file or directory",
    ("train", "--resume", "r"): "--resume: no such flag of accorda train; there is a verb of that name: accorda resume",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_refused_without_torch(arguments, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, *arguments], cwd=tmp_path, env=os.environ, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert REFUSED[arguments] in done.stderr
    assert done.stderr.count("\n") == 1


def test_number_formats_are_those_of_the_registry():
    assert set(number_formats()) == set(formats())
