"""Whole runs of stage preference: every algorithm, every method, from a base and from an adapter, and TRL beside it."""

import json
import os
import signal

import pytest
import torch
from tests.stages.compared import PAIRS, RANKED, THUMBS, settings

from accorda.errors import Refusal, Stopped
from accorda.methods.install import installed, own_tensors
from accorda.methods.open import load_model
from accorda.methods.registry import methods
from accorda.methods.routing import acting, use
from accorda.objectives.preference.registry import algorithms
from accorda.recipe.load import load
from accorda.runs import events
from accorda.stages import plan, reopen, resume, train, verify
from accorda.stages.build import build
from accorda.training.loop import Loop
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
    run = run_of(tmp_path, algorithm={"name": name}, training={"learning_rate": 0.003})
    assert run.proven, run.proofs
    needs = algorithms()[name].needs_reference
    assert run.result["proofs"]["start"] == ("holds" if needs else "not applicable")
    assert {run.result["proofs"][n] for n in ("mask", "movement", "gradient", "packing", "resume", "save")} == {"holds"}
    first, *_, last = told(run, "evaluation")
    assert last["eval_loss"] < first["eval_loss"]
    assert last["preference_accuracy"] > 0.5 or algorithms()[name].thumbs
    assert {"preference_accuracy", "reward_margin", "eval_loss"} == first["intervals"].keys()
    if needs:
        assert first["preference_accuracy"] == 0.5  # nobody wins before the first step
    steps = told(run, "step")
    assert all("rewards/margin" in step for step in steps)
    assert run.result["supervised_tokens"] == 4 * 8
    again = {proof.name: proof.verdict for proof in verify(run.folder.path)}
    assert again == run.result["proofs"]


def test_dpo_starts_at_log_2(tmp_path):
    run = run_of(tmp_path)
    assert told(run, "step")[0]["loss"] == pytest.approx(0.693147, abs=1e-6)
    assert told(run, "evaluation")[0]["eval_loss"] == pytest.approx(0.693147, abs=1e-6)
    start = next(proof for proof in run.proofs if proof.name == "start")
    assert start.evidence["difference"] == 0


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_learns_from_pairs(method, tmp_path):
    fields = {"dropout": 0.0} if method == "attention_fusion" else {}
    run = run_of(tmp_path, method={"name": method, **fields}, training={"max_steps": 2})
    assert run.proven, run.proofs
    exact = methods()[method].traits.identity_at_init == "exact"
    assert run.result["proofs"]["start"] == ("holds" if exact else "not applicable")


def test_an_algorithm_says_itself_that_it_learns_from_thumbs(tmp_path, monkeypatch):
    """No list beside it: one that says so reads every answer by itself, and needs two of them a step."""
    one = {"algorithm": {"name": "dpo"}, "rows": PAIRS}
    assert not build(load(settings(tmp_path, "pairs", **one))).train.thumbs
    monkeypatch.setattr(algorithms()["dpo"], "thumbs", True)
    assert build(load(settings(tmp_path, "thumbs", **one))).train.thumbs
    with pytest.raises(Refusal, match="dpo estimates how far it went from a step's other rows"):
        build(load(settings(tmp_path, "few", **one, training={"batch_size": 1})))


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "falcon_new"])
@pytest.mark.parametrize("rows", [RANKED, THUMBS], ids=["ranked", "thumbs"])
def test_other_decoders_and_other_rows(architecture, rows, tmp_path):
    name = "kto" if rows is THUMBS else "dpo"
    run = run_of(tmp_path, architecture=architecture, rows=rows, algorithm={"name": name})
    assert run.proven, run.proofs


def test_conversations_through_the_template(tmp_path):
    rows = [
        {
            "chosen": [*talk, {"role": "assistant", "content": "yes"}],
            "rejected": [*talk, {"role": "assistant", "content": "no"}],
        }
        for number in range(20)
        for talk in [[{"role": "user", "content": f"{number}?"}]]
    ]
    run = run_of(tmp_path, rows=rows)
    assert run.proven, run.proofs
    assert json.loads((run.folder.path / "renderer.json").read_text())["kind"] == "messages"
    assert run.result["proofs"]["save"] == "holds"
    (sample, *_) = json.loads(run.folder.samples.read_text())["samples"]
    assert sample["reference"] == "yes"


def test_an_adapter_goes_on_from_itself_and_is_its_own_reference(tmp_path):
    first = run_of(tmp_path, "first")
    second = run_of(tmp_path, "second", model={"path": str(first.folder.path)})
    assert second.proven, second.proofs
    assert second.result["proofs"]["start"] == second.result["proofs"]["merge"] == "holds"
    assert second.result["parents"] == [str(first.folder.path)]
    assert told(second, "step")[0]["loss"] == pytest.approx(0.693147, abs=1e-6)
    session = reopen(second.folder)
    assert installed(session.model).keys() == {"default", REFERENCE}
    assert acting(session.model) == ["default"]
    kept, tuned = (own_tensors(session.model, name) for name in (REFERENCE, "default"))
    opened = own_tensors(load_model(first.folder.path), "default")
    assert all(torch.equal(kept[name], opened[name]) for name in opened)
    assert not any(torch.equal(tuned[name], opened[name]) for name in opened)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad(), use(session.model, REFERENCE):
        assert torch.equal(session.model(ids).logits, load_model(first.folder.path)(ids).logits)


def test_a_stopped_run_ends_in_the_same_bytes(tmp_path, monkeypatch):
    longer = {"training": {"max_steps": 8, "checkpoint_every": 3}, "algorithm": {"name": "kto"}}
    whole = run_of(tmp_path, "whole", **longer)
    step = Loop.step

    def stopping(self):
        if self.step_number == 4 and self.observers != ():
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    monkeypatch.setattr(Loop, "step", stopping)
    with pytest.raises(Stopped):
        run_of(tmp_path, "stopped", **longer)
    monkeypatch.setattr(Loop, "step", step)
    run = resume(tmp_path / "stopped")
    assert run.proven, run.proofs
    assert run.result["proofs"]["start"] == "holds"
    name = "adapter_model.safetensors"
    assert (run.folder.adapter / name).read_bytes() == (whole.folder.adapter / name).read_bytes()
    ours, theirs = ([event["loss"] for event in told(one, "step")] for one in (run, whole))
    assert ours == theirs


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo"])
def test_the_losses_are_trls_from_the_same_start_on_the_same_rows(loss, tmp_path, monkeypatch):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    rows = [
        {"prompt": f"{a} plus {b} is", "chosen": f" {a + b}", "rejected": f" not {a * b} at all"}
        for a in range(4)
        for b in range(2)
    ]
    name = {"sigmoid": "dpo", "hinge": "hinge", "ipo": "ipo_average"}[loss]
    same = {"max_steps": 6, "batch_size": 8, "schedule": "constant", "warmup_steps": 0, "learning_rate": 0.001}
    run = run_of(
        tmp_path, rows=rows, data={"eval_split": 0.0}, method={"name": "full"}, training=same, algorithm={"name": name}
    )
    model, tokenizer = (auto.from_pretrained(tmp_path / "llama") for auto in (AutoModelForCausalLM, AutoTokenizer))
    arguments = trl.DPOConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=6,
        per_device_train_batch_size=8,
        learning_rate=0.001,
        lr_scheduler_type="constant",
        beta=0.1,
        loss_type=loss,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        gradient_checkpointing=False,
    )
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=reference,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    ours = [event["loss"] for event in told(run, "step")]
    assert len(theirs) == len(ours) == 6
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert ours[-1] < 0.9 * ours[0]


def in_use(bill):
    """The bill without the holes between tensors, which hang on their order."""
    return max(moment.total - moment["allocator"] for moment in bill.moments)


def test_a_plan_knows_what_the_run_bills_and_needs_no_rows(tmp_path):
    recipe = settings(tmp_path)
    planned, run = plan(recipe), train(load(recipe))
    assert planned.total == run.result["bill_bytes"]
    del recipe["data"]
    assert plan({**recipe, "output": str(tmp_path / "other")}).total > 0
    simpo = plan(settings(tmp_path, "simpo", algorithm={"name": "simpo"}))
    assert in_use(simpo) <= in_use(planned)  # it has no reference


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"algorithm": {"name": "dppo"}},
            "algorithm.name = dppo (python): no such algorithm of preference; did you mean dpo?",
        ),
        ({"algorithm": {"name": "orpo", "reference": "base"}}, "algorithm.reference"),
        ({"algorithm": {"name": "simpo", "reference": "base"}}, "algorithm.reference"),
        ({"algorithm": {"name": "dpo", "label_smoothing": 0.5}}, "algorithm.label_smoothing = 0.5"),
        ({"algorithm": {"beta": 0}}, "algorithm.beta = 0"),
        ({"method": {"name": "lora", "dropout": 0.1}}, "method.dropout = 0.1 (python): answers are compared"),
        ({"data": {"supervise": "last"}}, "data.supervise = last"),
        ({"data": {"overlong": "truncate"}}, "data.overlong = truncate: compared answers are never cut"),
        ({"evaluation": {"metrics": ["rouge"]}}, "metrics: rouge is about generated answers"),
        ({"algorithm": {"name": "kto"}, "training": {"batch_size": 1}}, "training.batch_size = 1"),
        ({"architecture": "t5"}, "stage = preference: answers are compared in decoders only, and t5 is none"),
        ({"rows": THUMBS}, "preflight: the proof of mask fails: no answer is above another"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(changes, line, tmp_path):
    with pytest.raises(Refusal) as refusal:
        build_and_check(settings(tmp_path, **changes))
    assert str(refusal.value).startswith(line)
    assert not (tmp_path / "run").exists()


def build_and_check(recipe):
    from accorda.stages import preflight

    preflight.check(build(load(recipe)))


def test_a_pair_in_one_run_is_two_thumbs_in_another(tmp_path):
    session = build(load(settings(tmp_path, rows=PAIRS, algorithm={"name": "kto"})))
    assert len(session.train) + len(session.eval) == 2 * len(PAIRS)
