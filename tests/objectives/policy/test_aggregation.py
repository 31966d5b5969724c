"""What tokens weigh: by hand, by TRL, and over every split of a step."""

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.policy.test_clipped import batch, same

from accorda.objectives.policy.aggregation import AGGREGATIONS, Step
from accorda.objectives.policy.clipped import clipped
from accorda.objectives.policy.ratio import token_ratio

MASK = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0]])
STEP = Step(num_sequences=2, num_tokens=4, num_micro_batches=1, max_new_tokens=5)


@pytest.mark.parametrize(
    ("name", "short", "long"),
    [("grpo", 1 / 2, 1 / 6), ("bnpo", 1 / 4, 1 / 4), ("dapo", 1 / 4, 1 / 4), ("dr_grpo", 1 / 10, 1 / 10)],
)
def test_by_hand(name, short, long):
    expected = MASK * torch.tensor([[short], [long]])
    torch.testing.assert_close(AGGREGATIONS[name](MASK, STEP), expected)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_the_loss_is_trls(name):
    log_probs, others, step = batch()
    losses = clipped(token_ratio(log_probs, others["old_log_probs"]), others["advantages"][:, None])
    theirs = trl_losses.grpo(name, log_probs, others, max_completion_length=step.max_new_tokens)
    same((losses * AGGREGATIONS[name](others["mask"], step)).sum(), theirs, log_probs)


def split(name: str, size: int) -> torch.Tensor:
    """Weights of a ragged step of eight sequences, taken `size` sequences at a time."""
    mask = (torch.arange(5) < torch.tensor([1, 5, 2, 3, 5, 1, 4, 0])[:, None]).float()
    step = Step(num_sequences=8, num_tokens=21, num_micro_batches=8 // size, max_new_tokens=9)
    return torch.cat([AGGREGATIONS[name](part, step) for part in mask.split(size)])


@pytest.mark.parametrize("name", ["grpo", "dapo", "dr_grpo"])
def test_every_split_of_a_step_weighs_tokens_the_same(name):
    for size in (1, 2, 4):
        torch.testing.assert_close(split(name, size), split(name, 8))


def test_but_for_bnpo_whose_micro_batches_weigh_the_same():
    assert not torch.allclose(split("bnpo", 2), split("bnpo", 8))
    assert split("bnpo", 2).view(4, -1).sum(1).tolist() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_padding_weighs_nothing(name):
    wide = torch.cat([MASK, torch.zeros(2, 3)], 1)
    weights = AGGREGATIONS[name](wide, STEP)
    torch.testing.assert_close(weights[:, :4], AGGREGATIONS[name](MASK, STEP))
    assert (weights[:, 4:] == 0).all()
