"""A profiled run of every stage: the result it would have had, its time told, in the result and on the page."""

from time import sleep

import pytest
import torch
from safetensors.torch import load_file
from tests.stages import classified, compared, runs, sampled

import accorda
from accorda.errors import Refusal
from accorda.rl.phases import Phases
from accorda.stages.train import train
from accorda.training.profile import limit

STAGES = {
    "sft": runs.settings,
    "pretrain": runs.settings,
    "classify": classified.settings,
    "preference": compared.settings,
    "reward": compared.settings,
}
TEXTS = [{"text": f"{row['prompt']}{row['completion']}"} for row in runs.SUMS]
METHODS = {"pretrain": {"method": {"name": "full"}}}


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(limit, "SIZES", {"cpu": (64,)})


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_tells_where_its_time_went(stage: str, tmp_path) -> None:
    if stage == "pretrain":
        runs.write_rows(tmp_path / "rows.jsonl", TEXTS)
    more = {"data": {"max_length": 32}} if stage == "pretrain" else {}
    recipe = STAGES[stage](tmp_path, stage=stage, **METHODS.get(stage, {}), **more)
    run = train(recipe, profile=True)
    assert run.proven
    found = run.result["profile"]
    times = found["seconds"]
    for part in ("products", "attention", "loss", "optimizer", "data", "proofs", "evaluation", "files", "start"):
        assert times[part] > 0, part
    assert found["recorded_steps"] == [3]
    assert found["flops_per_second"] > 0
    assert found["flops_per_second"] == pytest.approx(found["share_of_peak"] * found["peak_flops_per_second"])
    page = run.folder.report.read_text(encoding="utf-8")
    assert "Where the time went" in page
    assert "FLOP/s over whole steps" in page


def test_stage_rl_tells_sampling_rewards_and_scores_apart(tmp_path, monkeypatch) -> None:
    """Each of them is slowed down in a run of its own; nothing of it counts as data."""
    slow, names = 0.3, {"answered": "sampling", "judged": "rewards", "scored": "scores"}
    for method, part in names.items():
        with monkeypatch.context() as patch:
            patch.setattr(Phases, method, delayed(getattr(Phases, method), slow))
            run = train(sampled.settings(tmp_path, part, training={"max_steps": 4}), profile=True)
        assert run.proven
        times = run.result["profile"]["seconds"]
        assert times[part] > 4 * slow
        assert all(times[other] < 4 * slow for other in {"data", *names.values()} - {part}), times
    page = run.folder.report.read_text(encoding="utf-8")
    assert "judging them" in page


def delayed(function, seconds):
    def after(*args, **named):
        sleep(seconds)
        return function(*args, **named)

    return after


def test_what_is_trained_is_the_same(tmp_path) -> None:
    sums = []
    for name, profile in (("plain", False), ("watched", True)):
        run = train(runs.settings(tmp_path, name), profile=profile)
        sums.append(load_file(run.folder.adapter / "adapter_model.safetensors"))
        assert ("profile" in run.result) == profile
        assert ("Where the time went" in run.folder.report.read_text(encoding="utf-8")) == profile
    assert sums[0].keys() == sums[1].keys()
    assert all(torch.equal(tensor, sums[1][name]) for name, tensor in sums[0].items())


def test_a_dry_run_has_no_profile(tmp_path) -> None:
    with pytest.raises(Refusal, match="a dry run makes no step"):
        accorda.train(runs.settings(tmp_path), dry_run=True, profile=True)
