import json
import os
import re

import pytest
from tests.stages.runs import settings

from accorda.cli.main import main
from accorda.recipe.load import load
from accorda.recipe.write import dump
from accorda.stages import train


def test_runs_are_listed_as_a_tree(tmp_path, capsys):
    proofs = {"mask": "holds", "save": "fails", "merge": "not applicable"}
    for name, parents in (("sft", []), ("dpo", [str(tmp_path / "sft")])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(dump(load({"method": "lora"})))
        (tmp_path / name / "environment.json").write_text("{}")
        result = {
            "status": "complete",
            "stage": name,
            "method": "lora",
            "steps": 1200,
            "eval_loss": 1.25,
            "parents": parents,
        }
        (tmp_path / name / "result.json").write_text(json.dumps(result | {"proofs": proofs}))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.yaml").write_text(dump(load({"method": "bitfit"})))
    (tmp_path / "begun" / "environment.json").write_text("{}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.yaml").write_text("somebody's own\n")
    assert main(["runs", str(tmp_path)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["run", "status", "stage", "method", "steps", "eval_loss", "proofs", "when", "size"]
    assert [row.split()[0].rpartition("/")[2] for row in rows[1:]] == ["begun", "sft", "dpo"]
    assert rows[3].startswith("  ")
    assert rows[1].split()[1:-4] == ["unfinished", "sft", "bitfit", "0", "-", "-"]
    assert rows[2].split()[1:-4] == ["complete", "sft", "lora", "1,200", "1.25", "1", "hold,", "1", "fail"]
    assert re.search(r"  20\d\d-\d\d-\d\d \d\d:\d\d  [\d.]+ kB$", rows[2])
    assert main(["runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["runs"]
    assert found[2]["parents"] == [str(tmp_path / "sft")]


def test_a_folder_without_runs(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"


def test_one_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    run = train(settings(tmp_path))
    assert main(["runs", str(run.folder.path)]) == 0
    text = capsys.readouterr().out
    assert "method.rank" in text
    assert all(proof.name in text for proof in run.proofs)
    assert f"accorda chat {run.folder.path}" in text
    assert main(["runs", str(run.folder.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["result"]["loss"] == run.result["loss"]
    assert found["settings"]["method.rank"] == {"value": "2", "origin": "python"}
    assert found["bytes"] > 10_000
    (run.folder.result).unlink()
    assert main(["runs", str(run.folder.path)]) == 0
    assert f"accorda resume {run.folder.path}" in capsys.readouterr().out


def test_cleaning_tells_first_and_deletes_when_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    run = train(settings(tmp_path)).folder
    for place in (run.recipe, run.events, run.result, *run.checkpoints.iterdir()):
        os.utime(place, (0, 0))
    assert main(["runs", "clean", str(tmp_path)]) == 0
    assert "checkpoints of a complete run" in (out := capsys.readouterr().out)
    assert "nothing was deleted; --yes frees" in out
    assert run.checkpoints.is_dir()
    assert main(["runs", "clean", str(tmp_path), "--yes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], [item["path"] for item in found["items"]]) == ("deleted", [str(run.checkpoints)])
    assert not run.checkpoints.exists()
    assert main(["verify", str(run.path)]) == 0
    assert main(["runs", "clean", str(tmp_path)]) == 0
    assert "nothing to clean" in capsys.readouterr().out
    run.result.unlink()
    os.utime(run.recipe, (0, 0))
    assert main(["runs", "clean", str(tmp_path), "--yes"]) == 0
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["clean", "nowhere"], "FOLDER = nowhere: no such folder"),
        (["--yes"], "--yes: belongs to accorda runs clean"),
        (["a", "--days", "3"], "--days: belongs to accorda runs clean"),
        (["clean", "--days", "0"], "--days: 0 must be a whole number of at least 1"),
    ],
)
def test_refused(arguments, line, capsys):
    assert main(["runs", *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {line}")
