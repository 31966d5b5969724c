"""Adapters on modules, as PEFT's files need them: PEFT knows whole modules, ours may act on parts of a fused one."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from accorda.methods import host
from accorda.methods.contract import Adapter
from accorda.methods.install import hosts
from accorda.quantization import QuantizedLinear

T = TypeVar("T", bound=Adapter)
Part = tuple[str, T, Tensor | None]  # key on its module, adapter, output rows (None: all)


def hosted(
    model: PreTrainedModel, name: str, kinds: tuple[type[T], ...]
) -> Iterator[tuple[str, nn.Module, list[Part[T]]]]:
    """The modules with adapters of these classes under a name, and the parts on each."""
    for path, module in hosts(model):
        parts: list[Part[T]] = [
            (one.key, one.adapter, one.base.rows) for one in host.placed(module, name) if isinstance(one.adapter, kinds)
        ]
        if parts:
            yield path, module, parts


def is_conv1d(module: nn.Module) -> bool:
    """Whether the base's own module, dense, holds its weight as (in, out)."""
    return isinstance(module, Conv1D) or (isinstance(module, QuantizedLinear) and module.was_conv1d)


def is_whole(parts: Sequence[Part[T]]) -> bool:
    """Whether one adapter acts on the whole module."""
    return len(parts) == 1 and parts[0][2] is None


def spread(B: Tensor, rows: Tensor | None, out_features: int) -> Tensor:
    """B (O', R) of a part as one of the whole module (O, R), zero outside its rows."""
    return B if rows is None else B.new_zeros(out_features, B.shape[1]).index_copy(0, rows, B)
