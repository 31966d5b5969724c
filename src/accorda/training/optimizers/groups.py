"""Which parameters share a learning rate and a weight decay."""

from collections.abc import Mapping
from typing import Any

from torch import nn

NO_DECAY_BELOW = 2  # axes


def parameter_groups(
    parameters: Mapping[str, nn.Parameter], weight_decay: float = 0.0, scales: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimizer: `params`, their `names`, `weight_decay`, and `scale`, a factor on the schedule's rate.

    Vectors (biases, norms, learned scalings) are never decayed: pulling them to zero changes what the layer means, not
    how large its weights are. `scales` gives by name the factor of parameters that learn at another rate (LoRA+).
    """
    scales = scales or {}
    if unknown := set(scales) - set(parameters):
        raise ValueError(f"a learning-rate scale for tensors that do not train: {', '.join(sorted(unknown))}")
    members: dict[tuple[float, float], list[str]] = {}
    for name, parameter in parameters.items():
        decay = weight_decay if parameter.ndim >= NO_DECAY_BELOW else 0.0
        members.setdefault((scales.get(name, 1.0), decay), []).append(name)
    return [
        {"params": [parameters[name] for name in names], "names": names, "weight_decay": decay, "scale": scale}
        for (scale, decay), names in members.items()
    ]
