"""Triton's code for the loss: a running maximum and sum over a row, then the gradient in a second reading."""

from accorda.kernels.jit.language import constexpr, tl, triton


@triton.jit
def softmax_loss(logits, labels, weights, losses, V, WEIGHTED: constexpr, SIZE: constexpr):
    """One row (V,) of logits: its loss, and in its place the gradient towards it."""
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels + row)
    top = -3.0e38  # finite, so that a part that is all -inf adds nothing instead of nan
    total = 0.0
    for start in range(0, V, SIZE):
        at = start + tl.arange(0, SIZE)
        score = tl.load(logits + row * V + at, mask=at < V, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(top, tl.max(score, 0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(score - higher), 0)
        top = higher
    share = 1.0
    if WEIGHTED:
        share = tl.load(weights + row)
    at_label = tl.load(logits + row * V + label).to(tl.float32)
    tl.store(losses + row, (tl.log(total) + top - at_label) * share)
    for start in range(0, V, SIZE):
        at = start + tl.arange(0, SIZE)
        score = tl.load(logits + row * V + at, mask=at < V, other=float("-inf")).to(tl.float32)
        gradient = (tl.exp(score - top) / total - tl.where(at == label, 1.0, 0.0)) * share
        tl.store(logits + row * V + at, gradient.to(logits.dtype.element_ty), mask=at < V)
