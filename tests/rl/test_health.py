"""Verdicts on a run while it goes on: every sign can alarm, and hacking is told from learning."""

import pytest

from accorda.rl.contract import Memory
from accorda.rl.health import SIGNS, hacked, held_out, verdicts

WELL = {
    "kl/seq": 1.0,
    "policy/ratio_max": 1.1,
    "policy/clipfrac": 0.05,
    "policy/entropy": 1.0,
    "len/of_first": 1.0,
    "len/eos_rate": 0.9,
    "reward/equal_groups": 0.1,
    "reward/failed_share": 0.0,
    "rollout_vs_train/abs_logp_diff": 1e-6,
    "rollout/staleness": 3,
}
ILL = {
    "distance": {"kl/seq": 40.0},
    "distance below zero": {"kl/seq": -2.0},
    "ratio": {"policy/ratio_max": 11.0},
    "clipped": {"policy/clipfrac": 0.5},
    "entropy": {"policy/entropy": 0.001},
    "length": {"len/of_first": 4.0},
    "ends": {"len/eos_rate": 0.0},
    "spread in groups": {"reward/equal_groups": 1.0},
    "failed rewards": {"reward/failed_share": 0.5},
    "rollout against training": {"rollout_vs_train/abs_logp_diff": 0.5},
    "staleness": {"rollout/staleness": 64},
}


def test_a_run_that_is_well_has_no_alarm():
    found = verdicts(WELL)
    assert len(found) == len(SIGNS)
    assert {told["verdict"] for told in found} == {"well"}
    assert not any("says" in told for told in found)


@pytest.mark.parametrize("sign", [sign.name for sign in SIGNS])
def test_every_sign_alarms_alone_with_a_sentence(sign):
    alarms = [told for told in verdicts(WELL | ILL[sign]) if told["verdict"] == "alarm"]
    assert [told["sign"] for told in alarms] == [sign]
    assert len(alarms[0]["says"]) > 20
    assert alarms[0]["bound"] is not None


def test_an_answer_that_shrinks_alarms_too():
    (alarm,) = [told for told in verdicts({"len/of_first": 0.1}) if told["verdict"] == "alarm"]
    assert alarm["bound"] == 0.25


def step(reward, watched):
    return {"reward/score": reward, "reward/std": 1.0, "watched/true": watched, "watched/true/std": 1.0}


@pytest.mark.parametrize(("towards", "verdict"), [(-2.0, "alarm"), (2.0, "well")])
def test_hacking_is_a_reward_that_rises_while_what_is_watched_falls(towards, verdict):
    memory = Memory()
    for phase in range(20):
        (told,) = hacked(step(phase / 10, towards * phase / 20), memory)
    assert told["verdict"] == verdict


def test_held_out_rewards_that_fall_while_the_learned_ones_rise_are_told():
    memory = Memory()
    assert held_out({"reward": 1.0}, memory) == []
    hacked(step(0.0, 0.0), memory)
    assert held_out({"reward": 0.8}, memory)[0]["verdict"] == "well"
    for _ in range(20):
        hacked(step(2.0, 0.0), memory)
    (told,) = held_out({"reward": 0.5}, memory)
    assert told["verdict"] == "alarm"
    assert "held-out answers has fallen by 0.5" in told["says"]  # from what it was before the first step
