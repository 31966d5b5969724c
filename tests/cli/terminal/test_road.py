"""`accorda demo --align`, shortened: all three runs, the judgement, what is refused."""

import json

import pytest

from accorda.cli import main
from accorda.cli.terminal import road
from accorda.cli.terminal.road import asked, by_stage, judged, learned, recipes
from accorda.cli.terminal.scenes import Scenes
from accorda.errors import Refusal
from accorda.evaluation.preferences.facts import true_reward
from accorda.recipe.load import load

SHORT = [
    *("sft.training.max_steps=4", "sft.training.checkpoint_every=2", "sft.training.threads=1"),
    *("reward.training.max_steps=2", "reward.training.checkpoint_every=1", "reward.training.threads=1"),
    "reward.data.limit=40",
    *("rl.training.max_steps=4", "rl.training.checkpoint_every=2", "rl.training.threads=1"),
    *("rl.training.batch_size=2", "rl.rollout.max_new_tokens=6", "rl.data.limit=40"),
]


def test_the_road_leaves_three_proven_runs_and_says_who_wins(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(["demo", "--align", *SHORT, "--limit", "4"]) == 0
    told = capsys.readouterr().out
    for part in ("2/3 a reward model", "key/value cache", "PPO wins over SFT", "of 4 tickets", "ppo "):
        assert part in told
    for stage in ("sft", "reward", "rl"):
        result = json.loads((tmp_path / "runs/align" / stage / "result.json").read_text())
        assert result["status"] == "complete", result["proofs"]
    assert result["proofs"]["roles"] == result["proofs"]["start"] == "holds"
    assert result["parents"] == ["runs/align/sft"]


def test_the_judgement_of_known_answers(monkeypatch):
    """PPO states all six facts of the first two tickets and none of the third; SFT none of the first, all of others."""
    rows = asked(4)
    whole = [row["summary"] for row in rows]
    texts = {"sft": ["", *whole[1:3], ""], "ppo": [*whole[:2], "", ""]}
    monkeypatch.setattr(road, "answered", lambda run, rows: texts[run])
    scenes = Scenes()
    found = judged("sft", "ppo", 4, scenes)
    assert (found["won"], found["tied"], found["num_prompts"]) == (1, 2, 4)
    assert found["value"] == 0.5
    assert found["low"] < 0.5 < found["high"]
    assert found["facts"] == {"sft": 3.0, "ppo": 3.0}
    told = scenes.rest()
    assert "of 4 tickets: 1 won, 2 alike, which count half, 1 lost" in told
    texts["ppo"] = whole
    found = judged("sft", "ppo", 4, Scenes())
    assert (found["value"], found["won"], found["tied"], found["facts"]["ppo"]) == (0.75, 2, 2, 6.0)


def test_alarms_are_told_wherever_they_are_raised():
    well, ill = ({"sign": name, "verdict": verdict} for name, verdict in (("ends", "well"), ("length", "alarm")))
    held_out = {"sign": "held-out reward", "verdict": "alarm"}
    first = {"event": "evaluation", "reward": 0.0, "kl": 0.0}
    last = {"event": "evaluation", "reward": 1.0, "kl": 2.0, "health": [held_out]}
    told = learned("rl", [first, {"event": "step", "health": [well, ill]}, last])
    assert told.endswith("alarms: held-out reward, length")
    assert learned("rl", [first, {"event": "step", "health": [well]}, first]).endswith("alarms: none")


def test_changes_are_of_one_of_the_runs():
    assert by_stage(["rl.algorithm.kl_coef=0.1", "sft.training.seed=1"]) == {
        "sft": ["training.seed=1"],
        "reward": [],
        "rl": ["algorithm.kl_coef=0.1"],
    }
    for wrong in ("training.seed=1", "rl.training.seed", "ppo.training.seed=1"):
        with pytest.raises(Refusal, match=r"changes are written sft\.KEY=VALUE or reward\.KEY=VALUE"):
            by_stage([wrong])


def test_threads_of_several_messages_have_no_preferences(capsys):
    assert main.main(["demo", "--align", "--long"]) == 2
    assert "--long" in capsys.readouterr().err


def test_the_judge_has_the_true_summary_of_every_held_out_ticket(tmp_path):
    rows = asked(None)
    assert len(rows) == 100
    assert all(true_reward(row["summary"], row["summary"]) == 6 for row in rows)
    made = {stage: load(recipe) for stage, recipe in recipes(tmp_path / "align").items()}
    assert all(recipe.data.eval is None for recipe in made.values())  # nobody looks at those before
    assert made["rl"].reward == made["reward"].output
    assert made["rl"].model.path == made["sft"].output
