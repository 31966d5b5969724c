"""What the operators of forward and backward passes were for, how long they took, and the products' FLOPs.

Torch's profiler tells each operator's name, shapes and time. A part of the loss or of attention is known by the
operator it is in, on the way back by its node in the graph; a product of two axes is a linear layer's or an adapter's,
one of three axes is attention's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import prod
from typing import Any

REGION = "accorda::"  # in front of the names of the stretches that are looked at
PRODUCTS, ATTENTION, LOSS, OTHER, BETWEEN = "products", "attention", "loss", "other operators", "between operators"
NAMED = {
    LOSS: ("_ChunkedLoss", "log_softmax", "LogSoftmax", "nll_loss", "NllLoss", "log_sigmoid", "LogSigmoid"),
    ATTENTION: (
        "_Attention",
        "scaled_dot_product",
        "ScaledDotProduct",
        "varlen_attn",
        "flash_attention",
        "bmm",
        "softmax",
        "Softmax",
    ),
    PRODUCTS: ("::mm", "::addmm", "::linear", "matmul", "_LowRank"),
}
FUSED = "aten::_scaled_dot_product_"
Shape = Sequence[int]


@dataclass
class Operators:
    """Seconds by what they were for, and the FLOPs of all products; of as many steps as were added up."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((PRODUCTS, ATTENTION, LOSS, OTHER), 0.0))
    flops: float = 0.0

    def shares(self, whole: float) -> dict[str, float]:
        """Parts of `whole` seconds; what no operator took lies between them."""
        busy = sum(self.seconds.values())
        whole = max(whole, busy) or 1.0
        return {kind: took / whole for kind, took in self.seconds.items()} | {BETWEEN: 1 - busy / whole}


@dataclass
class _Open:
    kind: str
    end: int
    counted: bool  # its FLOPs, or those of the operator it is in: a product may hand on to another of its name


def kind_of(name: str, outer: str | None = None) -> str:
    """What an operator is for, by its own name and by what the one that it is in is for."""
    if outer in (LOSS, ATTENTION):
        return outer
    return next((kind for kind, words in NAMED.items() if any(word in name for word in words)), outer or OTHER)


def add_up(events: Iterable[Any], found: Operators) -> None:
    """Add the operators inside regions to those found; `events` as kineto tells them.

    Where a device computes by itself its kernels' time counts, for the operator that launched each.
    """
    events = list(events)
    regions = [(e.start_ns(), e.end_ns()) for e in events if e.name().startswith(REGION)]
    kernels: dict[int, int] = {}
    for event in events:
        if (launched := event.linked_correlation_id()) and not _on_cpu(event):
            kernels[launched] = kernels.get(launched, 0) + event.duration_ns()
    inside = [e for e in events if _on_cpu(e) and _within(e.start_ns(), regions) and not e.name().startswith(REGION)]
    inside.sort(key=lambda e: (e.start_thread_id(), e.start_ns(), -e.end_ns()))
    for _, thread in groupby(inside, key=lambda e: e.start_thread_id()):
        _walk(thread, found, kernels)


def _walk(thread: Iterable[Any], found: Operators, kernels: dict[int, int]) -> None:
    """The operators of one thread in the order of their beginning, each after the one it is in."""
    above: list[_Open] = []
    for event in thread:
        while above and above[-1].end <= event.start_ns():
            above.pop()
        name = event.name()
        outer = above[-1].kind if above else None
        kind = kind_of(name, outer)
        if kernels:
            found.seconds[kind] += kernels.get(event.correlation_id(), 0) / 1e9
        else:
            found.seconds[kind] += event.duration_ns() / 1e9
            if outer is not None:
                found.seconds[outer] -= event.duration_ns() / 1e9
        counted = bool(above) and above[-1].counted
        own = 0.0 if counted else flops(name, event.shapes())
        found.flops += own
        above.append(_Open(kind, event.end_ns(), counted or own > 0))


def flops(name: str, shapes: Sequence[Shape]) -> float:
    """Multiplications and additions of a product by the shapes of its arguments; 0 for all other operators.

    A fused attention of as many queries as keys counts half its scores, since a causal one leaves out the others. On
    CUDA attention over packed segments and the fused low-rank sums tell no shapes of products here: they count nothing.
    """
    match name:
        case "aten::mm" | "aten::bmm":
            return 2.0 * prod(shapes[0]) * shapes[1][-1]
        case "aten::addmm" | "aten::baddbmm":
            return 2.0 * prod(shapes[1]) * shapes[2][-1]
    if not name.startswith(FUSED):
        return 0.0
    backward = name.endswith("_backward")
    query, key = shapes[1:3] if backward else shapes[:2]
    seen = 0.5 if query[-2] == key[-2] else 1.0
    return (10.0 if backward else 4.0) * seen * prod(query) * key[-2]


def _on_cpu(event: Any) -> bool:
    return event.device_type().name == "CPU"


def _within(start: int, regions: Sequence[tuple[int, int]]) -> bool:
    return any(begin <= start < end for begin, end in regions)
