import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import yaml
from tests.stages.classified import ROWS as LABELLED
from tests.stages.compared import PAIRS as COMPARED
from tests.stages.runs import SUMS, write_rows
from tests.stages.sampled import ASKED, REWARDS
from tests.zoo import tiny_model_folder

from accorda.cli import init
from accorda.cli.main import main
from accorda.methods.registry import methods, read
from accorda.recipe.explain import LATER, SAYS
from accorda.recipe.layers import leaves, mapping
from accorda.recipe.load import load
from accorda.recipe.reader import hints
from accorda.recipe.sections import Recipe
from accorda.recipe.words import literals
from accorda.rl.registry import algorithms
from accorda.rl.settings import RolloutSettings
from accorda.stages.contract import stages
from accorda.stages.settle import borrowed, learning_rates, rates_of


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("stage", "method"), [("sft", "lora"), ("pretrain", "full")])
def test_the_written_recipe_is_the_defaults(stage, method, here, capsys):
    assert main(["init", stage, "--model", "m", "--data", "d.jsonl", "--run", "runs/a"]) == 0
    assert f"run it with: accorda train {stage}.yaml\n" in capsys.readouterr().out
    recipe = load(here / f"{stage}.yaml")
    assert recipe.method["name"] == method
    assert read(recipe.method) == read({"name": method})
    plain = load({"stage": stage, "model": "m", "data": "d.jsonl", "output": "runs/a"})
    assert {**mapping(recipe), "method": None} == {**mapping(plain), "method": None}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    place = tmp_path_factory.mktemp("filled")
    made = {"classify": LABELLED, "reward": COMPARED, "preference": COMPARED, "rl": ASKED}
    (place / "rewards.py").write_text(REWARDS)
    rows = {stage: write_rows(place / f"{stage}.jsonl", made.get(stage, SUMS)) for stage in stages()}
    return tiny_model_folder(place), rows


@pytest.mark.parametrize("name", [*stages(), *methods()])
def test_every_recipe_trains_once_model_and_data_are_filled_in(name, filled, here, capsys, monkeypatch):
    """Written with blanks and filled in as the command says; nothing else is needed."""
    monkeypatch.setenv("ACCORDA_CACHE", str(here / "cache"))
    assert main(["init", name, "--output", "r.yaml", "--json"]) == 0
    how = json.loads(capsys.readouterr().out)["run"]
    assert (here / "r.yaml").read_text().splitlines()[0] == f"# {how}"
    command = how.rpartition("accorda ")[2].replace("--model M", f"--model {filled[0]}")
    command = command.replace("--data F", f"--data {filled[1][name if name in stages() else 'sft']}")
    command = command.replace("reward=R", f"reward={filled[1]['rl'].parent / 'rewards.py'}:vowels")
    assert main([*command.split(), "--output", "run", "training.max_steps=2", "training.threads=1"]) == 0


def test_stages_and_methods_are_those_there_are():
    assert list(init.stages()) == sorted(stages())
    assert init.methods() == list(methods())
    table, kin = learning_rates(), {name: method.rate_of for name, method in methods().items()}
    for size, rates in zip((1_000_000, 20_000_000), init.known_rates(), strict=True):
        assert {stage: rates.get(stage, {}) for stage in stages()} == {
            stage: borrowed(table, stage, size, rates_of(table, stage, size), kin) for stage in stages()
        }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gprpo", "no such stage, method or algorithm; did you mean grpo?"),
        ("lroa", "no such stage, method or algorithm; did you mean lora?"),
        ("stf", "no such stage, method or algorithm; did you mean sft?"),
        ("best-of-n", "NAME = best_of_n: a way of sampling, which trains nothing: accorda eval RUN --best-of N"),
        ("zzz", "no such stage, method or algorithm; there are"),
    ],
)
def test_what_cannot_run_is_not_written(name, words, here, capsys):
    assert main(["init", name]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_every_algorithm_of_rl_is_written_with_all_its_settings(name, here):
    assert main(["init", name]) == 0
    recipe = load(here / f"{name}.yaml")
    assert recipe.stage == "rl"
    assert recipe.algorithm == {"name": name, **asdict(algorithms()[name]())}
    assert recipe.rollout == asdict(RolloutSettings())
    text = (here / f"{name}.yaml").read_text()
    assert "reward: null" in text
    told = text[text.index("algorithm:") :].partition("\noutput")[0].splitlines()
    assert all("#" in line for line in told if line.startswith("  "))


@pytest.mark.parametrize(("name", "means"), [("rlhf", "ppo"), ("raft", "rejection_sampling"), ("GRPO", "grpo")])
def test_other_names_of_algorithms(name, means, here):
    assert main(["init", name, "--output", "r.yaml"]) == 0
    assert load(here / "r.yaml").algorithm["name"] == means


def test_qlora_is_lora_on_an_nf4_base(here):
    assert main(["init", "qlora"]) == 0
    recipe = load(here / "qlora.yaml")
    assert (recipe.model.quantization, recipe.model.double_quantization) == ("nf4", True)
    assert recipe.method["name"] == "lora"


def test_a_number_format_that_is_missing_is_named(here, capsys, monkeypatch):
    monkeypatch.setattr(init, "FORMATS", {"qlora": ("lora", "nf5"), "int8lora": ("lora", "int8")})
    assert main(["init", "qlora"]) == 2
    assert "needs bases in nf5" in capsys.readouterr().err
    assert main(["init", "int8lora"]) == 0
    assert load(here / "int8lora.yaml").model.quantization == "int8"


def test_a_method_without_a_known_rate_needs_one(here, capsys):
    assert main(["init", "pretrain", "--method", "lora"]) == 2
    assert "--lr: missing; no learning rate is known for lora at stage pretrain" in capsys.readouterr().err
    assert main(["init", "pretrain", "--method", "lora", "--lr", "3e-4"]) == 0
    assert load(here / "pretrain.yaml").training.learning_rate == 3e-4


def test_every_setting_is_explained_and_nothing_else():
    named = {name for name, _ in leaves(mapping(Recipe()))}
    known = {name for name in named if name.partition(".")[0] not in (*LATER, "method")} | {"method.name"}
    assert SAYS.keys() - {"training.optimizer", "algorithm.labels", "algorithm.centring", "algorithm.name"} == known - {
        "training.optimizer.name"
    }


def test_every_choice_is_named():
    for section in ("data", "model", "training", "evaluation"):
        for name, kind in hints(hints(Recipe)[section]).items():
            missing = [choice for choice in literals(kind) if str(choice) not in SAYS[f"{section}.{name}"]]
            assert missing in ([], ["auto"])


def test_every_line_is_commented_and_the_file_is_plain_yaml(here):
    assert main(["init", "lora"]) == 0
    text = (here / "lora.yaml").read_text()
    assert yaml.safe_load(text)["method"]["rank"] == 16
    assert [line for line in text.splitlines() if ": " in line and "  # " not in line and line[0] != "#"] == []


def test_nothing_is_replaced(here, capsys):
    (here / "sft.yaml").write_text("mine")
    assert main(["init", "sft"]) == 2
    assert (here / "sft.yaml").read_text() == "mine"
    assert main(["init", "sft", "--output", "no/where.yaml"]) == 2
    assert main(["init", "lora", "--method", "bitfit"]) == 2
    assert "lora means the method lora" in capsys.readouterr().err
    assert main(["init", "sft", "--method", "lroa", "--output", "x.yaml"]) == 2
    assert not (here / "x.yaml").exists()


@pytest.mark.parametrize("command", [["init", "lora"], ["methods"], ["methods", "lora"], ["runs", "."]])
def test_fast_verbs_import_no_torch(command):
    code = f"import sys\nfrom accorda.cli.main import main\nmain({command})\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
