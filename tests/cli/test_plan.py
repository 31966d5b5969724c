"""What `accorda plan` prints."""

import json

from tests.stages.runs import SUMS, write_rows

from accorda.cli.main import main


def test_the_bill_as_a_table_and_as_json(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    rows = write_rows(tmp_path / "rows.jsonl", SUMS)
    command = ["plan", "--model", str(tiny), "--data", str(rows), "--device", "t4"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "training" in shown.splitlines()[0]
    assert "t4 has 16.1 GB: fits" in shown
    assert main([*command, "--savings", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == sum(item["bytes"] for item in found["items"])
    assert found["fits"] is True
    assert {"training.gradient_checkpointing": True} in [change["settings"] for change in found["changes"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "rows.jsonl"]


def test_a_dry_run_shows_the_same_items(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    rows = write_rows(tmp_path / "rows.jsonl", SUMS)
    given = ["--model", str(tiny), "--data", str(rows), "training.threads=1"]
    assert main(["plan", *given, "--device", "cpu", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert main(["train", *given, "--lr", "0.01", "--dry-run", "--json"]) == 0
    dry = json.loads(capsys.readouterr().out)["bill"]
    assert [moment["name"] for moment in dry["moments"]] == [moment["name"] for moment in planned["moments"]]
    assert dry["total"] == planned["total"] or abs(dry["total"] / planned["total"] - 1) < 0.1
    assert main(["train", *given, "--lr", "0.01", "--dry-run"]) == 0
    assert "optimizer states" in capsys.readouterr().out


def test_the_table_and_its_picture(tmp_path, capsys):
    assert main(["plan", "--table"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["1B", "fp32", "4", "16", "4.2"]
    picture = tmp_path / "memory.svg"
    assert main(["plan", "--picture", str(picture), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["table"]) == 28
    assert picture.read_text(encoding="utf-8").lstrip().startswith("<?xml")
