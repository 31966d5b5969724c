"""One decoded token's attention beside the formula in double precision."""

import pytest
import torch

from accorda.models import one_query
from accorda.models.kernels import Scoring, attend
from accorda.models.one_query import attend_one, runs_here

ROWS, HEADS, LENGTH, WIDTH = 5, 6, 11, 8


def drawn(groups, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (ROWS, HEADS, 1, WIDTH), (ROWS, groups, LENGTH, WIDTH), (ROWS, groups, LENGTH, WIDTH)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def by_definition(q, k, v, mask, scaling):
    """Head by head in fp64."""
    out = torch.empty(ROWS, HEADS, 1, WIDTH, dtype=torch.float64)
    for row in range(ROWS):
        for head in range(HEADS):
            group = head * k.shape[1] // HEADS
            scores = k[row, group].double() @ q[row, head, 0].double() * scaling
            if mask is not None:
                scores = scores.masked_fill(~mask[row, 0, 0], -torch.inf)
            out[row, head, 0] = scores.softmax(0) @ v[row, group].double()
    return out


def some_hidden():
    mask = torch.ones(ROWS, 1, 1, LENGTH, dtype=torch.bool)
    mask[0, ..., :4] = False
    mask[3, ..., -2:] = False
    return mask


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("groups", [6, 2, 1])
@pytest.mark.parametrize("at_once", [1, 2 * LENGTH * WIDTH, 2**20])
@pytest.mark.parametrize("masked", [None, "boolean", "added"])
@torch.no_grad()
def test_it_is_the_formula(masked, at_once, groups, dtype, monkeypatch):
    monkeypatch.setattr(one_query, "WIDENED_AT_ONCE", at_once)
    q, k, v = drawn(groups, dtype)
    mask = None if masked is None else some_hidden()
    expected = by_definition(q, k, v, mask, 0.3)
    if masked == "added":
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    found = attend_one(q, k, v, mask, 0.3)
    assert found.dtype == dtype
    # only the output is rounded: half a unit in the last place
    assert torch.allclose(found.double(), expected, rtol=torch.finfo(dtype).eps / 2, atol=1e-6)


@torch.no_grad()
def test_attend_takes_it_and_says_the_same_as_for_several_queries():
    q, k, v = drawn(2, torch.bfloat16)
    mask = some_hidden()
    scoring = Scoring(causal=True)
    several = attend(q.float().expand(-1, -1, 2, -1), k.float(), v.float(), scoring, mask=mask.expand(-1, -1, 2, -1))
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(q, k, v, scoring, mask=mask)
    assert torch.allclose(found.float(), several[:, :, 1:], rtol=2**-8, atol=1e-6)


def test_only_narrow_single_queries_without_a_gradient():
    q = torch.zeros(1, 2, 1, 4, dtype=torch.bfloat16)
    assert not runs_here(q)  # a gradient may be asked for
    with torch.no_grad():
        assert runs_here(q)
        assert not runs_here(q.float())
        assert not runs_here(q.expand(-1, -1, 2, -1))
        assert not runs_here(q.to("meta"))
