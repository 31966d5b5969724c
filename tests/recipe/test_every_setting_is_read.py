"""No setting is decoration: whatever a recipe can say is read by the code that runs it."""

import sys

import pytest
from tests.rl.server import BASE, serving
from tests.stages import compared, sampled
from tests.stages.runs import settings, write_rows

from accorda.objectives.preference.registry import algorithms as of_preference
from accorda.recipe import sections
from accorda.recipe.load import load
from accorda.recipe.reader import names
from accorda.recipe.sections import Recipe
from accorda.rl.registry import algorithms as of_rl
from accorda.rl.settings import BACKEND, RolloutSettings
from accorda.stages import preflight, train
from accorda.stages.build import build
from accorda.stages.reward import Algorithm as OfReward

SECTIONS = {"model": "ModelSection", "data": "DataSection", "training": "TrainingSection"}
SECTIONS |= {"evaluation": "EvaluationSection", "": "Recipe"}
ELSEWHERE = {"algorithm", "rollout", "reward"}  # of other stages than sft
BY_SOURCE = {"data.train": "sources", "data.format": "sources", "data.columns": "sources"}  # handed out by a method
REFUSING = ("misfit", "changed", "check")  # to look whether a setting fits is not yet to do what it says
OF_SERVERS = {item.name for item in RolloutSettings.__dataclass_fields__.values() if BACKEND in item.metadata}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def watch(monkeypatch):
    """Of a class of settings: the names of those that code of `accorda`, but for the recipe's own, looks at."""

    def watched(cls, seen=None, section=""):
        seen = set() if seen is None else seen

        def look(self, attribute, plain=object.__getattribute__):
            frame = sys._getframe(1)
            while frame.f_code.co_name.startswith("<"):  # inside a comprehension
                frame = frame.f_back
            caller = frame.f_globals.get("__name__", "")
            ours = caller.startswith("accorda.") and not caller.startswith("accorda.recipe")
            if ours and frame.f_code.co_name not in REFUSING:
                seen.add(f"{section}.{attribute}" if section else attribute)
            return plain(self, attribute)

        monkeypatch.setattr(cls, "__getattribute__", look)
        return seen

    return watched


def test_a_run_reads_every_setting(watch, tmp_path):
    read: set[str] = set()
    for section, name in SECTIONS.items():
        watch(getattr(sections, name), read, section)
    train(settings(tmp_path, training={"max_steps": None}))
    wanted = {name for name in names(Recipe) if name not in SECTIONS and name not in ELSEWHERE}
    wanted = {f"data.{BY_SOURCE[name]}" if name in BY_SOURCE else name for name in wanted}
    assert wanted - read == set()


MORE = {
    "grpo": {"kl_coef": 0.1, "num_epochs": 2},
    "ppo": {"kl_target": 1.0, "num_epochs": 1, "ptx_data": "texts.jsonl"},
}


@pytest.mark.parametrize("name", sorted(of_rl()))
def test_stage_rl_reads_every_setting_of_an_algorithm_and_of_the_rollout(name, watch, tmp_path):
    write_rows(tmp_path / "texts.jsonl", [{"prompt": "a ", "completion": f"row {n}"} for n in range(9)])
    more = MORE.get(name, {})
    if "ptx_data" in more:
        more = more | {"ptx_data": str(tmp_path / more["ptx_data"])}
    recipe = load(sampled.settings(tmp_path, algorithm={"name": name, **more}))
    of_recipe, of_rollout, of_algorithm = (watch(cls) for cls in (Recipe, RolloutSettings, of_rl()[name]))
    build(recipe).loop.step()
    assert of_recipe >= ELSEWHERE
    assert set(names(RolloutSettings)) - of_rollout == OF_SERVERS
    assert set(names(of_rl()[name])) - of_algorithm == set()


def test_a_server_is_asked_by_every_setting_of_servers(watch, tmp_path):
    write_rows(tmp_path / "asked.jsonl", sampled.ASKED)
    made = sampled.settings(tmp_path)
    with serving(tmp_path / "llama") as small:
        of_server = {"backend": "http", "url": small.url, "model": BASE, "folder": str(tmp_path)}
        recipe, read = load(sampled.settings(tmp_path, rollout=made["rollout"] | of_server)), watch(RolloutSettings)
        session = build(recipe)
        preflight.check(session)
        session.loop.carried.close()
    assert OF_SERVERS - read == set()


@pytest.mark.parametrize("name", sorted(of_preference()))
def test_stage_preference_reads_every_setting_of_an_algorithm(name, watch, tmp_path):
    recipe = load(compared.settings(tmp_path, algorithm={"name": name}))
    read = watch(of_preference()[name])
    build(recipe).loop.step()
    assert set(names(of_preference()[name])) - read == set()


def test_stage_reward_reads_its_own_settings(watch, tmp_path):
    recipe = load(compared.settings(tmp_path, stage="reward", algorithm={}))
    read = watch(OfReward)
    build(recipe).loop.step()
    assert set(names(OfReward)) - read == set()
