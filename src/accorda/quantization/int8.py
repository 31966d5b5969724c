"""Weight-only 8-bit integers, row by row: Dettmers, Lewis, Belkada, Zettlemoyer, 2022, LLM.int8(), arXiv 2208.07339.

    SCB[o] = max_i |W[o, i]|        CB[o, i] = round(127 W[o, i] / SCB[o])        W ~ CB SCB / 127

Layout as in bitsandbytes: CB int8 (out, in), SCB float32 (out,). An entry is off by at most SCB / 254. Left out: the
paper's outlier columns and 8-bit activations; inputs keep their dtype, only the frozen weight is small.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accorda.quantization.contract import Format, QuantizedLinear

LARGEST = 127
PIECE = 1 << 19  # numbers quantized at once
ROW_MAJOR = 0  # bitsandbytes' number for the layout


@dataclass(frozen=True)
class Int8Tensor:
    """A weight as rows of integers `CB` (out, in) with their largest magnitudes `SCB` (out,)."""

    CB: Tensor
    SCB: Tensor

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The dense weight (out, in)."""
        return (self.CB.float() * (self.SCB / LARGEST)[:, None]).to(dtype)

    def matmul(self, x: Tensor) -> Tensor:
        """Inputs (..., in) to x @ W.T (..., out)."""
        return F.linear(x, self.dequantize(x.dtype))

    def matmul_back(self, gradient: Tensor) -> Tensor:
        """Gradients (..., out) to gradient @ W (..., in)."""
        return gradient @ self.dequantize(gradient.dtype)

    @property
    def num_bytes(self) -> int:
        """Bytes it holds."""
        return self.CB.nbytes + self.SCB.nbytes


def quantize_int8(weight: Tensor) -> Int8Tensor:
    """Round each row of a weight (out, in) to 255 steps of its largest magnitude; a row of zeros stays zero."""
    CB = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    SCB = torch.empty(len(weight), device=weight.device)
    rows = len(weight) if weight.is_meta else max(1, PIECE // weight.shape[1])
    for start in range(0, len(weight), rows):
        dense = weight.detach()[start : start + rows].to(torch.float32, copy=True)
        absmax = dense.abs().amax(dim=1)
        steps = torch.where(absmax > 0, LARGEST / absmax, 0.0)
        SCB[start : start + rows] = absmax
        CB[start : start + rows] = dense.mul_(steps[:, None]).round_()
    return Int8Tensor(CB, SCB)


class Int8Linear(QuantizedLinear):
    """A frozen linear layer on an int8 weight."""

    held = ("CB", "SCB")
    CB: nn.Parameter
    SCB: nn.Parameter

    def __init__(self, weight: Int8Tensor, bias: nn.Parameter | None = None, was_conv1d: bool = False):
        out_features, in_features = weight.CB.shape
        super().__init__(in_features, out_features, bias, was_conv1d)
        self.hold(weight.CB, weight.SCB)

    def assembled(self, *parts: Tensor | None) -> Int8Tensor:
        """The weight from CB and SCB."""
        CB, SCB = parts
        assert CB is not None
        assert SCB is not None
        return Int8Tensor(CB, SCB)

    def stored(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The weight as bitsandbytes names its parts in a checkpoint."""
        layout = torch.tensor(ROW_MAJOR, dtype=torch.uint8)
        return {"weight": self.CB.data, "SCB": self.SCB.data, "weight_format": layout}

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint's config.json says of such weights; without a threshold, all columns are 8-bit."""
        return {"load_in_8bit": True}


def _read(stored: Mapping[str, Tensor]) -> Int8Tensor:
    return Int8Tensor(stored["weight"], stored["SCB"].float())


def _num_bytes(out_features: int, in_features: int) -> int:
    """One byte per entry, four per row."""
    return out_features * in_features + 4 * out_features


def _declared(said: Mapping[str, Any]) -> bool:
    return bool(said.get("load_in_8bit"))


def _parts(path: str, names: Collection[str]) -> dict[str, str]:
    """Where the scales of rows lie beside a weight; bitsandbytes' number of the layout may."""
    found = {name: f"{path}.{name}" for name in ("weight", "SCB", "weight_format") if f"{path}.{name}" in names}
    return found if "SCB" in found else {}


FORMAT = Format("int8", quantize_int8, Int8Linear, _num_bytes, _read, _declared, _parts)
