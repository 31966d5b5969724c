"""Each fused kernel against its reference: by Triton's interpreter on a CPU, compiled on a GPU."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from accorda.kernels import low_rank, rms_norm, rotary, softmax_loss, swiglu, triton

CLOSE = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compare(device: str, dtype: torch.dtype, use: Callable[..., Tensor], expected: Callable[..., Tensor], *inputs):
    """The values and the gradients towards every input, within rounding of the reference in float64."""
    given = [x.to(device, dtype).requires_grad_() for x in inputs]
    exact = [x.detach().double().requires_grad_() for x in given]
    got, wanted = use(*given), expected(*exact)
    weights = draw(*got.shape, seed=9).to(device)
    found = torch.autograd.grad((got * weights).sum(), given)
    right = torch.autograd.grad((wanted * weights.double()).sum(), exact)
    for mine, reference in zip((got, *found), (wanted, *right), strict=True):
        scale = float(reference.detach().abs().max()) + 1e-6
        torch.testing.assert_close(mine.double(), reference, atol=CLOSE[dtype] * scale, rtol=0)


def compare_norm(device: str, dtype: torch.dtype) -> None:
    for shape in ((1, 5), (7, 64), (2, 3, 100), (600, 33)):
        for from_one in (False, True):

            def naive(x, w, one=from_one):
                return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * (w + one)

            compare(
                *(device, dtype, lambda x, w, one=from_one: rms_norm.rms_norm(x, w, 1e-5, from_one=one), naive),
                *(3 * draw(*shape), draw(shape[-1], seed=1)),
            )


def compare_swiglu(device: str, dtype: torch.dtype) -> None:
    for shape in ((1, 5), (3, 7, 200), (2, 1500)):
        compare(
            *(device, dtype, swiglu.swiglu, lambda g, u: g / (1 + (-g).exp()) * u, 2 * draw(*shape)),
            draw(*shape, seed=1),
        )


def angles(tokens: int, width: int, batch: int) -> tuple[Tensor, Tensor]:
    angle = 5 * draw(batch, tokens, width // 2, seed=3).repeat(1, 1, 2)
    return angle.cos(), angle.sin()


def compare_rotary(device: str, dtype: torch.dtype) -> None:
    for batch, heads, tokens, width, own in ((1, 3, 5, 8, 1), (2, 9, 4, 12, 1), (2, 2, 3, 64, 2)):
        cos, sin = (x.to(device, dtype) for x in angles(tokens, width, own))

        def naive(x, c=cos, s=sin):
            a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
            c, s = (y.double()[:, None, :, : y.shape[-1] // 2] for y in (c, s))
            return torch.cat([a * c - b * s, b * c + a * s], -1)

        lies = draw(batch, tokens, heads, width)  # as the projection before has it
        compare(
            device,
            dtype,
            lambda x, c=cos, s=sin: rotary.rotate(x.transpose(1, 2), c, s),
            lambda x, f=naive: f(x.transpose(1, 2)),
            lies,
        )
        x = lies.transpose(1, 2).to(device, dtype)
        assert torch.equal(rotary.rotate(x, cos, sin), rotary.reference(x, cos, sin))


def compare_low_rank(device: str, dtype: torch.dtype) -> None:
    for tokens, inner, outer, rank in ((5, 7, 9, 1), (70, 33, 130, 16), (1100, 8, 300, 5), (64, 48, 64, 64)):
        compare(
            *(device, dtype, lambda y, x, A, B: low_rank.add(y, x, A, B, 0.7)),
            lambda y, x, A, B: y + 0.7 * x @ A.T @ B.T,
            *(
                draw(2, tokens, outer),
                draw(2, tokens, inner, seed=1),
                draw(rank, inner, seed=2),
                draw(outer, rank, seed=4),
            ),
        )


def compare_loss(device: str, dtype: torch.dtype) -> None:
    for rows, vocabulary in ((1, 3), (5, 4097), (3, 9000)):
        logits = (3 * draw(rows, vocabulary)).to(device, dtype)
        logits[0, 0] = -torch.inf
        labels = torch.randint(1, vocabulary, (rows,), generator=torch.Generator().manual_seed(1)).to(device)
        for weights in (None, draw(rows, seed=2).to(device)):
            exact = logits.double().requires_grad_()
            losses = exact.logsumexp(-1) - exact.gather(-1, labels[:, None])[:, 0]
            loss = (losses if weights is None else losses * weights.double()).sum()
            (right,) = torch.autograd.grad(loss, exact)
            towards = logits.clone()
            got = softmax_loss.softmax_loss_(towards, labels, weights)
            assert got.dtype == torch.float32
            torch.testing.assert_close(got.double(), loss.detach(), atol=1e-4, rtol=1e-5)
            torch.testing.assert_close(towards.double(), right, atol=CLOSE[dtype], rtol=CLOSE[dtype])
    logits[0, 1] = torch.nan
    assert softmax_loss.softmax_loss_(logits, labels).isnan()


COMPARISONS = {
    "rms_norm": compare_norm,
    "swiglu": compare_swiglu,
    "rotary": compare_rotary,
    "low_rank": compare_low_rank,
    "softmax_loss": compare_loss,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", COMPARISONS)
def test_the_reference_is_the_formula(name, dtype):
    assert not triton.runs_on(torch.device("cpu"))
    COMPARISONS[name]("cpu", dtype)


def interpreted() -> None:
    """What the test below runs; the interpreter cuts bfloat16 off instead of rounding it, so numbers are float32."""
    assert triton.runs_on(torch.device("cpu"))
    for compare_one in COMPARISONS.values():
        compare_one("cpu", torch.float32)


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_interpreted():
    """In a process of its own: the variable must be set before triton is imported."""
    done = subprocess.run(
        [sys.executable, "-c", "from tests.kernels.test_kernels import interpreted; interpreted()"],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", COMPARISONS)
def test_on_a_gpu(name, dtype):
    assert triton.runs_on(torch.device("cuda"))
    COMPARISONS[name]("cuda", dtype)
