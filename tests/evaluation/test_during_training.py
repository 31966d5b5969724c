"""The evaluation that a training loop calls."""

from types import SimpleNamespace

import pytest
import torch
from tests.zoo import make, tiny_tokenizer

from accorda.data.prepare import prepare
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.evaluation.during_training import evaluator
from accorda.evaluation.evaluate import evaluate
from accorda.recipe.sections import DataSection, EvaluationSection
from accorda.training.precision import Precision

ROWS = [{"prompt": f"What is {n}? ", "completion": f"It is {n}."} for n in range(9)]


def session(evaluation, rows=ROWS, stage="sft", precision="fp32"):
    renderer = Renderer(tiny_tokenizer())
    held = prepare(DataSection(eval=rows), renderer, max_length=64, stage=stage, split="eval") if rows else None
    return SimpleNamespace(
        model=make("llama", vocab_size=320).train(),
        renderer=renderer,
        eval=held,
        recipe=SimpleNamespace(evaluation=evaluation),
        loop=SimpleNamespace(precision=Precision(precision)),
    )


def test_the_loss_alone_by_default_and_the_mode_is_left_as_it_was():
    run = session(EvaluationSection())
    found = evaluator(run)()
    expected = evaluate(run.model, run.renderer.tokenizer, ROWS, ["eval_loss"])
    bounds = {"eval_loss": pytest.approx(expected["intervals"]["eval_loss"])}
    assert found == {"eval_loss": pytest.approx(expected["eval_loss"]), "intervals": bounds}
    assert bounds["eval_loss"] != [found["eval_loss"]] * 2
    assert run.model.training


def test_it_measures_the_model_as_it_is_when_called():
    run = session(EvaluationSection())
    measure = evaluator(run)
    before = measure()
    with torch.no_grad():
        run.model.lm_head.weight.mul_(0)
    assert measure()["eval_loss"] == pytest.approx(torch.log(torch.tensor(320.0)).item())
    assert measure() != before


def test_metrics_and_samples_of_as_many_rows_as_asked_for():
    run = session(EvaluationSection(metrics=("perplexity", "rouge"), generate=4, max_new_tokens=3))
    found = evaluator(run)()
    assert set(found) == {"eval_loss", "perplexity", "rouge1", "rouge2", "rougeL", "stop_rate", "samples", "intervals"}
    assert [sample["reference"] for sample in found["samples"]] == [row["completion"] for row in ROWS[:4]]
    expected = evaluate(run.model, run.renderer.tokenizer, ROWS[:4], ["rouge"], max_new_tokens=3)
    assert found["rouge1"] == pytest.approx(expected["rouge1"])
    assert [sample["completion"] for sample in found["samples"]] == [s["completion"] for s in expected["samples"]]
    assert evaluator(session(EvaluationSection(generate=2)))().keys() == {
        "eval_loss",
        "stop_rate",
        "samples",
        "intervals",
    }


def test_texts_are_continued():
    text = "Once upon a time there was a little girl named Lily. " * 20
    run = session(EvaluationSection(generate=2, max_new_tokens=3), rows=[{"text": text}], stage="pretrain")
    samples = evaluator(run)()["samples"]
    assert len(samples) == 2
    assert text.startswith(samples[0]["prompt"])
    assert (samples[0]["prompt"] + samples[0]["reference"])[:60] == text[:60]


def test_in_the_precision_of_the_training():
    exact, coarse = (evaluator(session(EvaluationSection(), precision=name))() for name in ("fp32", "bf16"))
    assert exact != coarse
    assert coarse["eval_loss"] == pytest.approx(exact["eval_loss"], rel=0.02)


def test_no_rows_no_evaluation_and_unknown_metrics_before_the_first_step():
    assert evaluator(session(EvaluationSection(), rows=None)) is None
    with pytest.raises(Refusal, match="did you mean 'rouge'"):
        evaluator(session(EvaluationSection(metrics=("rogue",)), rows=None))
