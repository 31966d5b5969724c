"""Triton's code for weights in 4-bit codes: look-up, both scales and the product in one pass over the packed bytes.

A number of W (N, K) with flat place i = n K + k has its code in byte i / 2 and its scale in block i / BLOCK. With
double quantization the scale is MAP[absmax[block]] * nested[block / 256] + offset; it is formed where it is used.
W's tile is rounded to the inputs' dtype, as the dense weight would be; products are summed in float32.
"""

from accorda.kernels.jit.language import constexpr, tl, triton


@triton.jit
def tile(
    place, inside, codes, absmax, nested, offset, values, table, BLOCK: constexpr, NESTED: constexpr, DOUBLE: constexpr
):
    """W's numbers at the flat places, float32; zero where they are not inside."""
    byte = tl.load(codes + place // 2, mask=inside, other=0).to(tl.int32)
    code = tl.where(place % 2 == 0, byte >> 4, byte & 15)
    value = tl.load(values + code)
    block = place // BLOCK
    scale = tl.load(absmax + block, mask=inside, other=0)
    if DOUBLE:
        scale = tl.load(table + scale.to(tl.int32))
        scale = scale * tl.load(nested + block // NESTED, mask=inside, other=0.0) + tl.load(offset)
    return tl.where(inside, value * scale, 0.0)


@triton.jit
def dequantize(
    out,
    count,
    codes,
    absmax,
    nested,
    offset,
    values,
    table,
    BLOCK: constexpr,
    NESTED: constexpr,
    DOUBLE: constexpr,
    SIZE: constexpr,
):
    """The dense weight, SIZE numbers per program."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = place < count
    dense = tile(place, inside, codes, absmax, nested, offset, values, table, BLOCK, NESTED, DOUBLE)
    tl.store(out + place, dense.to(out.dtype.element_ty), mask=inside)


@triton.jit
def matmul(
    out,
    x,
    M,
    N,
    K,
    codes,
    absmax,
    nested,
    offset,
    values,
    table,
    BLOCK: constexpr,
    NESTED: constexpr,
    DOUBLE: constexpr,
    BACK: constexpr,
    ROWS: constexpr,
    COLUMNS: constexpr,
    DEPTH: constexpr,
    EXACT: constexpr,
):
    """Inputs (M, K) @ W.T to (M, N), or where BACK, (M, N) @ W to (M, K); a tile of ROWS times COLUMNS per program."""
    width, depth = (K, N) if BACK else (N, K)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, depth, DEPTH):
        step = start + tl.arange(0, DEPTH)
        given = (row[:, None] < M) & (step[None, :] < depth)
        left = tl.load(x + row[:, None].to(tl.int64) * depth + step[None, :], mask=given, other=0.0)
        if BACK:
            place = step[:, None].to(tl.int64) * K + column[None, :]
        else:
            place = column[None, :].to(tl.int64) * K + step[:, None]
        inside = (step[:, None] < depth) & (column[None, :] < width)
        right = tile(place, inside, codes, absmax, nested, offset, values, table, BLOCK, NESTED, DOUBLE)
        total += tl.dot(left, right.to(left.dtype), input_precision="ieee" if EXACT else "tf32")
    where = (row[:, None] < M) & (column[None, :] < width)
    tl.store(out + row[:, None].to(tl.int64) * width + column[None, :], total.to(out.dtype.element_ty), mask=where)
