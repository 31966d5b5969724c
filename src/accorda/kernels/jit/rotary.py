"""Triton's code for rotary embedding: a program turns all heads of one token."""

from accorda.kernels.jit.language import constexpr, tl, triton


@triton.jit
def rotate(
    x,
    cos,
    sin,
    out,
    heads,
    tokens,
    K,
    rows,
    x_batch,
    x_head,
    x_token,
    out_batch,
    out_head,
    out_token,
    BACK: constexpr,
    HEADS: constexpr,
    HALF: constexpr,
):
    """HEADS heads at a time, as halves a and b; `rows`: from one batch row's angles to the next's, 0 if they share."""
    program = tl.program_id(0).to(tl.int64)
    batch, token = program // tokens, program % tokens
    half = K // 2
    column = tl.arange(0, HALF)
    angle = batch * rows + token * K + column
    inside = column < half
    cos_a = tl.load(cos + angle, mask=inside, other=0.0).to(tl.float32)[None, :]
    cos_b = tl.load(cos + angle + half, mask=inside, other=0.0).to(tl.float32)[None, :]
    sin_a = tl.load(sin + angle, mask=inside, other=0.0).to(tl.float32)[None, :]
    sin_b = tl.load(sin + angle + half, mask=inside, other=0.0).to(tl.float32)[None, :]
    for start in range(0, heads, HEADS):
        head = start + tl.arange(0, HEADS)
        here = (head[:, None] < heads) & inside[None, :]
        source = x + batch * x_batch + token * x_token + head[:, None] * x_head + column[None, :]
        a = tl.load(source, mask=here, other=0.0).to(tl.float32)
        b = tl.load(source + half, mask=here, other=0.0).to(tl.float32)
        dtype = out.dtype.element_ty
        if BACK:
            new_a = (a * cos_a).to(dtype).to(tl.float32) + (b * sin_b).to(dtype).to(tl.float32)
            new_b = (b * cos_b).to(dtype).to(tl.float32) - (a * sin_a).to(dtype).to(tl.float32)
        else:
            new_a = (a * cos_a).to(dtype).to(tl.float32) - (b * sin_a).to(dtype).to(tl.float32)
            new_b = (b * cos_b).to(dtype).to(tl.float32) + (a * sin_b).to(dtype).to(tl.float32)
        target = out + batch * out_batch + token * out_token + head[:, None] * out_head + column[None, :]
        tl.store(target, new_a.to(dtype), mask=here)
        tl.store(target + half, new_b.to(dtype), mask=here)
