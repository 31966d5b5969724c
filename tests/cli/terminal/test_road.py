"""`accorda demo --align`, shortened: all three runs, the judgement, what is refused."""

import json

import pytest

from accorda.cli import main
from accorda.cli.terminal.road import asked, by_stage, recipes
from accorda.errors import Refusal
from accorda.evaluation.preferences.facts import true_reward
from accorda.recipe.load import load

SHORT = [
    *("sft.training.max_steps=4", "sft.training.checkpoint_every=2", "sft.training.threads=1"),
    *("reward.training.max_steps=2", "reward.training.checkpoint_every=1", "reward.training.threads=1"),
    *("reward.data.limit=40", "reward.data.eval_limit=10"),
    *("rl.training.max_steps=4", "rl.training.checkpoint_every=2", "rl.training.threads=1"),
    *("rl.training.batch_size=2", "rl.rollout.max_new_tokens=6", "rl.data.eval_limit=4"),
]


def test_the_road_leaves_three_proven_runs_and_says_who_wins(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(["demo", "--align", *SHORT, "--limit", "4"]) == 0
    told = capsys.readouterr().out
    for part in ("Demonstrations", "A reward model", "key/value cache", "PPO wins over SFT", "of 4 tickets", "ppo "):
        assert part in told
    for stage in ("sft", "reward", "rl"):
        result = json.loads((tmp_path / "runs/align" / stage / "result.json").read_text())
        assert result["status"] == "complete", result["proofs"]
    assert result["proofs"]["roles"] == result["proofs"]["start"] == "holds"
    assert result["parents"] == ["runs/align/sft"]


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
    assert made["rl"].reward == made["reward"].output
    assert made["rl"].model.path == made["sft"].output
