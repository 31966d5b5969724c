"""Completions over the ten decoder architectures: cached equals uncached, a batch equals single rows."""

import math

import pytest
import torch
from tests.zoo import DECODERS, make

from accorda.errors import Refusal
from accorda.generation.sample import generate, stream

PROMPTS = [[5, 9, 31], [7], [40, 41, 42, 43, 44, 45, 46, 47, 48], [3, 8], [60, 11, 12, 13, 14]]


@pytest.fixture(params=DECODERS)
def model(request):
    return make(request.param)


def by_full_forwards(model, prompt, num):
    """Greedy ids and their log-probabilities from whole forwards without a cache."""
    ids, log_probs = list(prompt), []
    for _ in range(num):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
        log_probs.append(float(logits.log_softmax(-1)[ids[-1]]))
    return ids[len(prompt) :], log_probs


@torch.no_grad()
def test_greedy_is_the_argmax_of_the_full_forward_for_every_row_of_a_ragged_batch(model):
    """Twelve tokens behind up to nine: more than twice the sliding windows of the zoo."""
    found = generate(model, PROMPTS, max_new_tokens=12, stop_ids=())
    for prompt, completion in zip(PROMPTS, found, strict=True):
        ids, log_probs = by_full_forwards(model, prompt, 12)
        assert completion.token_ids == ids
        assert completion.log_probs == pytest.approx(log_probs, abs=1e-4)
        assert not completion.stopped


def test_a_batch_equals_single_rows_and_a_stream_also_when_sampled(model):
    settings = {"max_new_tokens": 9, "temperature": 1.3, "top_k": 40, "top_p": 0.95, "seed": 4, "stop_ids": [2]}
    together = generate(model, PROMPTS, batch_size=5, **settings)
    assert [row.token_ids for row in generate(model, PROMPTS, batch_size=2, **settings)] == [
        row.token_ids for row in together
    ]
    assert [token.token_id for token in stream(model, PROMPTS[0], **settings)] == together[0].token_ids
    alone = generate(model, PROMPTS[:1], **settings)[0]
    assert alone.token_ids == together[0].token_ids
    assert alone.log_probs == pytest.approx(together[0].log_probs, abs=1e-4)


def test_rows_that_stop_leave_and_the_others_do_not_notice(model):
    free = generate(model, PROMPTS, max_new_tokens=8, stop_ids=())
    stop = free[2].token_ids[2]
    stopping = generate(model, PROMPTS, max_new_tokens=8, stop_ids=[stop])
    for before, after in zip(free, stopping, strict=True):
        expected = before.token_ids
        if stop in expected:
            expected = expected[: expected.index(stop) + 1]
        assert after.token_ids == expected
        assert after.stopped == (stop in before.token_ids)
        assert len(after.log_probs) == len(expected)
    assert stopping[2].stopped


def test_samples_follow_the_model():
    """First tokens of 2,000 rows at temperature 1 against the model's distribution: chi-square, 99.9%, 66 degrees."""
    model = make("llama")
    found = generate(model, [[5, 9, 31]] * 2000, max_new_tokens=1, temperature=1.0, stop_ids=(), batch_size=500)
    counts = torch.tensor([row.token_ids[0] for row in found]).bincount(minlength=67)
    expected = 2000 * model(torch.tensor([[5, 9, 31]])).logits[0, -1].softmax(-1)
    assert ((counts - expected) ** 2 / expected).sum() < 107.3


@torch.no_grad()
def test_log_probs_are_those_of_the_untempered_model():
    model = make("qwen3")
    row = generate(model, [[5, 9, 31]], max_new_tokens=1, temperature=3.0, top_k=4, stop_ids=())[0]
    expected = model(torch.tensor([[5, 9, 31]])).logits[0, -1].log_softmax(-1)[row.token_ids[0]]
    assert row.log_probs[0] == pytest.approx(float(expected), abs=1e-5)


def test_mode_dropout_and_checkpointing_are_off_inside_and_as_before_outside():
    model = make("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    expected = generate(model, PROMPTS, max_new_tokens=6)
    model.train()
    model.activation_checkpointing_enable()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    config = model.config.to_dict()
    assert generate(model, PROMPTS, max_new_tokens=6) == expected
    assert [module.training for module in model.modules()] == modes
    assert model.config.to_dict() == config
    assert torch.is_grad_enabled()
    tokens = stream(model, PROMPTS[0], max_new_tokens=6)
    assert next(tokens).token_id == expected[0].token_ids[0]
    assert torch.is_grad_enabled()
    tokens.close()
    assert [module.training for module in model.modules()] == modes


def test_modes_are_restored_when_a_forward_fails():
    model = make("llama").train()
    with pytest.raises(IndexError):
        generate(model, [[5, 1000]], max_new_tokens=2)
    assert model.training


def test_every_step_after_the_prefill_feeds_one_token_and_the_prefill_makes_one_row_of_logits():
    model = make("llama")
    fed, made = [], []
    model.model.register_forward_pre_hook(lambda m, args, given: fed.append(given["input_ids"].shape), with_kwargs=True)
    model.lm_head.register_forward_hook(lambda m, args, logits: made.append(tuple(logits.shape[:2])))
    generate(model, PROMPTS, max_new_tokens=4, stop_ids=())
    assert fed == [(5, 9), (5, 1), (5, 1), (5, 1)]
    assert made == [(5, 1)] * 4


def test_the_context_is_never_left():
    model = make("gpt2")  # 64 learned positions: one more raises an error
    found = generate(model, [[5] * 60, [6] * 64, [7] * 3], max_new_tokens=80, stop_ids=())
    assert [len(row.token_ids) for row in found] == [4, 0, 61]
    assert not any(row.stopped for row in found)
    with pytest.raises(Refusal, match=r"prompts\[1\]: 65 tokens, but the model's context holds 64"):
        generate(model, [[5], [6] * 65])


def test_empty_prompts_are_refused():
    with pytest.raises(Refusal, match=r"prompts\[1\]: no token to start from"):
        generate(make("llama"), [[5], []])
    assert generate(make("llama"), []) == []


def test_a_seed_is_a_sample_and_rows_with_equal_prompts_differ():
    model = make("llama")
    rows = generate(model, [[5, 9]] * 2, max_new_tokens=12, temperature=1.0, seed=1, stop_ids=())
    assert rows[0].token_ids != rows[1].token_ids
    assert generate(model, [[5, 9]], max_new_tokens=12, temperature=1.0, seed=2, stop_ids=()) != rows[:1]
    assert (
        generate(model, [[5, 9]], max_new_tokens=5, temperature=1.0, seed=1, stop_ids=())[0].token_ids
        == (rows[0].token_ids[:5])
    )
    assert all(math.isfinite(value) and value <= 0 for value in rows[0].log_probs)


@pytest.mark.gpu
def test_on_a_gpu_a_ragged_batch_equals_its_rows_alone(model):
    model = model.cuda()
    together = generate(model, PROMPTS, max_new_tokens=9, temperature=1.0, stop_ids=[2])
    alone = generate(model, PROMPTS[:1], max_new_tokens=9, temperature=1.0, stop_ids=[2])[0]
    assert alone.token_ids == together[0].token_ids
    assert alone.log_probs == pytest.approx(together[0].log_probs, abs=1e-3)
