"""AdamW with 8-bit states: Dettmers et al., 2022, "8-bit Optimizers via Block-wise Quantization" (arXiv:2110.02861).

    m = b1 D(m8) + (1 - b1) g,   v = b2 D(v8) + (1 - b2) g^2
    theta -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay theta)
    m8, v8 = Q(m), Q(v)

Q takes blocks of 256 numbers, divides by the largest magnitude of the block (kept in fp32) and takes the nearest entry
of the dynamic map, signed for m, unsigned for v. The update uses the moments before they are rounded. Tensors of less
than 4096 numbers keep fp32 states; of larger ones a parameter's take 2.03 bytes.

Differs from the paper: blocks of 256, not 2048, as bitsandbytes ships it today.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from accorda.quantization.dynamic_map import dynamic_map, nearest
from accorda.training.optimizers.adamw import AdamW
from accorda.training.optimizers.contract import Groups
from accorda.training.optimizers.piecewise import Entry, Piecewise

BLOCK, LEAST = 256, 4096


@dataclass(frozen=True, kw_only=True)
class AdamW8bit(AdamW):
    """AdamW on a quarter of the memory: two moments of a byte each."""

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """The optimizer; `lr` is 0 until the loop sets it."""
        return AdamW8bitOptimizer(groups, self)

    def bytes_per_parameter(self, shape: Sequence[int]) -> float:
        """Two bytes and two fp32 constants a block."""
        return 2 + 8 / BLOCK if prod(shape) >= LEAST else 8.0


class AdamW8bitOptimizer(Piecewise):
    """The update of the module's formula."""

    def __init__(self, groups: Groups, settings: AdamW, budget: int | None = None, folder: str | None = None) -> None:
        self.settings = settings
        super().__init__(groups, budget, folder)

    def layout(self, parameter: nn.Parameter) -> dict[str, Entry]:
        """Codes and their blocks' constants, or fp32 moments of small tensors."""
        if parameter.numel() < LEAST:
            return {"m": Entry(torch.float32), "v": Entry(torch.float32)}
        constants = Entry(torch.float32, BLOCK)
        return {"m": Entry(torch.uint8), "m_absmax": constants, "v": Entry(torch.uint8), "v_absmax": constants}

    def update(
        self, parameter: Tensor, gradient: Tensor, states: Mapping[str, Tensor], group: Mapping[str, Any], step: int
    ) -> None:
        """All arithmetic in fp32."""
        beta1, beta2 = self.settings.beta1, self.settings.beta2
        gradient = gradient.float()
        m = _read(states, "m", signed=True).lerp_(gradient, 1 - beta1)
        v = _read(states, "v", signed=False).lerp_(gradient.square(), 1 - beta2)
        _write(states, "m", m, signed=True)
        _write(states, "v", v, signed=False)
        root = v.div_(1 - beta2**step).sqrt_().add_(self.settings.epsilon)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_((m / root).to(parameter.dtype), alpha=group["lr"] / (1 - beta1**step))


def _read(states: Mapping[str, Tensor], name: str, *, signed: bool) -> Tensor:
    """A moment (N,) in fp32, a tensor of its own."""
    codes = states[name]
    if codes.dtype == torch.float32:
        return codes.clone()
    table = dynamic_map(signed=signed).to(codes.device)
    return table[codes.int()].mul_(_spread(states[f"{name}_absmax"], codes.numel()))


def _write(states: Mapping[str, Tensor], name: str, moment: Tensor, *, signed: bool) -> None:
    """Keep a moment (N,)."""
    if states[name].dtype == torch.float32:
        states[name].copy_(moment)
        return
    whole = nn.functional.pad(moment, (0, -moment.numel() % BLOCK)).view(-1, BLOCK)
    constants = states[f"{name}_absmax"].copy_(whole.abs().amax(1))
    table = dynamic_map(signed=signed).to(moment.device)
    # A block of zeros has the constant 0; dividing by 1 gives the code of 0.
    scaled = moment / _spread(constants.where(constants > 0, 1.0), moment.numel())
    states[name].copy_(nearest(scaled, table))


def _spread(constants: Tensor, numbers: int) -> Tensor:
    """A constant for each number of its block."""
    return constants.repeat_interleave(BLOCK)[:numbers]
