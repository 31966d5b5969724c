"""Dropout of a model: found by the modules' own attributes, and switched off."""

from collections.abc import Iterator

from torch import nn


def dropping(model: nn.Module) -> Iterator[tuple[nn.Module, str, float]]:
    """Every probability of dropping something: the module, the attribute's name, its value."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(module, nn.Dropout))):
                yield module, name, value


def without_dropout(model: nn.Module) -> None:
    """Drop nothing from now on, in training mode either: the same row gives the same numbers in every pass."""
    for module, name, _ in list(dropping(model)):
        setattr(module, name, 0.0)
