"""What a method wants to learn about a model and its data before it is installed."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from transformers import PreTrainedModel

from accorda.methods.contract import Method


@runtime_checkable
class Preparable(Protocol):
    """A method that has something to find out first: the tokens of a text, Fisher information, a subspace."""

    def prepare(self, model: PreTrainedModel, batches: Iterable[Any]) -> Method:
        """The method with what it found in its settings. The model stays as it is."""
        ...


def prepare(model: PreTrainedModel, method: Method, batches: Iterable[Any] = ()) -> Method:
    """The method, ready to be installed; most methods are so from the start."""
    return method.prepare(model, batches) if isinstance(method, Preparable) else method
