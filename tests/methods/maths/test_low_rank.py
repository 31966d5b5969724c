"""The low-rank product that is added in one pass, against the formula."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from accorda.methods.maths import low_rank
from accorda.planning.ledger import Ledger


def draw(dtype: torch.dtype, of_y: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"y": (2, 5, 7), "x": (2, 5, 6), "A": (3, 6), "B": (7, 3)}
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return [tensor.to(of_y if name == "y" else dtype).requires_grad_() for name, tensor in made.items()]


@pytest.mark.parametrize("of_y", [torch.float64, torch.float32])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_adding_equals_the_formula_and_keeps_the_wider_dtype(dtype: torch.dtype, of_y: torch.dtype) -> None:
    tensors = y, x, A, B = draw(dtype, of_y)
    got, want = low_rank.add(y, x, A, B, 0.7), y + 0.7 * (x @ A.T) @ B.T
    assert got.dtype == want.dtype
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    for found, expected in zip(
        torch.autograd.grad(got.square().sum(), tensors),
        torch.autograd.grad(want.square().sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_under_autocast_a_wide_output_is_not_rounded() -> None:
    y, x, A, B = draw(torch.float32, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        got = low_rank.add(y, x, A, B, 0.0)
    assert got.dtype == torch.float32
    assert torch.equal(got, y)


LAYERS: dict[str, tuple[bool, tuple[int, ...]]] = {  # whether with a bias, and the input's shape
    "packed": (False, (1, 5, 6)),
    "packed, with a bias": (True, (1, 5, 6)),
    "padded, with a bias": (True, (2, 5, 6)),
    "rows alone": (False, (5, 6)),
}


def layer_of(bias: bool, shape: tuple[int, ...]) -> tuple[nn.Linear, list[Tensor]]:
    """A frozen layer of seven outputs; its input, A and B."""
    torch.manual_seed(0)
    drawn = [torch.randn(one, requires_grad=True) for one in (shape, (3, 6), (7, 3))]
    return nn.Linear(6, 7, bias=bias).requires_grad_(False), drawn


@pytest.mark.parametrize("layer", LAYERS)
def test_what_a_layer_made_is_written_over_and_its_gradient_never_copied(layer: str) -> None:
    linear, (x, A, B) = layer_of(*LAYERS[layer])
    y = linear(x)
    expected = (y + 0.7 * (x @ A.T) @ B.T).detach()
    at, size = y.data_ptr(), y.nbytes
    ledger = Ledger()
    with ledger:
        found = low_rank.add(y, x, A, B, 0.7)
    del y
    assert found.data_ptr() == at
    assert list(ledger.sizes.values()).count(size) == 1  # it is told when it is seen for the first time
    torch.testing.assert_close(found, expected)
    towards = torch.ones_like(found)
    ledger = Ledger()
    with ledger:
        gradients = torch.autograd.grad(found, (x, A, B), towards)
    assert list(ledger.sizes.values()).count(size) == 1  # `towards`
    naive = linear(x) + 0.7 * (x @ A.T) @ B.T
    for one, other in zip(gradients, torch.autograd.grad(naive, (x, A, B), towards), strict=True):
        torch.testing.assert_close(one, other)


OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "a parameter": lambda y: nn.Parameter(y),
    "a part of more": lambda y: torch.cat([y, y], -1)[..., :7],
    "in another order": lambda y: y.transpose(1, 2).contiguous().transpose(1, 2),
    "rows in a batch": lambda y: torch.cat([y, y]).clone(),
}


@pytest.mark.parametrize("other", OTHERS)
def test_anything_else_is_left_as_it_is(other: str) -> None:
    linear, (x, A, B) = layer_of(False, (1, 5, 6))
    y = OTHERS[other](linear(x).detach())
    x = x.detach().expand(len(y), -1, -1)
    whole = y if y._base is None else y._base
    before = whole.detach().clone()
    found = low_rank.add(y, x, A, B, 0.7)
    assert torch.equal(whole, before)
    torch.testing.assert_close(found, y + 0.7 * (x @ A.T) @ B.T)


def test_without_a_graph_too() -> None:
    linear, (x, A, B) = layer_of(False, (1, 5, 6))
    with torch.no_grad():
        y = linear(x)
        expected = y + 0.7 * (x @ A.T) @ B.T
        found = low_rank.add(y, x, A, B, 0.7)
    assert found is y
    torch.testing.assert_close(found, expected)


class Viewing(torch.autograd.Function):
    """A layer that gives a view of what it made, as kernels do: nothing but its own way back knows its input."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)
        return (x.reshape(-1, x.shape[-1]) @ weight.T).view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0] @ ctx.saved_tensors[0], None


@pytest.mark.parametrize("shape", [(1, 5, 6), (2, 5, 6), (5, 6)])
def test_a_layer_that_gives_a_view_keeps_its_way_back(shape: tuple[int, ...]) -> None:
    linear, (x, A, B) = layer_of(False, shape)
    found = low_rank.add(Viewing.apply(x, linear.weight), x, A, B, 0.7)
    naive = linear(x) + 0.7 * (x @ A.T) @ B.T
    torch.testing.assert_close(found, naive)
    towards = torch.randn_like(naive)
    for one, other in zip(
        torch.autograd.grad(found, (x, A, B), towards), torch.autograd.grad(naive, (x, A, B), towards), strict=True
    ):
        torch.testing.assert_close(one, other)
