"""GRPO's own settings: worked numbers of every loss it offers, and what is refused of them."""

import math

import numpy as np
import pytest
import torch

from accorda.data.batch import Segment
from accorda.data.prompts.experience import experience, sample
from accorda.objectives.policy.aggregation import Step
from accorda.rl.grpo import GRPO
from accorda.rl.settings import RolloutSettings

SEVERAL = {"num_epochs": 2}
PROMPT = Segment(0, np.array([1, 2], np.int32), np.zeros(2, np.bool_), "rows", 1)
STEP = Step(num_sequences=2, num_tokens=2, num_micro_batches=1, max_new_tokens=1)


def two_answers():
    """Of one token each, five times as likely as they were: log-probability -1, advantages 1 and -2."""
    old = torch.tensor([-1 - math.log(5.0)])
    rows = [sample(PROMPT, [3], old_log_probs=old, advantages=torch.tensor([value])) for value in (1.0, -2.0)]
    return torch.full((2, 1), -1.0, requires_grad=True), experience(rows, packed=False, pad_id=0)


@pytest.mark.parametrize(
    ("settings", "loss", "gradient", "clipped"),
    [
        ({}, (-1.2 + 10) / 2, [0.0, 5.0], [1, 0]),
        ({"dual_clip": 3.0}, (-1.2 + 6) / 2, [0.0, 0.0], [1, 1]),
        ({"dual_clip": 6.0}, (-1.2 + 10) / 2, [0.0, 5.0], [1, 0]),
        ({"cispo_bound": 2.0}, (2 - 4) / 2, [-1.0, 2.0], None),
        ({"cispo_bound": 8.0}, (5 - 10) / 2, [-2.5, 5.0], None),
        ({"cispo_bound": 2.0, "ratio": "sequence"}, (2 - 4) / 2, [-1.0, 2.0], None),
    ],
    ids=str,
)
def test_golden_numbers(settings, loss, gradient, clipped):
    log_probs, batch = two_answers()
    algorithm = GRPO(**settings, **SEVERAL)
    assert algorithm.misfit(RolloutSettings()) is None
    found = algorithm.policy_loss(log_probs, batch, STEP)
    assert found.item() == pytest.approx(loss, abs=1e-5)
    assert torch.autograd.grad(found, log_probs)[0].flatten().tolist() == pytest.approx(gradient, abs=1e-5)
    share = algorithm.clip_share(log_probs.detach(), batch)
    assert (None if share is None else share.flatten().int().tolist()) == clipped


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"cispo_bound": 5.0}, "algorithm.cispo_bound = 5.0: with one update a phase"),
        ({"dual_clip": 3.0}, "algorithm.dual_clip = 3.0: with one update a phase"),
        ({"cispo_bound": 5.0, "clip_low": 0.1, **SEVERAL}, "algorithm.clip_low = 0.1: with algorithm.cispo_bound"),
        ({"cispo_bound": 5.0, "clip_high": 0.3, **SEVERAL}, "algorithm.clip_high = 0.3: with algorithm.cispo_bound"),
        ({"cispo_bound": 5.0, "dual_clip": 3.0, **SEVERAL}, "algorithm.dual_clip = 3.0: with algorithm.cispo_bound"),
        ({"dual_clip": 1.0, **SEVERAL}, "algorithm.dual_clip = 1.0: a bound of 1 or less"),
    ],
    ids=str,
)
def test_what_would_have_no_effect_is_refused(settings, line):
    assert (GRPO(**settings).misfit(RolloutSettings()) or "").startswith(line)
