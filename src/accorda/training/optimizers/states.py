"""What an optimizer remembers, by names that a checkpoint can hold: `parameter/state`."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from accorda.models.tensor_file import keep
from accorda.training.optimizers.piecewise import Piecewise


def states_of(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The live tensors, and the values that JSON can hold."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            (tensors if isinstance(value, Tensor) else values)[f"{name}/{key}"] = value
    return tensors, values


def load_states(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], stored: Mapping[str, Any]
) -> None:
    """Remember what was stored, and nothing else; the stored tensors stay as they are."""
    optimizer.state.clear()
    for place, value in stored.items():
        name, _, key = place.rpartition("/")
        parameter = parameters[name]
        if isinstance(value, Tensor) and isinstance(optimizer, Piecewise):
            value = optimizer.place(parameter, key, value)
        elif isinstance(value, Tensor):
            value = value.to(parameter.device, copy=True)
        optimizer.state[parameter][key] = value


def copied(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors in the host's memory, which a GPU's is not; of states in pages they live in pages too."""
    if isinstance(optimizer, Piecewise):
        return optimizer.copied(tensors)
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def letting_go(optimizer: torch.optim.Optimizer) -> Callable[[Tensor], None]:
    """What is to be called with parts of the live tensors that were read: of states in pages they leave memory."""
    return optimizer.let_go if isinstance(optimizer, Piecewise) else keep
