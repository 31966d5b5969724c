"""The diagonal of the empirical Fisher information: how much the loss of the data feels each parameter.

    F_i = 1/N sum_n (d loss_n / d w_i)^2        n over batches; of one row each, this is the empirical Fisher itself

Sung, Nair and Raffel, 2021, arXiv:2111.09839. One backward pass per batch; every gradient is squared, reduced and
dropped as soon as it is there, so at most the gradients of one layer exist at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from accorda.errors import Refusal

Reduce = Callable[[str, Tensor], Tensor]


def squared_gradients(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    batches: Iterable[Mapping[str, Any]],
    reduce: Reduce = lambda name, squares: squares,
) -> dict[str, Tensor]:
    """The mean squared gradient of each named parameter, fp32, in the parameter's shape or what `reduce` makes of it.

    The model runs in eval mode and is afterwards as it was: modes, gradients, and what asks for them.

    Args:
        model: answers `model(**batch).loss`, the loss of a batch.
        parameters: whose gradients are asked for, under any names.
        batches: the model's inputs with `labels`.
        reduce: of a parameter's name and squares, say their sum over columns; called once per batch and parameter.

    Raises:
        Refusal: no batch was given, or one without labels.
    """
    sums = {name: reduce(name, torch.zeros_like(p, dtype=torch.float32)) for name, p in parameters.items()}
    number = 0
    with _measuring(model, parameters, partial(_take, sums, reduce)):
        for batch in batches:
            loss = model(**batch).loss
            if loss is None:
                raise Refusal("Fisher information: these rows have no labels, so the model has no loss of one alone")
            loss.backward()
            number += 1
    if not number:
        raise Refusal("Fisher information: there is no batch to measure it on; give some to prepare")
    return {name: total / number for name, total in sums.items()}


def _take(sums: dict[str, Tensor], reduce: Reduce, name: str, parameter: Tensor) -> None:
    """Called when a parameter's gradient is complete."""
    assert parameter.grad is not None
    sums[name] += reduce(name, parameter.grad.float().square())
    parameter.grad = None


@contextmanager
def _measuring(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], take: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Only these parameters ask for gradients, and each of theirs is taken away when it comes."""
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    kept = {parameter: parameter.grad for parameter in parameters.values()}
    modes = {module: module.training for module in model.modules()}
    handles = []
    try:
        model.requires_grad_(False)
        model.eval()
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            parameter.grad = None
            handles.append(parameter.register_post_accumulate_grad_hook(partial(take, name)))
        with torch.enable_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
        for parameter, gradient in kept.items():
            parameter.grad = gradient
        for module, mode in modes.items():
            module.training = mode
