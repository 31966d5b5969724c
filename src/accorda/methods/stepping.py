"""What installed methods ask of the training loop: rates of their own, an extra loss, a word after every update."""

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor
from transformers import PreTrainedModel

from accorda.methods import host
from accorda.methods.contract import Adapter, Method, RateScaled, Regularised, Stepping
from accorda.methods.install import hosts, installed

Training = dict[str, Adapter]  # the adapters of one method that train, by their names on the model


def rate_scales(model: PreTrainedModel) -> dict[str, float]:
    """The factors on the learning rate of trainable parameters, by name, where a method sets them."""
    return {
        f"{path}.{leaf}": method.rate_scale(leaf)
        for method, adapters in _training(model)
        if isinstance(method, RateScaled)
        for path, adapter in adapters.items()
        for leaf, parameter in adapter.named_parameters()
        if parameter.requires_grad
    }


def extra_loss(model: PreTrainedModel) -> Callable[[], Tensor] | None:
    """What the methods add to the loss of a step, a scalar; None where none adds anything."""
    terms = [
        partial(method.extra_loss, list(adapters.values()))
        for method, adapters in _training(model)
        if isinstance(method, Regularised)
    ]
    return (lambda: sum((term() for term in terms[1:]), start=terms[0]())) if terms else None


def on_step(model: PreTrainedModel, num_steps: int) -> Callable[[int], None] | None:
    """What the methods do after the update of a step, given its number; None where none does anything."""
    calls = [
        partial(method.on_step, list(adapters.values()), num_steps=num_steps)
        for method, adapters in _training(model)
        if isinstance(method, Stepping)
    ]

    def call(step: int) -> None:
        for each in calls:
            each(step=step)

    return call if calls else None


def _training(model: PreTrainedModel) -> Iterator[tuple[Method, Training]]:
    """Every installed method with those of its adapters that train."""
    for name, methods in installed(model).items():
        for number, method in enumerate(methods):
            yield (
                method,
                {
                    f"{path}.adapters.{name}.{one.key}": one.adapter
                    for path, module in hosts(model)
                    for one in host.placed(module, name)
                    if one.key.partition("_")[0] == str(number) and _trains(one.adapter)
                },
            )


def _trains(adapter: Adapter) -> bool:
    return any(parameter.requires_grad for parameter in adapter.parameters())
