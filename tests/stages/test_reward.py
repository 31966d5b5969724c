"""Whole runs of stage reward: every method, rankings, and what it leaves."""

import json
from math import sqrt

import pytest
import torch
from tests.stages.compared import PAIRS, RANKED, THUMBS, settings

from accorda.data.example import Example
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.evaluation.preferences.score import reward_renderer, score
from accorda.methods.merging import merge
from accorda.methods.open import open_model
from accorda.methods.registry import methods
from accorda.models.heads import new_heads
from accorda.recipe.load import load
from accorda.runs import events
from accorda.runs.sections.onwards import commands
from accorda.runs.story import tell
from accorda.stages import plan, preflight, resume, train, verify
from accorda.stages.build import build


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def run_of(tmp_path, name="run", **more):
    return train(load(settings(tmp_path, name, stage="reward", **more)))


def told(run, event):
    return [found for found in events.read(run.folder.events) if found["event"] == event]


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_trains_a_head_with_it_and_proves_it(method, tmp_path):
    fields = {"dropout": 0.0} if method == "attention_fusion" else {}
    run = run_of(tmp_path, method={"name": method, **fields}, training={"max_steps": 2})
    assert run.proven, run.proofs
    held = ("mask", "coverage", "movement", "gradient", "packing", "resume", "save")
    assert {run.result["proofs"][name] for name in held} == {"holds"}
    assert run.result["proofs"]["start"] == "not applicable"


def test_what_writes_no_answers_is_not_offered_to_talk_to(tmp_path):
    run = run_of(tmp_path, training={"max_steps": 1})
    offered = [command.split()[1] for command, _ in commands(tell(run.folder.path))]
    assert offered == ["eval", "verify", "merge"]


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"])
def test_rankings_on_other_decoders(architecture, tmp_path):
    run = run_of(tmp_path, rows=RANKED, architecture=architecture, algorithm={"centring": 0.01})
    first, *_, last = told(run, "evaluation")
    assert run.proven, run.proofs
    assert last["eval_loss"] < first["eval_loss"]
    assert {"rewards/chosen", "rewards/rejected", "rewards/margin", "rewards/accuracy"} <= told(run, "step")[0].keys()


def test_it_learns_and_scores_the_same_once_loaded(tmp_path):
    run = run_of(tmp_path, training={"max_steps": 8})
    assert told(run, "evaluation")[-1]["preference_accuracy"] == 1.0
    assert {proof.name: proof.verdict for proof in verify(run.folder.path)} == run.result["proofs"]
    opened = open_model(run.folder.path)
    renderer = reward_renderer(opened)
    row = PAIRS[7]
    examples = [Example(prompt=row["prompt"], completion=row[side]) for side in ("chosen", "rejected")]
    found = score(opened.model, renderer, examples)
    assert found[0] > found[1]
    assert score(opened.model, renderer, examples[::-1]) == pytest.approx(found[::-1], abs=1e-5)
    for example, value in zip(examples, found, strict=True):
        rendered = Renderer(renderer.tokenizer).render(example)
        ids = torch.tensor([rendered.input_ids.tolist()])
        with torch.no_grad():
            assert float(opened.model(input_ids=ids).logits) == pytest.approx(value, abs=1e-5)
    merge(opened.model)
    assert score(opened.model, renderer, examples) == pytest.approx(found, abs=1e-4)
    sample = json.loads(run.folder.samples.read_text())["samples"][0]
    assert len(sample["tuned"]["text"].splitlines()) == 2


def test_a_head_starts_small_and_goes_on_where_it_was(tmp_path):
    session = build(load(settings(tmp_path, stage="reward")))
    (head,) = new_heads(session.model).values()
    width = head.weight.shape[1]
    assert float(head.weight.detach().std()) == pytest.approx(1 / sqrt(width + 1), rel=0.4)
    run = run_of(tmp_path, "first")
    second = build(load(settings(tmp_path, "second", stage="reward", model={"path": str(run.folder.path)})))
    (stored,) = new_heads(open_model(run.folder.path).model).values()
    (again,) = new_heads(second.model).values()
    assert torch.equal(again.weight, stored.weight)
    assert again.weight.requires_grad


def test_a_stopped_run_ends_in_the_same_bytes(tmp_path, monkeypatch):
    from accorda.errors import Stopped
    from accorda.training import run as running
    from accorda.training.guard import Interrupted

    longer = {"training": {"max_steps": 6, "checkpoint_every": 2}, "rows": RANKED}
    whole = run_of(tmp_path, "whole", **longer)
    session_step = running.Loop.step

    def stopping(self):
        if self.step_number == 4 and self.observers != ():
            raise Interrupted("a test")
        return session_step(self)

    monkeypatch.setattr(running.Loop, "step", stopping)
    with pytest.raises(Stopped):
        run_of(tmp_path, "stopped", **longer)
    monkeypatch.setattr(running.Loop, "step", session_step)
    run = resume(tmp_path / "stopped")
    name = "adapter_model.safetensors"
    assert (run.folder.adapter / name).read_bytes() == (whole.folder.adapter / name).read_bytes()


def test_a_plan_knows_what_the_run_bills(tmp_path):
    recipe = settings(tmp_path, stage="reward")
    planned, run = plan(recipe), train(load(recipe))
    assert planned.total == run.result["bill_bytes"]
    del recipe["data"]
    assert plan({**recipe, "output": str(tmp_path / "other")}).total > 0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"rows": THUMBS}, "preflight: the proof of mask fails: no answer is above another"),
        ({"architecture": "bert"}, "stage = reward: answers are compared in decoders only, and bert is none"),
        ({"algorithm": {"centring": -0.1}}, "algorithm.centring = -0.1"),
        ({"algorithm": {"beta": 0.1}}, "algorithm.beta"),
        ({"evaluation": {"generate": 2}}, "evaluation.generate = 2"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(changes, line, tmp_path):
    with pytest.raises(Refusal) as refusal:
        preflight.check(build(load(settings(tmp_path, stage="reward", **changes))))
    assert str(refusal.value).startswith(line)


def test_a_supervised_adapter_goes_on_under_a_new_head(tmp_path):
    from tests.stages.runs import settings as supervised

    first = train(load(supervised(tmp_path, "first")))
    session = build(load(settings(tmp_path, "second", stage="reward", model={"path": str(first.folder.path)})))
    (head,) = new_heads(session.model).values()
    assert float(head.weight.detach().std()) == pytest.approx(1 / sqrt(head.weight.shape[1] + 1), rel=0.4)
    run = run_of(tmp_path, "third", model={"path": str(first.folder.path)})
    assert run.proven, run.proofs
    assert run.result["parents"] == [str(first.folder.path)]


def test_what_shifts_every_reward_alike_may_rest_unless_rewards_are_drawn_to_zero(tmp_path):
    shifts = "model.norm.adapters.default.0_all.delta"
    run = run_of(tmp_path, method={"name": "bitfit"})
    movement = next(proof for proof in run.proofs if proof.name == "movement")
    assert shifts in movement.evidence["at_rest"] or shifts in movement.evidence["first_gradient"]
    assert run.proven
    drawn = run_of(tmp_path, "drawn", method={"name": "bitfit"}, algorithm={"centring": 0.1})
    movement = next(proof for proof in drawn.proofs if proof.name == "movement")
    assert shifts in movement.evidence["first_gradient"]


def test_a_method_that_measures_a_loss_first_is_refused_since_answers_alone_have_none(tmp_path):
    method = {"name": "rows", "choose": "fisher", "num_rows": 4}
    with pytest.raises(Refusal, match="these rows have no labels"):
        train(load(settings(tmp_path, method=method) | {"stage": "reward"}))
    assert not (tmp_path / "run").exists()
