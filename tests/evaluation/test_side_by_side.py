"""Held-out prompts answered by the base and by the tuned model."""

from types import SimpleNamespace

import pytest
import torch
from tests.zoo import make, tiny_tokenizer

from accorda.data.prepare import prepare_splits
from accorda.data.renderer import Renderer
from accorda.evaluation.side_by_side import side_by_side
from accorda.generation.text import generate
from accorda.methods.install import freeze, install, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import use
from accorda.methods.selective.full import Full
from accorda.recipe.sections import DataSection, EvaluationSection
from accorda.training.precision import Precision

ROWS = [{"prompt": f"What is {n}? ", "completion": f"It is {n}."} for n in range(9)]


def session(evaluation, rows=ROWS, share=0.4, stage="sft", method=None):
    renderer = Renderer(tiny_tokenizer())
    section = DataSection(train=rows, eval_split=share)
    train, held = prepare_splits(section, renderer, max_length=64, stage=stage)
    model = freeze(make("llama", vocab_size=328))
    install(model, method or LoRA(rank=2), "default")
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.normal_()
    return SimpleNamespace(
        model=model.train(),
        renderer=renderer,
        train=train,
        eval=held,
        recipe=SimpleNamespace(evaluation=evaluation),
        loop=SimpleNamespace(precision=Precision("fp32")),
    )


def test_each_prompt_is_answered_with_and_without_what_was_trained():
    run = session(EvaluationSection(samples=2))
    found = side_by_side(run, seconds=60)
    assert found is not None
    assert found["rows"] == "held out"
    held = [run.eval.example(number) for number in range(2)]
    assert [item["reference"] for item in found["samples"]] == [example.completion for example in held]
    prompts = [example.prompt for example in held]
    sampling = {"renderer": run.renderer, "max_new_tokens": found["max_new_tokens"]}
    with use(run.model, None):
        base = generate(run.model, run.renderer.tokenizer, prompts, **sampling)
    tuned = generate(run.model, run.renderer.tokenizer, prompts, **sampling)
    assert [item["base"]["text"] for item in found["samples"]] == [answer.text for answer in base]
    assert [item["tuned"]["text"] for item in found["samples"]] == [answer.text for answer in tuned]
    assert base[0].text != tuned[0].text
    assert run.model.training


def test_the_tuned_model_answers_alone_where_the_base_was_not_kept():
    run = session(EvaluationSection(samples=2), method=Full(keep_base=False))
    found = side_by_side(run, seconds=60)
    assert found is not None
    assert "method.keep_base is false" in found["note"]
    prompts = [item["prompt"] for item in found["samples"]]
    sampling = {"renderer": run.renderer, "max_new_tokens": found["max_new_tokens"]}
    tuned = generate(run.model, run.renderer.tokenizer, prompts, **sampling)
    assert [item["tuned"]["text"] for item in found["samples"]] == [answer.text for answer in tuned]
    assert not any("base" in item for item in found["samples"])
    assert "note" not in (side_by_side(session(EvaluationSection(samples=1), method=Full()), seconds=60) or {})


def test_nothing_random_is_drawn():
    run = session(EvaluationSection(samples=1))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    side_by_side(run, seconds=60)
    assert torch.rand(1) == expected


def test_without_held_out_rows_it_says_that_the_prompts_were_trained_on():
    run = session(EvaluationSection(), share=0.0)
    found = side_by_side(run, seconds=60)
    assert found is not None
    assert found["rows"] == "trained on"
    assert len(found["samples"]) == 4


def test_none_are_wanted():
    assert side_by_side(session(EvaluationSection(samples=0)), seconds=60) is None


def test_the_answers_are_little_longer_than_the_references_or_as_long_as_was_said():
    found = side_by_side(session(EvaluationSection(samples=3)), seconds=60)
    assert found is not None
    assert 8 <= found["max_new_tokens"] <= 20
    found = side_by_side(session(EvaluationSection(samples=3, max_new_tokens=2)), seconds=60)
    assert found is not None
    assert found["max_new_tokens"] == 2


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_out_of_time_answers_are_cut_and_not_waited_for(seconds):
    run = session(EvaluationSection(samples=2))
    whole, cut = side_by_side(run, seconds=60), side_by_side(run, seconds=seconds)
    assert whole is not None
    assert cut is not None
    for item, short in zip(whole["samples"], cut["samples"], strict=True):
        assert item["tuned"]["text"].startswith(short["tuned"]["text"].rstrip("\ufffd"))  # half a character
        assert len(short["tuned"]["text"]) < len(item["tuned"]["text"])


def test_texts_are_continued():
    run = session(EvaluationSection(samples=1), rows=[{"text": "Once upon a time. " * 40}], stage="pretrain")
    found = side_by_side(run, seconds=60)
    assert found is not None
    assert found["samples"][0]["reference"]
