"""Adafactor: Shazeer and Stern, 2018, "Adaptive Learning Rates with Sublinear Memory Cost" (arXiv:1804.04235).

For a matrix G (n, m) at step t, algorithm 4:

    b_t = 1 - t^decay_rate
    r = b_t r + (1 - b_t) mean_m(G^2 + epsilon1),   c = b_t c + (1 - b_t) mean_n(G^2 + epsilon1),   V = r c^T / mean(r)
    U = G / sqrt(V),   theta -= alpha_t U / max(1, RMS(U) / clip_threshold)

Tensors with fewer than two axes keep a whole V; of more than two, the last two are factored.

Differs from the paper: the schedule gives the learning rate, not min(1e-2, 1 / sqrt(t)); and the update is scaled by
the parameter's size, alpha_t = lr max(epsilon2, RMS(theta)), only with `scale_parameter`, because factors that start at
zero (LoRA's B) would otherwise hardly move. Without it learning rates mean what they mean for AdamW.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import torch
from annotated_types import Lt
from torch import Tensor

from accorda.recipe.types import PositiveFloat
from accorda.training.optimizers.contract import Groups, Settings


@dataclass(frozen=True, kw_only=True)
class Adafactor(Settings):
    """For large matrices on little memory: a row and a column of second moments, no first moment."""

    decay_rate: Annotated[float, Lt(0)] = -0.8
    clip_threshold: PositiveFloat = 1.0
    epsilon1: PositiveFloat = 1e-30
    epsilon2: PositiveFloat = 1e-3
    scale_parameter: bool = False

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """The optimizer; `lr` is 0 until the loop sets it."""
        return AdafactorOptimizer(groups, self)

    def bytes_per_parameter(self, shape: Sequence[int]) -> float:
        """A row and a column in fp32 for a matrix, 4 bytes per number otherwise."""
        if len(shape) < 2:
            return 4.0
        return 4.0 * prod(shape[:-2]) * (shape[-2] + shape[-1]) / prod(shape)


class AdafactorOptimizer(torch.optim.Optimizer):
    """The update of the module's formula, in the parameter's dtype."""

    def __init__(self, groups: Groups, settings: Adafactor) -> None:
        super().__init__(list(groups), {"lr": 0.0, "weight_decay": 0.0})
        self.settings = settings

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["weight_decay"])

    def _update(self, parameter: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        state, settings = self.state[parameter], self.settings
        if not state:
            state.update(_zeros(gradient))
        state["step"] += 1
        decay = 1 - state["step"] ** settings.decay_rate
        update = gradient * _inverse_root(state, gradient.square() + settings.epsilon1, decay)
        update /= max(1.0, _rms(update) / settings.clip_threshold)
        size = max(settings.epsilon2, _rms(parameter)) if settings.scale_parameter else 1.0
        parameter.mul_(1 - lr * weight_decay).sub_(update, alpha=lr * size)


def _zeros(gradient: Tensor) -> dict[str, Any]:
    """The state before the first step."""
    if gradient.ndim < 2:
        return {"step": 0, "second_moment": torch.zeros_like(gradient)}
    rows, columns = gradient.shape[:-1], (*gradient.shape[:-2], gradient.shape[-1])
    return {"step": 0, "row": gradient.new_zeros(rows), "column": gradient.new_zeros(columns)}


def _inverse_root(state: dict[str, Any], square: Tensor, decay: float) -> Tensor:
    """Move the moments towards `square`; 1 / sqrt(V), broadcastable to the gradient."""
    if "second_moment" in state:
        return state["second_moment"].lerp_(square, 1 - decay).rsqrt()
    row = state["row"].lerp_(square.mean(-1), 1 - decay)
    column = state["column"].lerp_(square.mean(-2), 1 - decay)
    return (row / row.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1) * column.rsqrt().unsqueeze(-2)


def _rms(tensor: Tensor) -> float:
    return float(tensor.square().mean().sqrt())
