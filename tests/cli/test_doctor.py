import importlib.metadata
import json
from importlib.metadata import PackageNotFoundError, version

from accorda.cli.main import main


def test_what_is_installed_is_told(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    checks = {item["check"]: item for item in found["checks"]}
    assert checks["torch"] == {"check": "torch", "verdict": "ok", "detail": version("torch")}
    assert found["environment"]["packages"]["torch"] == version("torch")
    assert not {"pytest", "ruff"} & set(checks)


def test_a_missing_and_an_old_package_are_told_with_the_way_out(monkeypatch, capsys):
    def installed(name: str) -> str:
        if name in ("safetensors", "sacrebleu"):
            raise PackageNotFoundError(name)
        return "0.1" if name == "torch" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", installed)
    assert main(["doctor"]) == 1
    out, err = capsys.readouterr()
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert "fails" in rows["torch"]
    assert "pip install 'torch>=2.11'" in rows["torch"]
    assert rows["safetensors"].endswith("not installed: pip install accorda")
    assert "pip install 'accorda[metrics]'" in out
    assert err.splitlines()[-1] == "error: doctor: torch, safetensors must be mended first"
