import json

import pytest
from tests.recipe.migrate import configs

from accorda.cli.main import main
from accorda.recipe.load import load


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = configs.AXOLOTL_LORA.format(model="llama", rows="rows.jsonl", output="out")
    (tmp_path / "axolotl.yaml").write_text(text)
    return tmp_path


def test_the_recipe_on_standard_output(here, capsys):
    assert main(["migrate", "axolotl.yaml"]) == 0
    shown = capsys.readouterr()
    (here / "recipe.yaml").write_text(shown.out)
    assert load("recipe.yaml").method["rank"] == 4
    assert "# These keys have no counterpart:\n#   special_tokens" in shown.out
    assert shown.err.startswith("a configuration of Axolotl: ")


def test_the_recipe_in_a_file_and_the_report(here, capsys):
    assert main(["migrate", "axolotl.yaml", "--output", "recipe.yaml", "--devices", "4"]) == 0
    shown = capsys.readouterr().out
    assert load("recipe.yaml").training.batch_size == 24
    assert "keys that have no counterpart:\n  special_tokens" in shown
    assert "carried over: base_model," in shown
    assert "dropped: model_type, load_in_4bit," in shown
    assert "wrote recipe.yaml" in shown
    before = (here / "recipe.yaml").read_text()
    assert main(["migrate", "axolotl.yaml", "--output", "recipe.yaml"]) == 2
    assert (here / "recipe.yaml").read_text() == before
    assert main(["migrate", "axolotl.yaml", "--output", "no/where.yaml"]) == 2


def test_as_json(here, capsys):
    assert main(["migrate", "axolotl.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tool"] == "Axolotl"
    (here / "recipe.yaml").write_text(found["recipe"])
    load("recipe.yaml")
    lost = {note["key"]: note for note in found["keys"]["no_counterpart"]}
    assert lost["special_tokens"]["says"] == [
        "the tokenizer's own special tokens stay; model.added_tokens adds further ones"
    ]
    assert (here / "axolotl.yaml").read_text().splitlines()[lost["special_tokens"]["line"] - 1] == "special_tokens:"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("lora_r: 4", "lora_r: 0"), "method.rank = 0 (axolotl.yaml: lora_r (line 19))"),
        (
            ("base_model", "rl: dpo\nbase_model"),
            "rl = dpo: migrate reads supervised fine-tuning only; begin with: accorda init dpo",
        ),
    ],
)
def test_a_refusal_leaves_nothing(change, words, here, capsys):
    path = here / "axolotl.yaml"
    path.write_text(path.read_text().replace(*change, 1))
    assert main(["migrate", "axolotl.yaml", "--output", "recipe.yaml"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert not (here / "recipe.yaml").exists()
