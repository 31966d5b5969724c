"""Whole runs of stage rl: every algorithm, from a base and from an adapter, stopped and resumed, refused."""

import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.stages.compared import settings as compared_settings
from tests.stages.runs import write_rows
from tests.stages.sampled import ASKED, settings
from tests.zoo import tiny_model_folder

from accorda.cli.main import main
from accorda.cli.terminal.summary import arithmetic
from accorda.data.example import Example
from accorda.data.prompts.experience import Sample
from accorda.errors import Refusal, Stopped
from accorda.evaluation.preferences.score import reward_renderer, score
from accorda.methods.install import installed, own_tensors
from accorda.methods.open import load_model, open_model
from accorda.methods.routing import acting
from accorda.recipe.load import load
from accorda.rl.grpo import GRPO
from accorda.rl.health import SIGNS
from accorda.rl.registry import algorithms
from accorda.rl.reward import Said
from accorda.runs import events
from accorda.runs.sections.health import CHARTS
from accorda.runs.sections.onwards import commands
from accorda.runs.story import tell
from accorda.stages import plan, preflight, reopen, resume, train, verify
from accorda.stages import resume as resume_now
from accorda.stages.build import build
from accorda.stages.contract import find_stage
from accorda.stages.outcome import identity
from accorda.stages.pricing import at_once
from accorda.training import policy
from accorda.training.loop import Loop
from accorda.training.policy import Policy
from accorda.training.preferring import REFERENCE


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def run_of(tmp_path, name="run", **more):
    return train(load(settings(tmp_path, name, **more)))


def told(run, event):
    return [found for found in events.read(run.folder.events) if found["event"] == event]


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_every_algorithm_learns_and_proves_itself(name, tmp_path):
    run = run_of(tmp_path, algorithm={"name": name})
    assert run.proven, run.proofs
    assert {run.result["proofs"][n] for n in ("mask", "movement", "packing", "resume", "save", "gradient")} == {"holds"}
    steps, evaluations = told(run, "step"), told(run, "evaluation")
    assert all("reward/score" in step for step in steps if step.get("len/mean"))
    assert {"reward", "length", "ended", "kl"} <= evaluations[0].keys()
    assert evaluations[0]["kl"] == 0 != evaluations[-1]["kl"]  # also where the algorithm asks no reference
    assert all("held-out distance" in {sign["sign"] for sign in each["health"]} for each in evaluations)
    assert steps[0]["rollout/seconds"] > 0
    again = {proof.name: proof.verdict for proof in verify(run.folder.path)}
    assert again == run.result["proofs"]


MANY = {"num_epochs": 2, "num_minibatches": 3}
TOKENS, ANSWERS = "every token of an update weighs the same", "every answer weighs the same, as one action"


@pytest.mark.parametrize(
    ("algorithm", "updates", "each", "placement", "aggregation"),
    [
        ({"name": "rloo"}, 1, 16, "in the reward of the whole answer (k1 summed over it)", ANSWERS),
        ({"name": "rloo", "kl_coef": 0.0, **MANY}, 6, 6, "not at all", ANSWERS),
        ({"name": "ppo"}, 4, 16, "in the reward of every token (k1)", TOKENS),
        ({"name": "reinforce", **MANY}, 6, 6, "in the reward of every token (k1)", TOKENS),
        ({"name": "grpo"}, 1, 16, "not at all", TOKENS),
        ({"name": "grpo", "kl_coef": 0.1}, 1, 16, "in the loss (k3 of every token)", TOKENS),
        (
            {"name": "grpo", "kl_coef": 0.1, "kl_estimator": "k2_sequence", "aggregation": "dr_grpo"},
            1,
            16,
            "in the loss (k2 of the whole answer)",
            "every token weighs 1 / (answers of an update x rollout.max_new_tokens)",
        ),
        (
            {"name": "online_dpo"},
            1,
            8,
            "in the loss (beta, as DPO's)",
            "every pair of answers weighs the same, each answer as one action",
        ),
        (
            {"name": "rejection_sampling", "keep": 2},
            1,
            8,
            "not at all",
            "every token of the answers that are kept weighs the same",
        ),
    ],
    ids=str,
)
def test_a_run_tells_what_a_phase_comes_to(algorithm, updates, each, placement, aggregation, tmp_path, capsys):
    recipe = settings(tmp_path, algorithm=algorithm)
    found = train(recipe, dry_run=True).result["arithmetic"]
    assert found == {
        "prompts_per_phase": 4,
        "answers_per_prompt": 4,
        "answers_per_phase": 16,
        "updates_per_phase": updates,
        "answers_per_update": each,
        "kl_placement": placement,
        "loss_aggregation": aggregation,
    }
    session = build(load(recipe))
    learned = [session.loop.step() and session.loop.carried.part(0, update) for update in range(updates)]
    assert max(sum(len(getattr(row, "answers", [row])) for row in rows) for rows in learned) == each
    assert session.loop.carried.current == 0
    shown = arithmetic({"arithmetic": found})
    assert ("a phase", "4 prompts x 4 answers = 16 answers") in shown
    assert ("distance from the reference", placement) in shown


def test_what_a_phase_comes_to_is_printed_and_kept(tmp_path, capsys):
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(settings(tmp_path, training={"batch_size": 100, "max_steps": 1})))
    dry = main(["train", str(file), "--dry-run"]), capsys.readouterr().out
    whole = main(["train", str(file)]), capsys.readouterr().out
    number = len(ASKED) - told_rows(tmp_path / "run")
    for code, text in (dry, whole):
        assert code == 0
        assert f"a phase                      {number} prompts x 4 answers = {4 * number} answers" in text
        assert "distance from the reference  in the reward of the whole answer" in text
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["arithmetic"]["answers_per_phase"] == 4 * number


def told_rows(folder):
    return json.loads((folder / "data.json").read_text())["eval"]["rows"]["kept"]


NAMES = {
    "reward/score",
    "reward/total",
    "kl/seq",
    "kl/k3",
    "kl_coef",
    "policy/approxkl",
    "policy/clipfrac",
    "policy/ratio_max",
    "policy/entropy",
    "value/explained_var",
    "value/loss",
    "len/mean",
    "len/eos_rate",
    "rollout_vs_train/abs_logp_diff",
}


def test_figures_have_the_names_that_the_field_gives_them(tmp_path):
    """So that a board that knows other libraries' runs finds them; what signs and charts look at is among them."""
    told = build(load(settings(tmp_path, algorithm={"name": "ppo"}))).loop.step()
    assert told.keys() >= NAMES
    assert told["policy/approxkl"] >= 0 < told["len/mean"]
    assert told["reward/total"] == pytest.approx(told["reward/score"] - told["kl_coef"] * told["kl/seq"], abs=1e-6)
    assert told["value/loss"] > 0
    assert {sign.figure for sign in SIGNS} <= told.keys()
    drawn = {key for *_, keys in CHARTS for key in keys}
    assert drawn - told.keys() == {"reward/kept"}  # of rejection sampling


@pytest.mark.parametrize("architecture", ["gpt2", "falcon_new"])
def test_other_decoders(architecture, tmp_path):
    run = run_of(tmp_path, architecture=architecture)
    assert run.proven, run.proofs


def test_the_reward_goes_up(tmp_path):
    """On the mean of four seeds: one run ends between nothing and 1.2 above its start, as rounding decides."""
    risen = []
    for seed in range(4):
        more = {"max_steps": 25, "batch_size": 8, "learning_rate": 0.03, "checkpoint_every": 25, "seed": seed}
        run = run_of(tmp_path, f"run{seed}", training=more, rollout={"num_generations": 8}, evaluation={"every": 25})
        steps = told(run, "step")
        first, last = (sum(step["reward/score"] for step in part) / 5 for part in (steps[:5], steps[-5:]))
        risen.append(last - first)
    assert sum(risen) / 4 > 0.15
    assert steps[0]["policy/ratio_max"] == pytest.approx(1, abs=1e-5)
    assert steps[0]["kl/seq"] == 0 < steps[-1]["kl/seq"]
    assert max(step["rollout_vs_train/abs_logp_diff_max"] for step in steps) < 1e-4


def test_one_update_without_a_distance_scores_its_answers_as_it_learns(tmp_path, monkeypatch):
    """The same run, bit for bit, as when they are scored before; and a pass less."""
    passes, scored = [], Policy.scored

    def counted(self, model, batch, **how):
        passes.append(batch)
        return scored(self, model, batch, **how)

    monkeypatch.setattr(Policy, "scored", counted)
    for micro in (4, 8):
        of_step = {"algorithm": {"name": "grpo", "kl_coef": 0.0}, "training": {"micro_batch_size": micro}}
        short = run_of(tmp_path, f"short{micro}", **of_step)
        in_proofs = len(passes)
        with monkeypatch.context() as patch:
            patch.setattr(GRPO, "needs_scores", True)
            long = run_of(tmp_path, f"long{micro}", **of_step)
        assert len(passes) - in_proofs >= in_proofs + 4  # the proofs' own, and one of each step
        passes.clear()
        one, other = (own_tensors(load_model(run.folder.path), "default") for run in (short, long))
        assert all(torch.equal(one[name], other[name]) for name in one)
        for mine, theirs in zip(told(short, "step"), told(long, "step"), strict=True):
            for name in ("loss", "reward/score", "policy/approxkl", "policy/entropy", "policy/ratio_max"):
                assert mine[name] == pytest.approx(theirs[name], abs=1e-6)
            for name in ("rollout_vs_train/abs_logp_diff", "rollout_vs_train/abs_logp_diff_max"):
                assert 0 < mine[name] < 1e-5
                assert mine[name] == pytest.approx(theirs[name], rel=0.01)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_pass_that_scores_is_the_one_that_is_learned_from(precision, checkpointing, tmp_path, monkeypatch):
    """The same run, bit for bit, as with a pass of its own; where a step takes several passes nothing is kept."""
    of_step = {"training": {"precision": precision, "gradient_checkpointing": checkpointing}}
    passes, kept = [], []
    scored, backbone = Policy.scored, policy.predicting

    def without(self, model, batch, *, keep=False):
        kept.append(keep)
        return scored(self, model, batch)

    monkeypatch.setattr(policy, "predicting", lambda *given: passes.append(1) or backbone(*given))
    one = run_of(tmp_path, "one", **of_step)
    number = len(passes)
    with monkeypatch.context() as patch:
        patch.setattr(Policy, "scored", without)
        other = run_of(tmp_path, "other", **of_step)
    assert len(passes) - number == number + kept.count(True)
    assert kept.count(True) >= 4  # the steps
    mine, theirs = (own_tensors(load_model(run.folder.path), "default") for run in (one, other))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    for left, right in zip(told(one, "step"), told(other, "step"), strict=True):
        assert {k: v for k, v in left.items() if "second" not in k and k != "memory"} == {
            k: v for k, v in right.items() if "second" not in k and k != "memory"
        }
    kept.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Policy, "scored", without)
        run_of(tmp_path, "several", data={"max_length": 32}, training={"micro_batch_size": 2, "max_steps": 1})
        run_of(tmp_path, "twice", algorithm={"name": "rloo", "num_epochs": 2}, training={"max_steps": 2})
    assert not any(kept)


@pytest.mark.parametrize(
    ("algorithm", "needs"),
    [
        ({"name": "grpo"}, False),
        ({"name": "grpo", "num_epochs": 2}, True),
        ({"name": "grpo", "num_minibatches": 2}, True),
        ({"name": "grpo", "kl_coef": 0.1}, True),
        ({"name": "rloo"}, True),
        ({"name": "rloo", "kl_coef": 0.0}, False),
        ({"name": "reinforce", "kl_coef": 0.0}, False),
        ({"name": "ppo", "kl_coef": 0.0, "num_epochs": 1}, True),
    ],
    ids=str,
)
def test_what_needs_scores_before_it_learns(algorithm, needs, tmp_path):
    session = build(load(settings(tmp_path, algorithm=algorithm)))
    assert session.loop.carried.needs_scores == needs
    session.loop.step()


def test_an_adapter_goes_on_from_itself_and_is_its_own_reference(tmp_path):
    first = run_of(tmp_path, "first")
    second = run_of(tmp_path, "second", model={"path": str(first.folder.path)})
    assert second.proven, second.proofs
    assert second.result["proofs"]["start"] == second.result["proofs"]["merge"] == "holds"
    assert second.result["parents"] == [str(first.folder.path)]
    session = reopen(second.folder)
    assert installed(session.model).keys() == {"default", REFERENCE}
    assert acting(session.model) == ["default"]
    kept, opened = own_tensors(session.model, REFERENCE), own_tensors(load_model(first.folder.path), "default")
    assert all(torch.equal(kept[name], opened[name]) for name in opened)


def interrupted(tmp_path, monkeypatch, *, after=4, **more):
    """A run that is told to stop after so many steps, and what `resume` made of it."""
    step = Loop.step

    def stopping(self):
        if self.step_number == after and self.observers != ():
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    monkeypatch.setattr(Loop, "step", stopping)
    with pytest.raises(Stopped):
        run_of(tmp_path, "stopped", **more)
    monkeypatch.setattr(Loop, "step", step)
    return resume(tmp_path / "stopped")


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_a_stopped_run_ends_in_the_same_bytes(name, tmp_path, monkeypatch):
    more = {"training": {"max_steps": 7, "checkpoint_every": 3}, "algorithm": {"name": name}}
    whole, run = run_of(tmp_path, "whole", **more), interrupted(tmp_path, monkeypatch, **more)
    assert run.proven, run.proofs
    file = "adapter_model.safetensors"
    assert (run.folder.adapter / file).read_bytes() == (whole.folder.adapter / file).read_bytes()
    assert [step["loss"] for step in told(run, "step")] == [step["loss"] for step in told(whole, "step")]


def test_a_run_stopped_within_a_phase_knows_whose_answers_it_learns(tmp_path, monkeypatch):
    ppo = {"name": "ppo", "num_epochs": 2, "num_minibatches": 2}
    more = {"training": {"max_steps": 7, "checkpoint_every": 7}, "algorithm": ppo}
    whole, run = run_of(tmp_path, "whole", **more), interrupted(tmp_path, monkeypatch, after=6, **more)
    for name in ("rollout/version", "rollout/staleness", "loss"):
        assert [step[name] for step in told(run, "step")] == [step[name] for step in told(whole, "step")]
    steps = told(run, "step")
    assert [step["rollout/version"] for step in steps] == [0, 0, 0, 0, 4, 4, 4]
    assert [step["rollout/staleness"] for step in steps] == [0, 1, 2, 3, 0, 1, 2]


@pytest.mark.parametrize("num_epochs", [1, 2])
def test_a_phase_that_no_step_learned_from_is_made_again_from_what_was_remembered_before(
    num_epochs, tmp_path, monkeypatch
):
    """The price of the KL moves once per phase, also where the step behind it came to nothing."""
    ppo = {"name": "ppo", "kl_target": 0.5, "kl_horizon": 20, "num_epochs": num_epochs}
    recipe = load(settings(tmp_path, algorithm=ppo))
    whole, stopped, resumed = (build(recipe).loop for _ in range(3))
    steps = [whole.step() for _ in range(3 * num_epochs)]
    for _ in range(num_epochs):
        stopped.step()

    def cut(self, model, batch):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Policy, "__call__", cut)
        with pytest.raises(KeyboardInterrupt):
            stopped.step()
    resumed.load_state(stopped.state())
    again = [resumed.step() for _ in range(2 * num_epochs)]
    for name in ("loss", "kl_coef"):
        assert [step.get(name) for step in again] == [step.get(name) for step in steps[num_epochs:]]
    assert len({step["kl_coef"] for step in steps if "kl_coef" in step}) == 3


def test_what_ppo_remembers_is_resumed(tmp_path, monkeypatch):
    """The price of the KL under its target, and the scale of the first phase's rewards."""
    ppo = {"name": "ppo", "kl_target": 0.5, "kl_horizon": 20, "normalise_rewards": True, "num_epochs": 1}
    more = {"training": {"max_steps": 7, "checkpoint_every": 3}, "algorithm": ppo}
    whole, run = run_of(tmp_path, "whole", **more), interrupted(tmp_path, monkeypatch, **more)
    prices = [step["kl_coef"] for step in told(whole, "step")]
    assert len(set(prices)) > 3
    assert [step["kl_coef"] for step in told(run, "step")] == prices
    file = "adapter_model.safetensors"
    assert (run.folder.adapter / file).read_bytes() == (whole.folder.adapter / file).read_bytes()


def test_a_stopped_run_does_not_go_on_with_another_reward_or_other_rows_beside(tmp_path, monkeypatch):
    rows = write_rows(tmp_path / "texts.jsonl", [{"prompt": "a ", "completion": f"row {n}"} for n in range(20)])
    more = {"training": {"max_steps": 7, "checkpoint_every": 3}, "algorithm": {"name": "ppo", "ptx_data": str(rows)}}
    monkeypatch.setattr("tests.stages.test_rl.resume", lambda folder: None)
    interrupted(tmp_path, monkeypatch, **more)
    rewards = tmp_path / "rewards.py"
    before = rewards.read_text()
    rewards.write_text(before.replace("/ 4", "/ 5"))
    with pytest.raises(Refusal, match="its reward changed since the checkpoint was written"):
        resume_now(tmp_path / "stopped")
    rewards.write_text(before)
    texts = rows.read_text()
    rows.write_text(texts.replace("row 3", "row three"))
    with pytest.raises(Refusal, match=r"its algorithm\.ptx_data changed"):
        resume_now(tmp_path / "stopped")
    rows.write_text(texts)
    assert resume_now(tmp_path / "stopped").proven


def test_held_out_answers_that_nobody_can_judge_end_nothing(tmp_path, caplog):
    asked = write_rows(tmp_path / "asked.jsonl", [row | {"answer": "none"} for row in ASKED[:4]])
    (tmp_path / "picky.py").write_text(
        "def picky(completion, answer):\n    assert answer != 'none'\n    return len(completion) / 10\n"
    )
    run = run_of(tmp_path, reward=f"{tmp_path / 'picky.py'}:picky", data={"eval": str(asked)})
    assert run.proven, run.proofs
    assert [found["reward"] for found in told(run, "evaluation")] == [None] * 3
    assert any("nothing had a reward" in record.getMessage() for record in caplog.records)
    assert main(["eval", str(run.folder.path)]) == 0


def test_a_reward_that_fails_is_named_and_left_out(tmp_path, caplog):
    run = run_of(tmp_path, reward=f"{tmp_path / 'rewards.py'}:moody", training={"max_steps": 6})
    assert run.proven, run.proofs
    assert sum(step["reward/failed"] for step in told(run, "step")) > 0
    named = [record.getMessage() for record in caplog.records if "no threes" in record.getMessage()]
    assert any("run.jsonl:" in line and "'3 plus" in line and "ValueError" in line for line in named)
    assert any("no finite number" in record.getMessage() for record in caplog.records)


BAD_REWARDS = """
from __future__ import annotations
import sys
from dataclasses import dataclass
import helper_of_rewards

@dataclass
class Count:
    number: float = 0.0

def counts(completion):
    return Count(helper_of_rewards.length(completion)).number

def asks(completion, gold):
    return 1.0

def fails(completion, **columns):
    return columns["gold"]

def leaves(completion):
    sys.exit(3)

def of_lists(prompts, completions, **columns):
    return [1.0 for completion in completions]

def by_place(completion, /):
    return 1.0

def words(completion):
    return "good"
"""


FAILING = 1 + BAD_REWARDS.splitlines().index('    return columns["gold"]')


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("asks", "the function asks for `gold`, and the row at {rows}:1 has answer; give the rows that column, or"),
        (
            "fails",
            "none of the first 16 answers could be judged, so nothing can be learned; the first: KeyError: 'gold'",
        ),
        (
            "of_lists",
            "the function asks for `prompts`, and the row at {rows}:1 has answer; it is asked about one answer",
        ),
        ("leaves", "none of the first 16 answers could be judged, so nothing can be learned; the first: SystemExit: 3"),
        ("by_place", "by_place must take `completion`"),
        ("words", "the first: gave good, which is no number"),
        ("fails", f"the first: KeyError: 'gold' (bad.py:{FAILING})"),
    ],
)
def test_a_function_that_can_judge_nothing_is_refused_before_the_first_step(name, line, tmp_path, caplog):
    (tmp_path / "bad.py").write_text(BAD_REWARDS)
    (tmp_path / "helper_of_rewards.py").write_text("def length(text):\n    return len(text) / 10\n")
    recipe = settings(tmp_path, reward=f"{tmp_path / 'bad.py'}:{name}")
    with pytest.raises(Refusal) as refusal:
        train(load(recipe))
    assert line.format(rows=tmp_path / "run.jsonl") in str(refusal.value)
    said = [record.getMessage() for record in caplog.records if "bad.py" in record.getMessage()]
    assert len(said) <= 12  # five and a sum of held-out answers, and of the phase
    assert not said or said[-1].endswith("12 more of these 16 answers could not be judged")
    assert not (tmp_path / "run").exists()  # nothing is in the way of the next try


def test_a_reward_that_is_always_the_same_is_told(tmp_path, caplog):
    (tmp_path / "same.py").write_text("def same(completion):\n    return 0\n")
    build(load(settings(tmp_path, reward=f"{tmp_path / 'same.py'}:same"))).loop.step()
    assert "all answers of the first phase got 0, so there is nothing to learn from them" in caplog.text


@pytest.mark.parametrize("method", ["full", "layernorm", "top_layers"])
def test_a_value_model_has_no_base_weights_of_its_own(method, tmp_path):
    recipe = settings(tmp_path, method={"name": method}, algorithm={"name": "ppo", "value": "adapter"})
    with pytest.raises(Refusal, match=f"algorithm.value = adapter: {method} trains the base's own weights"):
        train(load(recipe))
    assert not (tmp_path / "run").exists()


def test_more_minibatches_than_the_few_prompts_have_answers_are_refused(tmp_path):
    algorithm = {"name": "rloo", "num_minibatches": 10}
    recipe = settings(tmp_path, rows=ASKED[:2], data={"eval_split": 0.0}, algorithm=algorithm)
    with pytest.raises(
        Refusal, match=r"a phase has 8 answers \(the data has 2 prompts, rollout.num_generations = 4 each\)"
    ):
        train(load(recipe))


def test_the_pass_that_scored_is_not_kept_where_the_method_has_a_loss_of_its_own(tmp_path, monkeypatch):
    kept = []
    real = Policy.scored
    monkeypatch.setattr(Policy, "scored", lambda *args, keep=False: (kept.append(keep), real(*args, keep=keep))[1])
    for method in ("lora", "adalora"):
        session = build(load(settings(tmp_path, method, method={"name": method}, training={"micro_batch_size": 64})))
        session.loop.step()
    assert kept == [True, False]


def test_a_file_of_rewards_is_run_as_python_runs_one(tmp_path):
    """Postponed annotations of a dataclass look their module up; a file beside it is imported."""
    (tmp_path / "good.py").write_text(BAD_REWARDS)
    (tmp_path / "helper_of_rewards.py").write_text("def length(text):\n    return len(text) / 10\n")
    assert run_of(tmp_path, reward=f"{tmp_path / 'good.py'}:counts", training={"max_steps": 1}).proven


def test_columns_reach_the_function_and_several_are_weighed(tmp_path):
    at = f"{tmp_path / 'rewards.py'}"
    rewards = [f"{at}:known", {"source": f"{at}:vowels", "weight": 0.5}]
    run = run_of(tmp_path, reward=rewards)
    assert run.proven, run.proofs
    alone = run_of(tmp_path, "alone", reward=f"{at}:vowels")
    halved = run_of(tmp_path, "halved", reward=[{"source": f"{at}:vowels", "weight": 0.5}])
    one, other = told(alone, "step")[0], told(halved, "step")[0]
    assert other["reward/score"] == pytest.approx(one["reward/score"] / 2)


def test_conversations_are_asked_through_the_template(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "yes"}]} for n in range(20)
    ]
    run = run_of(tmp_path, rows=rows)
    assert run.proven, run.proofs
    assert told(run, "evaluation")[0]["samples"][0]["reference"] == "yes"


def test_a_run_goes_on_with_another_server_and_with_no_other_answers(tmp_path):
    """The server may have moved, where it has other names; what is sampled may not have changed."""
    first = {"backend": "http", "url": "http://localhost:1", "max_new_tokens": 6}
    begun = identity(build(load(settings(tmp_path, rollout=first))))
    moved = {"url": "http://localhost:2", "model": "/srv/base", "folder": str(tmp_path), "timeout": 60.0}
    assert identity(build(load(settings(tmp_path, rollout=first | moved)))) == begun
    assert identity(build(load(settings(tmp_path, rollout=first | {"max_new_tokens": 5})))) != begun


def test_what_a_server_samples_is_not_in_the_bill(tmp_path):
    """Four prompts of four answers a step; where a server gives them, only those of two that proofs look at."""
    elsewhere = settings(tmp_path, rollout={"backend": "http", "url": "http://localhost:1"})
    assert [at_once(find_stage("rl").settle(load(made), None)) for made in (settings(tmp_path), elsewhere)] == [16, 8]


def test_a_plan_needs_no_rows_and_no_reward_file(tmp_path):
    recipe = settings(tmp_path)
    planned, run = plan(recipe), train(load(recipe))
    assert planned.total == run.result["bill_bytes"]
    del recipe["data"]
    assert plan({**recipe, "output": str(tmp_path / "other")}).total > 0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"algorithm": {"name": "rlo"}}, "algorithm.name = rlo (python): no such algorithm of rl; did you mean rloo?"),
        ({"algorithm": {"name": "rloo", "beta": 1}}, "algorithm.beta = 1"),
        ({"rollout": {"num_generations": 1}}, "rollout.num_generations = 1 (python): rloo compares the answers"),
        ({"rollout": {"top_p": 0.9}}, "rollout.top_p = 0.9 (python): no such setting"),
        ({"rollout": {"temperature": 0.0}}, "rollout.temperature = 0.0"),
        (
            {"rollout": {"missing_end_penalty": 1.0}},
            "rollout.missing_end_penalty = 1.0 (python): no such setting; did you mean rollout.missing_eos_penalty?",
        ),
        (
            {"rollout": {"max_new_tokens": 4096}, "data": {"max_length": 64}},
            "rollout.max_new_tokens = 4096 (python): of",
        ),
        ({"reward": None}, "reward: missing; name a function"),
        ({"reward": "nowhere.py:score"}, "reward = nowhere.py:score: no file nowhere.py"),
        ({"method": {"name": "lora", "dropout": 0.1}}, "method.dropout = 0.1 (python): answers are scored again"),
        ({"data": {"overlong": "truncate"}}, "data.overlong = truncate: a prompt is answered as it is or not at all"),
        ({"evaluation": {"metrics": ["rouge"]}}, "evaluation.metrics (python): held-out answers are judged"),
        (
            {"algorithm": {"name": "reinforce", "group_mean": True}, "rollout": {"num_generations": 1}},
            "algorithm.group_mean = true: with rollout.num_generations = 1",
        ),
        ({"algorithm": {"name": "ppo", "kl_target": 6.0, "kl_coef": 0.0}}, "algorithm.kl_target: the price of the KL"),
        ({"algorithm": {"name": "ppo", "kl_horizon": 500}}, "algorithm.kl_horizon = 500: the price of the KL"),
        ({"algorithm": {"name": "ppo", "ptx_rows": 16}}, "algorithm.ptx_rows = 16: no rows are learned beside"),
        ({"algorithm": {"name": "ppo", "ptx_coef": 2.0}}, "algorithm.ptx_coef = 2.0: no rows are learned beside"),
        (
            {"algorithm": {"name": "ppo", "value_coef": 0.0}},
            "algorithm.value_coef = 0: the value model would learn nothing",
        ),
        ({"algorithm": {"name": "rloo", "clip_range": 0.1}}, "algorithm.clip_range = 0.1: with one update a phase"),
        (
            {"algorithm": {"name": "reinforce", "clip_range": 0.1}},
            "algorithm.clip_range = 0.1: with one update a phase",
        ),
        ({"algorithm": {"name": "grpo", "clip_high": 0.28}}, "algorithm.clip_high = 0.28: with one update a phase"),
        (
            {"algorithm": {"name": "ppo", "num_epochs": 1, "value_clip_range": 0.1}},
            "algorithm.value_clip_range = 0.1: with one update a phase",
        ),
        (
            {"algorithm": {"name": "rloo", "num_minibatches": 17}},
            "algorithm.num_minibatches = 17: a phase has 16 answers (training.batch_size = 4 prompts,",
        ),
        ({"algorithm": {"name": "ppo", "ptx_data": "nope.jsonl"}}, "algorithm.ptx_data: nope.jsonl"),
        ({"reward": "rewards.py"}, "reward = rewards.py (python): which function of it?"),
        ({"reward": "./no/run"}, "reward = ./no/run: no such folder"),
        ({"algorithm": {"name": "grpo", "kl_estimator": "k2"}}, "algorithm.kl_estimator = k2: the distance"),
        (
            {"rollout": {"timeout": 60.0}},
            "rollout.timeout = 60.0 (python): backend torch has no use for it",
        ),
        (
            {"algorithm": {"name": "rejection_sampling", "keep": 4}},
            "algorithm.keep = 4: of rollout.num_generations = 4",
        ),
        ({"architecture": "t5"}, "stage = rl: a policy is a decoder, and t5 is none"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(changes, line, tmp_path):
    with pytest.raises(Refusal) as refusal:
        preflight.check(build(load(settings(tmp_path, rows=ASKED, **changes))))
    assert str(refusal.value).startswith(line)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def judge(tmp_path):
    """A run of stage reward on the same base."""
    return train(load(compared_settings(tmp_path, "judge", stage="reward", algorithm={}))).folder.path


@pytest.mark.parametrize("name", ["rloo", "ppo"])
def test_a_reward_model_judges_on_the_policys_own_base(name, judge, tmp_path):
    recipe = load(settings(tmp_path, reward=str(judge), algorithm={"name": name}))
    session = build(recipe)
    (reward,) = [session.loop.carried.reward]
    assert reward.model.base_model is session.model.base_model
    assert installed(session.model).keys() == {"default", "reward_0"}
    assert acting(session.model) == ["default"]
    opened = open_model(judge)
    renderer = reward_renderer(opened)
    run = train(recipe)
    assert run.proven, run.proofs
    assert run.result["proofs"]["roles"] == "holds"
    rows = [Example(prompt=row["prompt"], completion="12") for row in ASKED[:5]]
    ids = [made.input_ids for made in renderer.render_many(rows)]
    said = [Said(row.prompt, "12", Sample(0, one, one > -1, "f", 1)) for row, one in zip(rows, ids, strict=True)]
    assert reward.judge(said) == pytest.approx(score(opened.model, renderer, rows), abs=1e-5)


def test_another_base_judges_as_a_model_of_its_own(tmp_path):
    other = compared_settings(tmp_path, "judge", stage="reward", algorithm={}, architecture="gpt2")
    run = run_of(tmp_path, reward=str(train(load(other)).folder.path))
    assert run.proven, run.proofs


def said_of(renderer, completions):
    """Completions of the first prompt, as a rollout hands them to a judge."""
    rows = [Example(prompt=ASKED[0]["prompt"], completion=completion) for completion in completions]
    ids = [made.input_ids for made in renderer.render_many(rows)]
    return [Said(r.prompt, r.completion, Sample(0, one, one > -1, "f", 1)) for r, one in zip(rows, ids, strict=True)]


def test_a_judge_with_other_tokens_reads_the_text_anew(tmp_path):
    """Ids of one tokenizer mean nothing to another: the score is the one of the text by itself."""
    place = tmp_path / "other"
    place.mkdir()
    tiny_model_folder(place, "gpt2", add_bos=False)
    judge = train(load(compared_settings(place, "judge", stage="reward", algorithm={}, architecture="gpt2")))
    session = build(load(settings(tmp_path, reward=str(judge.folder.path))))
    reward, opened = session.loop.carried.reward, open_model(judge.folder.path)
    assert not reward.same_tokens
    rows = [Example(prompt=ASKED[0]["prompt"], completion=text) for text in ("12", "a longer answer")]
    own = score(opened.model, reward_renderer(opened), rows)
    assert reward.judge(said_of(session.renderer, ["12", "a longer answer"])) == pytest.approx(own, abs=1e-5)


def test_a_score_is_read_at_the_end_of_its_own_answer(judge, tmp_path):
    """Beside longer answers, behind which others are padded, it stays what it is; another end is another score."""
    session = build(load(settings(tmp_path, reward=str(judge))))
    reward, renderer = session.loop.carried.reward, session.renderer
    texts = ["12", "a", "a much longer answer than the others"]
    alone = [reward.judge(said_of(renderer, [text]))[0] for text in texts]
    assert reward.judge(said_of(renderer, texts)) == pytest.approx(alone, abs=1e-5)
    (short,) = said_of(renderer, ["12"])
    end = short.sample.input_ids[-1]
    other = Sample(0, np.append(short.sample.input_ids[:-1], [end - 1, end]), short.sample.supervised, "f", 1)
    assert abs(reward.judge([replace(short, sample=other)])[0] - alone[0]) > 1e-4


def test_an_answer_that_fills_the_judges_positions_is_closed_in_place_of_its_last_token(tmp_path, caplog):
    """GPT-2 has a table of 64 positions: a row beyond it is not judged, and says so; one more token would be beyond."""
    other = compared_settings(tmp_path, "judge", stage="reward", algorithm={}, architecture="gpt2")
    judge = train(load(other)).folder.path
    reward = build(load(settings(tmp_path, architecture="gpt2", reward=str(judge)))).loop.carried.reward
    assert reward.same_tokens
    assert reward.positions == 64

    def said(length, last=7):
        ids = np.full(length, 7, np.int32)
        ids[-1] = last
        return Said("p", "c", Sample(0, ids, np.arange(length) >= 3, "f", 1))

    closed = reward.judge([said(64, reward.closing)])
    assert reward.judge([said(64), said(63)]) == [pytest.approx(closed[0], abs=1e-5)] * 2
    assert not reward.trouble
    far, near = reward.judge([said(65), said(20)])
    assert math.isnan(far)
    assert math.isfinite(near)
    assert reward.trouble == "66 tokens with its prompt, and the reward model reads 64"
    assert any("f:1 ('p'): 66 tokens" in record.getMessage() for record in caplog.records)


def test_a_run_that_is_no_reward_model_is_refused(tmp_path):
    first = run_of(tmp_path, "first")
    with pytest.raises(Refusal, match="no reward model; name a run of stage reward"):
        build(load(settings(tmp_path, "second", reward=str(first.folder.path))))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_role_that_drifts_is_seen(method, judge, tmp_path, monkeypatch):
    step = Loop.step

    def drifting(self):
        told = step(self)
        if self.step_number == 2 and self.observers != ():
            next(iter(self.carried.frozen().values())).data.add_(1e-3)
        return told

    monkeypatch.setattr(Loop, "step", drifting)
    run = run_of(tmp_path, reward=str(judge), method={"name": method}, training={"learning_rate": 1e-4})
    assert run.result["proofs"]["roles"] == "fails"
    assert not run.proven


def test_what_is_only_watched_is_told_and_decides_nothing(tmp_path):
    at = f"{tmp_path / 'rewards.py'}"
    plain = run_of(tmp_path, "plain", reward=f"{at}:vowels")
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "rewards.py"
    other.write_text("def known(completion):\n    return -1.0\n")
    only = [{"source": f"{at}:known", "weight": 0}, {"source": f"{other}:known", "weight": 0}]
    run = run_of(tmp_path, reward=[f"{at}:vowels", *only])
    assert [step["loss"] for step in told(run, "step")] == [step["loss"] for step in told(plain, "step")]
    step = told(run, "step")[-1]
    assert step["watched/known"] > 0
    assert step["watched/known_2"] == -1  # of one name, not one of them lost
    assert {"distance", "length", "hacking (watched/known)"} <= {sign["sign"] for sign in step["health"]}
    page = run.folder.report.read_text()
    assert 'id="health"' in page
    assert "Distance from the reference" in page


def test_the_value_model_may_have_an_adapter_of_its_own(tmp_path):
    own = {"algorithm": {"name": "ppo", "value": "adapter", "num_epochs": 2}, "evaluation": {"every": 8}}
    run = run_of(tmp_path, **own, training={"max_steps": 8})
    assert run.proven, run.proofs
    assert {proof.name: proof.verdict for proof in verify(run.folder.path)} == run.result["proofs"]
    assert installed(reopen(run.folder).model).keys() == {"default", "value"}


def test_rows_are_learned_beside_the_answers(tmp_path):
    rows = write_rows(tmp_path / "texts.jsonl", [{"prompt": "a ", "completion": f"row {n}"} for n in range(20)])
    fast = {"training": {"learning_rate": 0.03, "max_steps": 12, "checkpoint_every": 12}, "evaluation": {"every": 12}}
    ptx = {"name": "ppo", "num_epochs": 1, "ptx_data": str(rows), "ptx_coef": 10.0, "ptx_rows": 4}
    run = run_of(tmp_path, algorithm=ptx, **fast)
    assert run.proven, run.proofs
    beside = reopen(run.folder).loop.carried.beside
    assert (beside.batch_size, len(beside.dataset)) == (4, 20)
    many = settings(tmp_path, "many", algorithm={**ptx, "ptx_rows": 50})
    assert sum(len(batch.packing.borders) - 1 for batch in build(load(many)).loop.carried.beside.at(0)) == 50
    losses = [step["ptx/loss"] for step in told(run, "step")]
    assert losses[-1] < losses[0] - 0.3
    plain = run_of(tmp_path, "plain", algorithm={"name": "ppo", "num_epochs": 1}, **fast)
    assert told(plain, "step")[0]["supervised_tokens"] == told(run, "step")[0]["supervised_tokens"]
    split = run_of(tmp_path, "split", algorithm=ptx, **fast | {"training": fast["training"] | {"micro_batch_size": 1}})
    assert told(split, "step")[0]["ptx/loss"] == pytest.approx(losses[0], abs=1e-4)


@pytest.mark.parametrize(("ends", "bounds"), [("never", (0.0, 0.459)), ("once", (0.0, 0.5))])
def test_a_share_of_answers_that_end_lies_between_none_and_all(ends, bounds, tmp_path, monkeypatch):
    """Six held-out answers: none that ended is not certain (1 - .025 ** (1 / 6)), and no bound leaves 0 to 1."""
    session = build(load(settings(tmp_path)))
    phases = session.loop.carried
    answered = type(phases).answered

    def with_ends(self, *args):
        groups = answered(self, *args)
        return [
            replace(group, answers=[replace(one, completion=replace(one.completion, stopped=ends == "once" and not n))])
            for n, group in enumerate(groups)
            for one in group.answers
        ]

    monkeypatch.setattr(type(phases), "answered", with_ends)
    session.recipe = replace(session.recipe, evaluation=replace(session.recipe.evaluation, generate=6))
    found = find_stage("rl").evaluator(session)()
    assert found["intervals"]["ended"] == pytest.approx(bounds, abs=1e-3)
    low, high = found["intervals"]["reward"]
    assert low < found["reward"] < high


def test_eval_asks_the_held_out_prompts_again(tmp_path, capsys):
    run = run_of(tmp_path)
    assert main(["eval", str(run.folder.path), "--json", "--limit", "3"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["name"] for row in found["rows"]] == ["reference", "tuned"]
    assert found["num_rows"] == 3
    assert found["rows"][0]["metrics"]["kl"]["value"] == 0
    assert found["rows"][1]["metrics"]["reward"]["value"] > -1
    assert main(["eval", str(run.folder.path), "--json", "--best-of", "8"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    reference, best, _ = found["rows"]
    assert best["name"] == "best of 8"
    assert best["metrics"]["reward"]["value"] > reference["metrics"]["reward"]["value"]
    assert "at most 1.20 nats" in best["note"]
    assert list(found["samples"][0]["answers"]) == ["reference", "best of 8", "tuned"]
    assert main(["eval", str(run.folder.path), "--best-of", "8", "--data", f"{tmp_path / 'run.jsonl'}"]) == 2
    assert "--best-of 8: the reward chooses among answers" in capsys.readouterr().err
    says = dict(commands(tell(run.folder.path, run.result))).values()
    assert "the reward of held-out answers, before and after, with intervals" in says
    assert (
        main(["data", "check", f"{tmp_path / 'run.jsonl'}", "--model", str(tmp_path / "llama"), "--stage", "rl"]) == 0
    )


def test_eval_draws_otherwise_where_it_is_asked_to(tmp_path, capsys):
    """Other random numbers, another temperature, fewer at once; what has no part there is refused."""
    run = run_of(tmp_path)
    rows = rows_of(tmp_path, capsys, run)
    reward = rows["tuned"]["metrics"]["reward"]
    assert rows_of(tmp_path, capsys, run, "--batch-size", "1") == rows
    assert rows_of(tmp_path, capsys, run, "--seed", "0", "--temperature", "1") == rows  # as the run has them
    other = rows_of(tmp_path, capsys, run, "--seed", "7")
    assert other["tuned"]["metrics"]["reward"] != reward
    assert "kl" in other["tuned"]["metrics"]
    greedy = rows_of(tmp_path, capsys, run, "--temperature", "0")
    assert greedy["tuned"]["metrics"]["reward"] != reward
    assert rows_of(tmp_path, capsys, run, "--temperature", "0", "--seed", "7") == greedy
    assert all("kl" not in row["metrics"] for row in greedy.values())
    assert "kl is a mean over answers at rollout.temperature = 1, and these are at 0" in greedy["tuned"]["note"]
    short = rows_of(tmp_path, capsys, run, "--max-new-tokens", "2")
    assert short["tuned"]["metrics"]["length"]["value"] <= 2 < rows["tuned"]["metrics"]["length"]["value"]
    assert main(["eval", str(run.folder.path), "--max-new-tokens", "7"]) == 2
    assert "--max-new-tokens 7: prompts of the run leave room for answers of 6" in capsys.readouterr().err
    some = str(write_rows(tmp_path / "some.jsonl", ASKED))
    for flag, value in (("shots", "0"), ("train", some), ("column", "prompt=a"), ("quantization", "nf4")):
        assert main(["eval", str(run.folder.path), f"--{flag}", value]) == 2
        assert f"error: --{flag} {value}: {run.folder.path} is of stage rl" in capsys.readouterr().err
    assert main(["eval", str(run.folder.path), "--no-double-quantization"]) == 2
    assert f"error: --no-double-quantization: {run.folder.path} is of stage rl" in capsys.readouterr().err
    assert main(["eval", str(run.folder.path), "--best-of", "4", "--temperature", "0"]) == 2
    assert "temperature" in capsys.readouterr().err.splitlines()[-1]


def rows_of(tmp_path, capsys, run, *flags):
    assert main(["eval", str(run.folder.path), "--json", *flags]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]}


@pytest.mark.parametrize("kl_coef", [0.0, 0.05])
def test_a_policy_that_trained_everywhere_is_compared_with_the_base(kl_coef, tmp_path, capsys):
    full = {"method": {"name": "full"}, "algorithm": {"name": "rloo", "kl_coef": kl_coef}}
    run = run_of(tmp_path, **full)
    assert run.proven, run.proofs
    before = told(run, "evaluation")[0]["reward"]
    rows = rows_of(tmp_path, capsys, run)
    assert rows["reference"]["metrics"]["reward"]["value"] == pytest.approx(before, abs=1e-6)
    assert rows["tuned"]["metrics"]["reward"]["value"] != rows["reference"]["metrics"]["reward"]["value"]
    assert rows["tuned"]["metrics"]["kl"]["value"] != 0 == rows["reference"]["metrics"]["kl"]["value"]


def test_without_a_kept_base_eval_says_why_there_is_no_reference(tmp_path, capsys):
    full = {"method": {"name": "full", "keep_base": False}, "algorithm": {"name": "rloo", "kl_coef": 0.0}}
    run = run_of(tmp_path, **full)
    assert all("kl" not in found for found in told(run, "evaluation"))
    rows = rows_of(tmp_path, capsys, run)
    assert "keep_base is false" in rows["reference"]["note"]
    assert "kl" not in rows["tuned"]["metrics"]
    assert rows["tuned"]["metrics"]["reward"]["value"] > -1


def test_an_adapter_that_pays_no_price_is_still_compared_with_what_it_was(tmp_path, capsys):
    first = run_of(tmp_path, "first", training={"learning_rate": 0.05})
    free = {"model": {"path": str(first.folder.path)}, "algorithm": {"name": "grpo"}}
    second = run_of(tmp_path, "second", **free)
    assert second.proven, second.proofs
    before = told(second, "evaluation")[0]["reward"]
    rows = rows_of(tmp_path, capsys, second)
    assert rows["reference"]["metrics"]["reward"]["value"] == pytest.approx(before)
    assert rows["tuned"]["metrics"]["kl"]["value"] != 0 == rows["reference"]["metrics"]["kl"]["value"]


def test_the_distance_of_held_out_answers_drops_nothing_at_random(tmp_path):
    """Of an algorithm whose objective has nothing to do with a reference, on a model that was trained with dropout."""
    recipe = settings(tmp_path, architecture="gpt2", algorithm={"name": "rejection_sampling"})
    session = build(load(recipe))
    for module in session.model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    assert find_stage("rl").evaluator(session)()["kl"] == 0
    assert session.model.training
