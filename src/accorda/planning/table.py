"""Memory to load and to train against parameters and precision, by arithmetic: for models in general.

    load  = N b                             b bytes per parameter: 4 in fp32, 2 in 16 bit
    load  = L b' + (N - L) 2                a number format holds the L linears of the blocks, the rest stays in 16 bit
    full  = 16 N                            weight, gradient, two moments of AdamW, each in fp32; no copy of the base
    LoRA  = load + 16 A                     A = r sum(in + out) over those linears

N is the nominal size; L / N and A come from a published model of about that size. Activations come on top.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from accorda.quantization import formats

RANK = 16
TRAINED = 16  # bytes: fp32 weight, gradient and two moments
DENSE = {"fp32": 4, "16-bit": 2}  # bytes of a weight


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder: `matrices` in its feed-forward part, keys and values of a share of its width."""

    size: str
    nominal: float
    width: int
    inner: int
    blocks: int
    vocabulary: int
    key_value_share: float = 1.0
    matrices: int = 3

    @property
    def linears(self) -> list[tuple[int, int]]:
        """(in, out) of the linears of one block."""
        keys = round(self.width * self.key_value_share)
        attention = [(self.width, self.width), (self.width, keys), (self.width, keys), (self.width, self.width)]
        into = [(self.width, self.inner)] * (self.matrices - 1)
        return [*attention, *into, (self.inner, self.width)]

    @property
    def num_linear(self) -> int:
        """Numbers in all linears of all blocks."""
        return self.blocks * sum(i * o for i, o in self.linears)

    @property
    def num_adapter(self) -> int:
        """Parameters of LoRA on all of them."""
        return self.blocks * RANK * sum(i + o for i, o in self.linears)

    @property
    def share(self) -> float:
        """Of all parameters, those in linears of blocks."""
        return self.num_linear / (self.num_linear + 2 * self.vocabulary * self.width)


SHAPES = (
    Shape("1B", 1e9, 2048, 5632, 22, 32000, key_value_share=1 / 8),  # TinyLlama 1.1B
    Shape("3B", 3e9, 3200, 8640, 26, 32000),  # OpenLLaMA 3B
    Shape("7B", 7e9, 4096, 11008, 32, 32000),  # LLaMA
    Shape("13B", 13e9, 5120, 13824, 40, 32000),
    Shape("30B", 30e9, 6656, 17920, 60, 32000),
    Shape("65B", 65e9, 8192, 22016, 80, 32000),
    Shape("175B", 175e9, 12288, 49152, 96, 50257, matrices=2),  # GPT-3
)


@dataclass(frozen=True)
class Row:
    """Bytes of one size in one precision; `full` is None where the base cannot train."""

    size: str
    parameters: float
    precision: str
    load: float
    full: float | None
    lora: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def rows() -> list[Row]:
    """Every size in every precision."""
    return [row for shape in SHAPES for row in of(shape)]


def of(shape: Shape) -> Iterator[Row]:
    """The rows of one size."""
    for precision, load in loads(shape).items():
        full = TRAINED * shape.nominal if precision in DENSE else None
        yield Row(shape.size, shape.nominal, precision, load, full, load + TRAINED * shape.num_adapter)


def loads(shape: Shape) -> dict[str, float]:
    """Bytes of the weights by precision: dense, and in every number format, the largest first."""
    linear = shape.nominal * shape.share
    rest = 2 * (shape.nominal - linear)
    dense = {precision: size * shape.nominal for precision, size in DENSE.items()}
    numbers = sum(i * o for i, o in shape.linears)
    packed = {
        name: linear * sum(found.num_bytes(o, i) for i, o in shape.linears) / numbers + rest
        for name, found in formats().items()
    }
    return dense | dict(sorted(packed.items(), key=lambda one: -one[1]))
