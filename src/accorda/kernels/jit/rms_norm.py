"""Triton's code for root mean square normalization: a row (D,) is read once and held."""

from accorda.kernels.jit.language import constexpr, tl, triton


@triton.jit
def forward(x, weight, out, scales, eps, D, FROM_ONE: constexpr, SIZE: constexpr):
    """One row; its scale 1 / sqrt(mean + eps) is kept for the way back."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, SIZE)
    inside = at < D
    value = tl.load(x + row * D + at, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(value * value, 0) / D + eps)
    tl.store(scales + row, scale)
    normalized = value * scale
    if FROM_ONE:
        w += 1.0
    else:
        normalized = normalized.to(x.dtype.element_ty).to(tl.float32)
    result = normalized * w
    tl.store(out + row * D + at, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def backward(
    x,
    weight,
    scales,
    gradient,
    towards,
    sums,
    count,
    D,
    each,
    FROM_ONE: constexpr,
    TRAINS: constexpr,
    SIZE: constexpr,
):
    """`each` rows one after the other, and where the weight trains their sum of gradient times normalized x."""
    program = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, SIZE)
    inside = at < D
    w = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    if FROM_ONE:
        w += 1.0
    total = tl.zeros((SIZE,), dtype=tl.float32)
    for row in range(program * each, tl.minimum(program * each + each, count)):
        value = tl.load(x + row * D + at, mask=inside, other=0.0).to(tl.float32)
        given = tl.load(gradient + row * D + at, mask=inside, other=0.0).to(tl.float32)
        scale = tl.load(scales + row)
        normalized = value * scale
        weighted = given * w
        along = tl.sum(weighted * normalized, 0) / D
        result = (weighted - normalized * along) * scale
        tl.store(towards + row * D + at, result.to(towards.dtype.element_ty), mask=inside)
        total += given * normalized
    if TRAINS:
        tl.store(sums + program * D + at, total, mask=inside)
