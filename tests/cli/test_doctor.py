import importlib.metadata
import json
import os
import shutil
from importlib.metadata import PackageNotFoundError, version

import torch

from accorda.cli.doctor import BRINGS
from accorda.cli.main import main
from accorda.recipe.words import install
from accorda.runs import memory


def test_what_is_installed_is_told(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    checks = {item["check"]: item for item in found["checks"]}
    assert checks["torch"] == {"check": "torch", "verdict": "ok", "detail": version("torch"), "advice": ""}
    assert checks["a training step"]["detail"].startswith("works: loss ")
    assert found["advice"] == [item["advice"] for item in found["checks"] if item["advice"]]
    assert found["environment"]["packages"]["torch"] == version("torch")
    assert not {"pytest", "ruff"} & set(checks)


def test_a_missing_and_an_old_package_are_told_with_the_way_out(monkeypatch, capsys):
    def installed(name: str) -> str:
        if name in ("safetensors", "sacrebleu"):
            raise PackageNotFoundError(name)
        return "0.1" if name == "torch" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", installed)
    assert main(["doctor", "--no-test"]) == 1
    out, err = capsys.readouterr()
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert "fails" in rows["torch"]
    assert "- pip install 'torch>=2.11'\n" in out
    assert rows["safetensors"].endswith("not installed")
    assert "- pip install accorda\n" in out
    assert f"- {install('metrics')} brings ROUGE and BLEU in eval\n" in out
    assert "a training step" not in out
    assert err.splitlines()[-1] == "error: doctor: torch, safetensors must be mended first"


def test_a_step_that_does_not_work_fails(monkeypatch, capsys):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    assert main(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert "no trained tensor moved" in out
    assert err.splitlines()[-1] == "error: doctor: a training step must be mended first"


def test_a_busy_short_and_odd_machine_gets_advice(monkeypatch, capsys):
    monkeypatch.setattr(os, "getloadavg", lambda: (999.0, 0.0, 0.0))
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 1))
    monkeypatch.setenv("OMP_NUM_THREADS", "777")
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    assert main(["doctor", "--no-test", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    warned = {item["check"]: item["advice"] for item in found["checks"] if item["verdict"] == "warning"}
    assert set(warned) == {"processor", "memory", "disk here", "OMP_NUM_THREADS", "PYTHONOPTIMIZE"}
    assert "accorda runs clean" in warned["disk here"]
    assert all(warned.values())


def test_every_extra_says_what_it_brings():
    extras = set(importlib.metadata.metadata("accorda").get_all("Provides-Extra") or ())
    assert set(BRINGS) == extras - {"test", "check", "docs", "dev"}
