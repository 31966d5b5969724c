"""`accorda diff` on run folders as their files tell them."""

import json

from accorda.cli.main import main
from accorda.recipe.load import load
from accorda.recipe.write import dump


def differing(capsys) -> dict[str, tuple[str, str]]:
    assert main(["diff", "a", "b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["differences"]
    return {item["name"]: (item["old"], item["new"]) for item in found if item["what"] == "setting"}


def test_an_optimizer_named_by_default_is_the_same_as_one_that_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, optimizer in (("a", {"beta2": 0.95}), ("b", {"name": "adamw"})):
        (tmp_path / name).mkdir()
        recipe = load({"model": "m", "data": "d.jsonl", "training": {"optimizer": optimizer}})
        (tmp_path / name / "recipe.yaml").write_text(dump(recipe), encoding="utf-8")
    assert differing(capsys) == {"training.optimizer.beta2": ("0.95", "0.999")}


def test_another_optimizer_differs_in_all_that_it_has(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, optimizer in (("a", {"beta2": 0.95}), ("b", {"name": "adafactor"})):
        (tmp_path / name).mkdir()
        recipe = load({"model": "m", "data": "d.jsonl", "training": {"optimizer": optimizer}})
        (tmp_path / name / "recipe.yaml").write_text(dump(recipe), encoding="utf-8")
    found = differing(capsys)
    assert found["training.optimizer.name"] == ("adamw", "adafactor")
    assert found["training.optimizer.beta2"] == ("0.95", None)


def test_files_that_cannot_be_read_are_named_and_not_taken_as_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(dump(load({"model": "m", "data": "d.jsonl"})), encoding="utf-8")
        (tmp_path / name / "environment.json").write_text("{}", encoding="utf-8")
        (tmp_path / name / "result.json").write_text("{}", encoding="utf-8")
    (tmp_path / "a" / "environment.json").write_text('{"python": ', encoding="utf-8")
    (tmp_path / "b" / "recipe.yaml").write_text("\0\0", encoding="utf-8")
    for arguments in (["compare", "a", "b"], ["diff", "a", "b"], ["runs", "."]):
        assert main(arguments) == 0
        told = capsys.readouterr().out
        assert "! a/environment.json: broken" in told
        assert "! b/recipe.yaml: broken" in told
    assert main(["runs", "a"]) == 0
    assert "! a/environment.json: broken" in capsys.readouterr().out
