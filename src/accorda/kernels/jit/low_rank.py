"""Triton's code for y + s B z: the sum in one pass over y; back, two thin products that share their wide factor."""

from accorda.kernels.jit.language import constexpr, tl, triton


@triton.jit
def there(
    y,
    inner,
    b,
    out,
    scaling,
    count,
    width,
    rank,
    EXACT: constexpr,
    RANK: constexpr,
    COLUMNS: constexpr,
    ROWS: constexpr,
):
    """A tile of ROWS times COLUMNS of the sum."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    r = tl.arange(0, RANK)
    wide = (r[:, None] < rank) & (column[None, :] < width)
    thin = (row[:, None] < count) & (r[None, :] < rank)
    inside = (row[:, None] < count) & (column[None, :] < width)
    z = tl.load(inner + row[:, None] * rank + r[None, :], mask=thin, other=0.0)
    factor = tl.load(b + column[None, :] * rank + r[:, None], mask=wide, other=0.0)
    change = tl.dot(z, factor, input_precision="ieee" if EXACT else "tf32") * scaling
    place = row[:, None] * width + column[None, :]
    total = tl.load(y + place, mask=inside, other=0.0).to(tl.float32) + change
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def back(
    gradient,
    inner,
    b,
    towards_inner,
    towards_b,
    count,
    width,
    rank,
    each,
    EXACT: constexpr,
    RANK: constexpr,
    COLUMNS: constexpr,
    ROWS: constexpr,
):
    """COLUMNS columns of the gradient (T, O) and `each` of its rows: their share of both sums over rows or columns."""
    block, part = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    r = tl.arange(0, RANK)
    wide = (column[:, None] < width) & (r[None, :] < rank)
    factor = tl.load(b + column[:, None] * rank + r[None, :], mask=wide, other=0.0)
    total = tl.zeros((COLUMNS, RANK), dtype=tl.float32)
    for start in range(0, each, ROWS):
        row = part * each + start + tl.arange(0, ROWS)
        inside = (row[:, None] < count) & (column[None, :] < width)
        thin = (row[:, None] < count) & (r[None, :] < rank)
        given = tl.load(gradient + row[:, None] * width + column[None, :], mask=inside, other=0.0)
        z = tl.load(inner + row[:, None] * rank + r[None, :], mask=thin, other=0.0)
        total += tl.dot(tl.trans(given), z, input_precision="ieee" if EXACT else "tf32")
        found = tl.dot(given, factor, input_precision="ieee" if EXACT else "tf32")
        tl.store(towards_inner + block * count * rank + row[:, None] * rank + r[None, :], found, mask=thin)
    tl.store(towards_b + part * width * rank + column[:, None] * rank + r[None, :], total, mask=wide)
