"""The objective on real model classes: any split of the rows gives the loss and gradient of one naive batch."""

import numpy as np
import pytest
import torch
from tests.zoo import VOCABULARY, make
from torch.nn import functional as F
from transformers import PreTrainedModel

from accorda.data.batch import Batch, Segment, pack_batch, pad_batch
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.install import freeze, install, trainable
from accorda.methods.registry import methods
from accorda.models.attention import use_attention
from accorda.training.next_token import NextToken, next_token_log_probs

LENGTHS = (9, 4, 12, 6, 2)
NUM_SUPERVISED = sum(length - max(1, length // 3) for length in LENGTHS)


def segments() -> list[Segment]:
    draw = np.random.default_rng(0)
    rows = [draw.integers(3, VOCABULARY, length).astype(np.int32) for length in LENGTHS]
    return [Segment(n, ids, np.arange(len(ids)) >= len(ids) // 3, "rows", n + 1) for n, ids in enumerate(rows)]


def tuned(name: str, targets: str | tuple[str, ...] = "all-linear") -> PreTrainedModel:
    """A tiny model with a LoRA that is no longer zero."""
    model = freeze(make(name))
    use_attention(model)
    install(model, methods()["lora"](rank=2, target_modules=targets))
    generator = torch.Generator().manual_seed(1)
    for parameter in trainable(model).values():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def naive_loss(model: PreTrainedModel) -> torch.Tensor:
    """The mean over the supervised tokens: row by row, whole logits, torch's own cross-entropy."""
    total = torch.zeros(())
    for segment in segments():
        ids = torch.from_numpy(segment.input_ids.astype(np.int64))
        logits = model(input_ids=ids[None]).logits[0]
        losses = F.cross_entropy(logits[:-1].float(), ids[1:], reduction="none")
        total = total + losses[torch.from_numpy(segment.supervised[1:])].sum()
    return total / NUM_SUPERVISED


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    named = trainable(model)
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def splits() -> dict[str, list[Batch]]:
    rows = segments()
    return {
        "one packed": [pack_batch(rows)],
        "one padded": [pad_batch(rows, 0)],
        "two packed": [pack_batch(rows[:2]), pack_batch(rows[2:])],
        "padded with another id": [pad_batch(rows[2:], 7), pad_batch(rows[:2], 7)],
        "each alone": [pack_batch([row]) for row in rows],
    }


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "qwen3"])
def test_every_split_gives_the_naive_loss_and_gradient(name: str) -> None:
    model = tuned(name)
    loss = naive_loss(model)
    expected = gradients(model, loss)
    objective = NextToken(model)
    for split in splits().values():
        total = sum(objective(model, batch) for batch in split) / NUM_SUPERVISED
        torch.testing.assert_close(total, loss, rtol=1e-6, atol=1e-6)
        for key, gradient in gradients(model, total).items():  # small numbers among large ones carry their rounding
            largest = float(expected[key].abs().max())
            torch.testing.assert_close(gradient, expected[key], rtol=1e-4, atol=5e-6 * largest)


def test_a_padded_architecture_gives_the_same() -> None:
    model = tuned("falcon_new")
    loss, objective = naive_loss(model), NextToken(model)
    expected = gradients(model, loss)
    for key, gradient in gradients(model, objective(model, splits()["one padded"][0]) / NUM_SUPERVISED).items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_trained_whole_with_its_head(tied: bool) -> None:
    model = make("llama", tie_word_embeddings=tied)
    use_attention(model)
    loss, objective = naive_loss(model), NextToken(model)
    expected = gradients(model, loss)
    found = gradients(model, objective(model, splits()["one packed"][0]) / NUM_SUPERVISED)
    assert any("embed_tokens" in key for key in found)
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-4, atol=1e-6)


def test_an_adapter_on_the_head_trains() -> None:
    model = tuned("llama", ("lm_head",))
    loss, objective = naive_loss(model), NextToken(model)
    expected = gradients(model, loss)
    for key, gradient in gradients(model, objective(model, splits()["one packed"][0]) / NUM_SUPERVISED).items():
        assert gradient.any()
        torch.testing.assert_close(gradient, expected[key], rtol=1e-4, atol=1e-6)


def test_with_gradient_checkpointing_the_gradient_is_the_same() -> None:
    model = tuned("llama")
    objective, batch = NextToken(model), splits()["one packed"][0]
    expected = gradients(model, objective(model, batch))
    enable_checkpointing(model)
    model.train()
    named = trainable(model)
    objective(model, batch).backward()
    for key, parameter in named.items():
        torch.testing.assert_close(parameter.grad, expected[key], rtol=1e-5, atol=1e-7)


def test_under_autocast_loss_and_gradient_are_near_and_wide() -> None:
    model = tuned("llama")
    objective, batch = NextToken(model), splits()["one packed"][0]
    expected = gradients(model, objective(model, batch))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(model, batch)
    assert loss.dtype == torch.float32
    for key, gradient in gradients(model, loss).items():
        assert gradient.dtype == torch.float32
        assert F.cosine_similarity(gradient.flatten(), expected[key].flatten(), 0) > 0.98


def test_log_probs_stand_in_the_order_of_the_targets() -> None:
    model = tuned("llama")
    batch = splits()["one packed"][0]
    found = next_token_log_probs(model, batch)
    torch.testing.assert_close(-found.sum() / NUM_SUPERVISED, naive_loss(model).detach(), rtol=1e-6, atol=1e-6)
    alone = [next_token_log_probs(model, one) for one in splits()["each alone"]]
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-5, atol=1e-5)
    assert len(found) == batch.num_supervised
