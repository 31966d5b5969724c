import json

from accorda.cli.main import main
from accorda.recipe.load import load
from accorda.recipe.write import dump


def test_runs_are_listed_as_a_tree(tmp_path, capsys):
    proofs = {"mask": "holds", "save": "fails", "merge": "not applicable"}
    for name, parents in (("sft", []), ("dpo", [str(tmp_path / "sft")])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(dump(load({"method": "lora"})))
        result = {"status": "complete", "stage": name, "method": "lora", "steps": 1200, "loss": 1.5, "parents": parents}
        (tmp_path / name / "result.json").write_text(json.dumps(result | {"proofs": proofs}))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.yaml").write_text(dump(load({"method": "bitfit"})))
    assert main(["runs", str(tmp_path)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["run", "status", "stage", "method", "steps", "loss", "eval_loss", "proofs"]
    assert [row.split()[0].rpartition("/")[2] for row in rows[1:]] == ["begun", "sft", "dpo"]
    assert rows[3].startswith("  ")
    assert rows[1].split()[1:] == ["unfinished", "sft", "bitfit", "0", "-", "-", "-"]
    assert rows[2].split()[1:] == ["complete", "sft", "lora", "1,200", "1.5", "-", "1", "hold,", "1", "fail"]
    assert main(["runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["runs"]
    assert found[2]["parents"] == [str(tmp_path / "sft")]


def test_a_folder_without_runs(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"
