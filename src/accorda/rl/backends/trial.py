"""Before a run begins: is whoever samples there, and does it sample from this policy?

A few answers are sampled as they will be, and their tokens scored here. A server with another base, or one that tells
log-probabilities before the temperature, would otherwise teach for hours what nobody meant.
"""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from accorda.errors import Refusal
from accorda.generation.sample import evaluating
from accorda.rl.backends.contract import Backend
from accorda.rl.health import MOST_DIFFERENCE
from accorda.rl.phases import FEW, PROBE, Phases
from accorda.rl.rollout import Answer
from accorda.training.guard import Unreachable
from accorda.training.scores import sampled_log_probs

TOKENS, MOST_APART = 16, 0.25  # of each answer; nats per token, by which other precisions are not apart


def try_out(phases: Phases, max_length: int, near: Path) -> None:
    """Refuse to begin where the run's backend cannot serve it; nothing stays behind, here or there.

    Args:
        phases: of the run.
        max_length: tokens of prompt and answer.
        near: a place beside which files may be put, that need not exist.

    Raises:
        Refusal: nobody is there, adapters are not taken, what comes cannot be learned from or is another model's.
    """
    if not phases.backend.elsewhere:
        return
    ground = phases.settings.folder or next(str(one) for one in near.absolute().parents if one.is_dir())
    if not os.access(ground, os.W_OK):
        raise Refusal(
            f"rollout.folder = {ground}: no folder that can be written to; name one that the server reads, too"
        )
    try:
        with TemporaryDirectory(dir=ground, prefix=".rollout-") as place:
            os.chmod(place, 0o755)  # who reads it may be another user
            compare(replace(phases, backend=made_at(phases, Path(place))), max_length)
    except (Unreachable, OSError) as error:
        raise Refusal(str(error)) from None


def made_at(phases: Phases, place: Path) -> Backend:
    """The run's backend, with its files at another place."""
    return type(phases.backend)(replace(phases.settings, folder=str(place)), place)


def compare(phases: Phases, max_length: int) -> None:
    """Sample a few answers and refuse log-probabilities that are not the policy's."""
    settings = replace(phases.settings, max_new_tokens=min(TOKENS, phases.settings.max_new_tokens))
    prompts = [phases.dataset[int(row)] for row in phases.prompts.rows(0)[:FEW]]
    phases.backend.require_fit(phases.model, max_length)
    try:
        groups = phases.answered(prompts, (phases.seed, PROBE), settings, version=0)
    finally:
        phases.backend.close()
    answers = [one for group in groups for one in group.answers]
    told = torch.tensor([value for one in answers for value in one.completion.drawn_log_probs])
    apart = float((told - scored_here(phases, answers, settings.temperature)).abs().mean())
    plain = float((told - scored_here(phases, answers, 1.0)).abs().mean())
    where = f"rollout.url = {phases.settings.url}"
    if settings.temperature != 1 and apart > MOST_DIFFERENCE and plain < apart / 3:
        raise Refusal(
            f"{where}: tells log-probabilities before the temperature {settings.temperature} "
            f"(rollout.temperature); start vLLM with --logprobs-mode processed_logprobs, or sample at 1"
        )
    if apart > MOST_APART:
        raise Refusal(
            f"{where}: its tokens are {apart:.2g} nats likelier or less likely than the policy says; it must serve the "
            "policy's own base, and read the adapter it is handed"
        )


def scored_here(phases: Phases, answers: list[Answer], temperature: float) -> Tensor:
    """What the policy says of every sampled token, (N,)."""
    batch = phases.prompts.joined([one.sample for one in answers])
    with evaluating(phases.model), phases.precision.autocast():
        return sampled_log_probs(phases.model, batch, temperature).cpu()
