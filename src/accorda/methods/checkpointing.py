"""Gradient checkpointing that recomputes a block under the route its forward pass had.

Without this, `with use(model, "a"): loss = ...` and a backward pass elsewhere would recompute under another adapter,
and gradients would be wrong without a word.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from transformers import PreTrainedModel

from accorda.methods.routing import Routing, routing


def enable_checkpointing(model: PreTrainedModel) -> None:
    """Keep block inputs only and recompute the rest in the backward pass, for every block of the model."""
    settings = {"use_reentrant": False, "context_fn": partial(_contexts, routing(model))}
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(settings)
    # Only the reentrant kind needs inputs with gradients; they would make a frozen backbone build a graph.
    model.disable_input_require_grads()


def _contexts(state: Routing) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for the forward pass of a block and for its recomputation."""
    then = state.route, dict(state.borders), dict(state.prefixes)

    @contextmanager
    def replay() -> Iterator[None]:
        before = state.route, dict(state.borders), dict(state.prefixes)
        state.replay(*then)
        try:
            yield
        finally:
            state.replay(*before)

    return nullcontext(), replay()
