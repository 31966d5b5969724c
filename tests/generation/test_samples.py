"""Several samples of a prompt from one reading of it: each is the sample it would be alone."""

import pytest
import torch
from tests.generation.test_adapters import tuned
from tests.generation.test_sample import PROMPTS
from tests.zoo import DECODERS, ENCODER_DECODERS, make

from accorda.errors import Refusal
from accorda.generation.sample import generate
from accorda.generation.sampling import Sampling, warped
from accorda.methods.routing import use

SETTINGS = {"max_new_tokens": 7, "temperature": 1.2, "top_k": 30, "top_p": 0.95, "stop_ids": [2, 3, 4, 5]}
SEEDS = [(9, 4, place) for place in range(len(PROMPTS))]


def each_alone(model, prompts=PROMPTS, samples=3):
    """Every sample of every prompt by itself."""
    return [
        generate(model, [prompt], seeds=[(*SEEDS[place], sample)], **SETTINGS)[0]
        for place, prompt in enumerate(prompts)
        for sample in range(samples)
    ]


@pytest.mark.parametrize("architecture", [*DECODERS, *ENCODER_DECODERS])
@pytest.mark.parametrize("batch_size", [1, 6, 64])
def test_samples_of_a_ragged_batch_are_each_what_it_is_alone(architecture, batch_size):
    model = make(architecture)
    together = generate(model, PROMPTS, num_samples=3, seeds=SEEDS, batch_size=batch_size, **SETTINGS)
    alone = each_alone(model)
    assert [row.token_ids for row in together] == [row.token_ids for row in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
        assert one.drawn_log_probs == pytest.approx(other.drawn_log_probs, abs=1e-4)
        assert one.stopped == other.stopped
    assert len({tuple(row.token_ids) for row in together}) > len(PROMPTS)


def test_samples_under_an_adapter_and_a_soft_prompt_of_each_prompts_own():
    model = tuned("llama")
    names = ["long", None, "lora", "short", "long"]
    with use(model, rows=names):
        together = generate(model, PROMPTS, num_samples=2, seeds=SEEDS, **SETTINGS)
    for place, name in enumerate(names):
        with use(model, name):
            for sample in range(2):
                alone = generate(model, PROMPTS[place : place + 1], seeds=[(*SEEDS[place], sample)], **SETTINGS)[0]
                assert together[2 * place + sample].token_ids == alone.token_ids


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_the_prompts_are_read_once_for_all_samples(architecture):
    model = make(architecture)
    read = []
    whole = model.get_encoder() if architecture == "t5" else model
    inner = whole if architecture == "t5" else model.model
    inner.register_forward_pre_hook(lambda module, args, given: read.append(given["input_ids"].shape), with_kwargs=True)
    generate(model, [[5, 9, 31], [7, 8, 9]], num_samples=4, temperature=1.0, max_new_tokens=2, stop_ids=())
    assert read[0] == (2, 3)
    assert read[1:] == ([] if architecture == "t5" else [(8, 1)])


@torch.no_grad()
def test_log_probs_of_what_was_drawn_from():
    model = make("llama")
    row = generate(model, [[5, 9, 31]], max_new_tokens=1, temperature=2.0, top_k=5, top_p=0.8, stop_ids=())[0]
    logits = model(torch.tensor([[5, 9, 31]])).logits[0, -1:]
    scaled = warped(logits, Sampling(temperature=2.0, top_k=5, top_p=0.8)).log_softmax(-1)[0]
    assert row.drawn_log_probs == pytest.approx([float(scaled[row.token_ids[0]])], abs=1e-5)
    assert row.log_probs != row.drawn_log_probs
    greedy = generate(model, [[5, 9, 31]], max_new_tokens=2, stop_ids=())[0]
    assert greedy.drawn_log_probs == greedy.log_probs


def test_several_greedy_samples_are_refused():
    with pytest.raises(Refusal, match="num_samples = 2: at temperature 0 all samples of a prompt are one"):
        generate(make("llama"), PROMPTS, num_samples=2)
