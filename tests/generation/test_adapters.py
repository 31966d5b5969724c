"""Generation under adapters: routes by `use`, one adapter per row, soft prompts in front."""

import pytest
import torch
from tests.generation.test_sample import PROMPTS, by_full_forwards
from tests.zoo import DECODERS, make

from accorda.errors import Refusal
from accorda.generation.sample import generate, stream
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import freeze, install
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import routing, use
from accorda.methods.side.attention_fusion import AttentionFusion

METHODS = {
    "lora": LoRA(rank=2),
    "short": PromptTuning(num_virtual_tokens=2),
    "long": PromptTuning(num_virtual_tokens=5),
}


def tuned(architecture, methods=METHODS, **overrides):
    """A model with adapters that were moved well away from their start."""
    model = freeze(make(architecture, **overrides))
    for name, method in methods.items():
        install(model, method, name)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@torch.no_grad()
def check_alone(model, name, completions, prompts=PROMPTS):
    """Each completion is what whole forwards of its prompt alone give under this adapter."""
    for prompt, completion in zip(prompts, completions, strict=True):
        with use(model, name):
            ids, log_probs = by_full_forwards(model, prompt, len(completion.token_ids))
        assert completion.token_ids == ids
        assert completion.log_probs == pytest.approx(log_probs, abs=1e-4)


@pytest.mark.parametrize("architecture", DECODERS)
def test_under_each_adapter_and_the_base_a_ragged_batch_equals_its_rows_alone(architecture):
    model = tuned(architecture)
    told = set()
    for name in (None, *METHODS):
        with use(model, name):
            completions = generate(model, PROMPTS, max_new_tokens=8, stop_ids=())
        check_alone(model, name, completions)
        told.add(tuple(round(value, 2) for completion in completions for value in completion.log_probs))
    assert len(told) == 4, "every adapter says something else"


@pytest.mark.parametrize("architecture", DECODERS)
def test_one_adapter_per_row_also_when_rows_end_before_others(architecture):
    model = tuned(architecture)
    names = ["long", None, "lora", "short", "long"]
    before = routing(model).route
    with use(model, rows=names):
        free = generate(model, PROMPTS, max_new_tokens=8, stop_ids=())
        stop = free[0].token_ids[1]  # a row with the longest prompt ends first
        ended = generate(model, PROMPTS, max_new_tokens=8, stop_ids=[stop])
        small = generate(model, PROMPTS, max_new_tokens=8, stop_ids=[stop], batch_size=2)
    assert routing(model).route == before
    for name, prompt, completion in zip(names, PROMPTS, free, strict=True):
        check_alone(model, name, [completion], [prompt])
    for whole, cut, other in zip(free, ended, small, strict=True):
        assert cut.token_ids == whole.token_ids[: len(cut.token_ids)] == other.token_ids
        assert cut.stopped == (stop in whole.token_ids)
        assert len(cut.token_ids) == (whole.token_ids.index(stop) + 1 if cut.stopped else 8)


def test_a_side_network_reads_the_cached_steps_too():
    model = tuned("llama", {"side": AttentionFusion()})
    completions = generate(model, PROMPTS, max_new_tokens=8, stop_ids=())
    check_alone(model, "side", completions)
    with use(model, None):
        assert generate(model, PROMPTS, max_new_tokens=8, stop_ids=()) != completions


def test_a_soft_prompt_shortens_the_context():
    model = tuned("gpt2")  # 64 learned positions: one more raises an error
    with use(model, "long"):
        found = generate(model, [[6] * 59, [7] * 50], max_new_tokens=80, stop_ids=())
        assert [len(row.token_ids) for row in found] == [0, 9]
        with pytest.raises(Refusal, match=r"prompts\[0\]: 60 tokens, but .* 64 less 5 of the soft prompt"):
            generate(model, [[6] * 60])
    with use(model, rows=["long", None]):
        found = generate(model, [[6] * 50, [7] * 59], max_new_tokens=80, stop_ids=())
        assert [len(row.token_ids) for row in found] == [9, 0]
    with use(model, "lora"):
        assert len(generate(model, [[6] * 60], max_new_tokens=80, stop_ids=())[0].token_ids) == 4


def test_as_many_adapters_as_prompts():
    model = tuned("llama")
    with use(model, rows=["lora", None]), pytest.raises(Refusal, match="2 rows were given for 3 prompts"):
        generate(model, [[5], [6], [7]])
    with use(model, rows=["lora"]):
        told = [token.token_id for token in stream(model, PROMPTS[0], max_new_tokens=5, stop_ids=())]
    with use(model, "lora"):
        assert told == generate(model, PROMPTS[:1], max_new_tokens=5, stop_ids=())[0].token_ids


@pytest.mark.parametrize(("window", "lengths"), [(13, (9, 3)), (6, (7, 7))])
def test_a_window_that_a_soft_prompt_fills_is_not_shared_with_padding(window, lengths):
    """13 positions hold 9 + 4 tokens, but not the prompt's 5 too; rows of one length may have prompts of several."""
    model = tuned("mistral", sliding_window=window)
    prompts = [list(range(20, 20 + length)) for length in lengths]
    with use(model, rows=["long", "short"]):
        found = generate(model, prompts, max_new_tokens=4, stop_ids=())
    for name, prompt, completion in zip(["long", "short"], prompts, found, strict=True):
        check_alone(model, name, [completion], [prompt])
