"""Triton's code for silu(g) u, number by number."""

from accorda.kernels.jit.language import constexpr, tl, triton


@triton.jit
def forward(gate, up, out, count, SIZE: constexpr):
    """SIZE numbers."""
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = at < count
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    silu = (g / (1.0 + tl.exp(-g))).to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + at, (silu * u).to(out.dtype.element_ty), mask=inside)


@triton.jit
def backward(gate, up, gradient, towards_gate, towards_up, count, SIZE: constexpr):
    """SIZE numbers of both gradients."""
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = at < count
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    given = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32)
    sigmoid = 1.0 / (1.0 + tl.exp(-g))
    tl.store(towards_up + at, (given * g * sigmoid).to(towards_up.dtype.element_ty), mask=inside)
    result = given * u * sigmoid * (1.0 + g * (1.0 - sigmoid))
    tl.store(towards_gate + at, result.to(towards_gate.dtype.element_ty), mask=inside)
