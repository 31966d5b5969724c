"""The demo, shortened: a few steps, a few tickets."""

import json
from pathlib import Path

from accorda.cli import demo, main

SHORT = ["training.max_steps=4", "training.checkpoint_every=2", "training.threads=1"]


def test_the_demo_tells_everything_and_leaves_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(["demo", *SHORT, "--limit", "3"]) == 0
    told = capsys.readouterr()
    for part in ("Memory", "activations", "Training", "Held-out tickets", "base + 3 examples", "reference", "Proofs"):
        assert part in told.out
    assert "accorda chat runs/demo" in told.out
    assert "└─" in told.out
    assert json.loads((tmp_path / "runs" / "demo" / "result.json").read_text())["steps"] == 4


def test_no_command_is_advised_that_must_fail(tmp_path, capsys):
    """Adapters between two modules can be written into neither's weights."""
    few = ["method.name=houlsby", "training.max_steps=2", "training.threads=1", "evaluation.metrics=[]"]
    few, output = [*few, "evaluation.samples=0", "--limit", "1"], tmp_path / "run"
    assert main.main(["demo", *few, "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert f"accorda verify {output}" in told
    assert "accorda merge" not in told
    assert main.main(["merge", str(output), "--output", str(tmp_path / "merged")]) == 2
    assert "leave it beside its base" in capsys.readouterr().err


def test_json_has_run_rows_and_seconds(tmp_path, capsys):
    assert main.main(["demo", *SHORT, "--limit", "2", "--long", "--output", str(tmp_path / "threads"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in result["evaluation"]["rows"]] == ["base", "base + 3 examples", "tuned"]
    assert set(result["evaluation"]["rows"][2]["metrics"]) >= {"exact_match", "rougeL"}
    assert all(verdict != "fails" for verdict in result["proofs"].values())
    assert result["seconds"] > 0
    assert result["output"] == str(tmp_path / "threads")


def test_a_second_demo_takes_the_next_folder(tmp_path):
    assert demo.free(tmp_path / "demo") == str(tmp_path / "demo")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert demo.free(tmp_path / "demo") == str(tmp_path / "demo-3")


def test_an_output_that_stands_there_is_refused_before_anything_is_loaded(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("stage: sft\n")
    (run / "result.json").write_text("{}")
    assert main.main(["demo", "--output", str(run)]) == 2
    assert str(run) in capsys.readouterr().err


def test_what_is_no_change_is_refused(capsys):
    assert main.main(["demo", "bitfit"]) == 2
    assert "KEY.PATH=VALUE" in capsys.readouterr().err


def test_help_and_front_page_say_the_same_of_how_long_it_takes():
    readme = Path(__file__).resolve().parents[2] / "README.md"
    section = readme.read_text(encoding="utf-8").partition("accorda demo\n")[2][:300]
    assert "two to three minutes" in section
    assert "two to three minutes" in (demo.__doc__ or "").partition("\n")[0]
