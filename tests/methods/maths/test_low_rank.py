"""The low-rank product that is added in one pass, against the formula."""

import pytest
import torch

from accorda.methods.maths import low_rank


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
