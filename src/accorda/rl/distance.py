"""How far answers are from what the model of before the run would say, of every algorithm.

    kl = sum over an answer's tokens of log policy(o_t) - log reference(o_t)      at the temperature it was drawn at

It asks both, with nothing dropped, whatever the algorithm itself asks for; the reference is on the policy's own base.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from accorda.data.prompts.experience import PromptBatches, with_told
from accorda.generation.sample import evaluating
from accorda.methods.routing import has_values_of, use
from accorda.rl.rollout import Answer
from accorda.training.preferring import reference_of
from accorda.training.scores import sampled_log_probs


def can_be_asked(model: PreTrainedModel) -> bool:
    """Whether the reference is still there: what trains in place may have been told not to keep the base."""
    return has_values_of(model, reference_of(model))


@torch.no_grad()
def with_distance(
    model: PreTrainedModel, prompts: PromptBatches, answers: Sequence[Answer], temperature: float
) -> list[Answer]:
    """The answers with what policy and reference say of every token; as they are where there is no reference."""
    if not can_be_asked(model):
        return list(answers)
    samples, found = [answer.sample for answer in answers], list(answers)
    for places in prompts.grouped([len(one) for one in samples]):
        batch = prompts.joined([samples[place] for place in places])
        with evaluating(model):
            own = sampled_log_probs(model, batch, temperature)
            with use(model, reference_of(model)):
                theirs = sampled_log_probs(model, batch, temperature)
        told = zip(*(each.split(list(batch.learned)) for each in (own, theirs)), strict=True)
        for place, (mine, other) in zip(places, told, strict=True):
            told_sample = with_told(samples[place], old_log_probs=mine, reference_log_probs=other)
            found[place] = replace(found[place], sample=told_sample)
    return found


def distance(answer: Answer) -> float | None:
    """How far one answer is, in nats; None where nobody asked."""
    told = answer.sample.told
    if "reference_log_probs" not in told:
        return None
    return float((told["old_log_probs"] - told["reference_log_probs"]).double().sum())
