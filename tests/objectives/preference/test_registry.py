"""The folder's algorithms by name, and what all of them keep."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tests.objectives.preference.pairs import random_pairs

from accorda.errors import Refusal
from accorda.objectives import preference
from accorda.objectives.preference.contract import PairAlgorithm, Pairs
from accorda.objectives.preference.dpo import DPO
from accorda.objectives.preference.kto import KTO
from accorda.objectives.preference.registry import algorithms, read
from accorda.recipe.named import name_of

PAIRED = {name: cls for name, cls in algorithms().items() if issubclass(cls, PairAlgorithm)}


def test_every_file_is_an_algorithm():
    names = {path.stem for path in Path(preference.__path__[0]).glob("*.py")} - {"__init__", "contract", "registry"}
    assert set(algorithms()) == names
    assert {name_of(cls) for cls in algorithms().values()} == names
    assert set(algorithms()) - set(PAIRED) == {"kto"}


def test_a_recipes_section_is_read_strictly():
    assert read({"name": "dpo", "beta": 0.5}) == DPO(beta=0.5)
    assert read({"name": "kto", "undesirable_weight": 2.0}) == KTO(undesirable_weight=2.0)
    with pytest.raises(Refusal, match=r"no such algorithm of preference.*did you mean"):
        read({"name": "dppo"})
    with pytest.raises(Refusal, match=r"no such algorithm of preference.*choose one of"):
        read({})
    with pytest.raises(Refusal, match=r"algorithm\.betta"):
        read({"name": "dpo", "betta": 0.5})
    with pytest.raises(Refusal, match=r"algorithm\.label_smoothing"):
        read({"name": "robust_dpo", "label_smoothing": 0.5})
    with pytest.raises(Refusal, match=r"algorithm\.beta"):
        read({"name": "ipo", "beta": 0.0})


def part(pairs: Pairs, rows: torch.Tensor) -> Pairs:
    return Pairs(**{field.name: getattr(pairs, field.name)[rows] for field in dataclasses.fields(pairs)})


@pytest.mark.parametrize("cls", PAIRED.values(), ids=list(PAIRED))
def test_one_loss_per_pair_whatever_the_batch(cls):
    pairs = random_pairs()
    order = torch.randperm(7)
    losses = cls().losses(pairs)
    assert losses.shape == (7,)
    torch.testing.assert_close(cls().losses(part(pairs, order)), losses[order])
    torch.testing.assert_close(torch.cat([cls().losses(part(pairs, rows)) for rows in order.split(3)]), losses[order])


@pytest.mark.parametrize("cls", PAIRED.values(), ids=list(PAIRED))
def test_gradients_are_those_of_finite_differences_and_point_to_chosen(cls):
    pairs = random_pairs()

    def losses(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return cls().losses(dataclasses.replace(pairs, policy_chosen=chosen, policy_rejected=rejected))

    policy = (pairs.policy_chosen, pairs.policy_rejected)
    assert torch.autograd.gradcheck(losses, policy)
    towards_chosen, towards_rejected = torch.autograd.grad(losses(*policy).sum(), policy)
    assert (towards_chosen < 0).all()
    assert (towards_rejected > 0).all()


@pytest.mark.parametrize("cls", PAIRED.values(), ids=list(PAIRED))
def test_an_algorithm_that_says_it_needs_a_reference_reads_it_and_no_other_does(cls):
    pairs = random_pairs()
    moved = dataclasses.replace(pairs, reference_chosen=pairs.reference_chosen - 0.1)
    changed = not torch.allclose(cls().losses(moved), cls().losses(pairs))
    assert changed == cls.needs_reference
