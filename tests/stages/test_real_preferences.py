"""Reward model and DPO on a slice of real pairs and a real decoder. Skipped where the folder with both is absent."""

from statistics import mean

import pytest

from accorda.evaluation.preferences.judge import judged, rows_of, segments_of
from accorda.runs import events
from accorda.stages import reopen, train
from benchmarks import _carried

FILE = "preferences_ultrafeedback_demo/dpo_en_demo.json"
NEVER = 1000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("stage", "rate"), [("reward", 0.003), ("preference", 0.003)])
def test_real_pairs_are_learned_and_no_more_is_claimed_than_they_carry(stage, rate, tmp_path, shared, stories):
    run = train(
        stage=stage,
        model=str(stories),
        data={"train": str(shared / "data" / FILE), "eval_split": 0.3, "max_length": 512, "overlong": "skip"},
        method={"name": "lora"},
        training={"threads": 1, "batch_size": 4, "max_steps": 24, "learning_rate": rate},
        evaluation={"every": NEVER, "samples": 0},
        output=str(tmp_path / "run"),
    )
    assert run.proven, run.proofs
    session = reopen(run.folder)
    pairs = segments_of(session.train)
    learned = rows_of(pairs, judged(session.model, session.objective, pairs))
    assert sum(row.margin for row in learned) / len(pairs) > 0.1
    assert sum(row.num_right for row in learned) / len(pairs) > 0.7
    margins = [event["rewards/margin"] for event in events.read(run.folder.events) if event["event"] == "step"]
    assert mean(margins[-6:]) > max(0.0, mean(margins[:6]))
    assert not set(session.train.prompts) & set(session.eval.prompts)
    assert session.eval.report.known_prompts == 0
    value, (low, high) = run.result["preference_accuracy"], run.result["intervals"]["preference_accuracy"]
    assert low <= value <= high
    assert high - low > 0.2  # so few pairs tell no more
    assert low <= _carried.ceiling(_carried.ASSISTANTS)
