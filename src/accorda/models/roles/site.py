"""The places of a model, as values."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Stack = Literal["", "encoder", "decoder"]  # "" where the model has one stack


@dataclass(frozen=True, eq=False)
class Site:
    """A linear layer, a norm, an embedding or a head, or one part of a fused projection.

    `rows` are the output rows of that part (CPU, int64), None for the whole module. `out_features` counts those rows.
    `block` is the index of the block within its stack, -1 outside blocks.
    """

    name: str
    role: str
    module: nn.Module
    in_features: int
    out_features: int
    block: int = -1
    stack: Stack = ""
    rows: Tensor | None = None

    @property
    def leaf(self) -> str:
        """The last part of the module's name."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, eq=False)
class Block:
    """One transformer layer; `index` counts within its stack."""

    name: str
    module: nn.Module
    index: int
    stack: Stack = ""


@dataclass(frozen=True, eq=False)
class Attention:
    """The module that calls the attention function; `role` is "attention" or "cross_attention"."""

    name: str
    module: nn.Module
    role: str
    stack: Stack
    block: int
    num_key_value_heads: int
    head_dim: int
