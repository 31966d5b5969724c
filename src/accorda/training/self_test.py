"""Does training work here at all: one step of a tiny model with LoRA, and whether it did what a step must do."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from accorda.data.batch import Batch, Segment, pad_batch
from accorda.methods.install import freeze, install, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.training.next_token import NextToken
from accorda.training.threads import Threads, choose_threads

VOCABULARY, LENGTH, ROWS, RATE = 256, 32, 4, 0.02


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What one step did: the loss per token before and after it, in nats, and what is wrong, empty where all is well.

    `threads` is what was faster, with the seconds of a forward and backward pass by number of threads.
    """

    before: float
    after: float
    wrong: str
    threads: Threads
    seconds: float


def self_test(device: str = "cpu") -> SelfTest:
    """Make a random decoder of about 100,000 parameters, take one step on four rows, look at what moved."""
    began, available = perf_counter(), torch.get_num_threads()
    torch.manual_seed(0)
    with torch.device(device):
        model = tiny_decoder()
    install(freeze(model), LoRA(rank=4))
    batch, objective, trained = random_rows().to(model.device), NextToken(model), trainable(model)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(trained.values(), lr=RATE)

    def loss(backward: bool) -> float:
        with torch.set_grad_enabled(backward):
            found = objective(model, batch) / batch.num_supervised
        if backward:
            found.backward()
        return float(found.detach())

    before = loss(backward=True)
    optimizer.step()
    after = loss(backward=False)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, start[name])}
    threads = choose_threads(lambda: loss(backward=True)) if device == "cpu" else Threads(available)
    torch.set_num_threads(available)
    wrong = judged(before, after, moved, set(trained))
    return SelfTest(before=before, after=after, wrong=wrong, threads=threads, seconds=perf_counter() - began)


def tiny_decoder() -> PreTrainedModel:
    """Random weights in the shape of a Llama."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    return LlamaForCausalLM(config)


def random_rows() -> Batch:
    """Rows of random ids, everything learned."""
    draw = np.random.default_rng(0)
    rows = [draw.integers(3, VOCABULARY, LENGTH, np.int32) for _ in range(ROWS)]
    return pad_batch([Segment(at, ids, np.ones(LENGTH, np.bool_), "", at + 1) for at, ids in enumerate(rows)], pad_id=0)


def judged(before: float, after: float, moved: set[str], trained: set[str]) -> str:
    """What a step did that it must not do; empty where it did its work."""
    if not (np.isfinite(before) and np.isfinite(after)):
        return f"the loss is {before} before and {after} after a step"
    if not moved & trained:
        return "no trained tensor moved"
    if moved - trained:
        return f"a frozen tensor changed: {min(moved - trained)}"
    return "" if after < before else f"the loss rose from {before:.4f} to {after:.4f} on the very rows of the step"
