"""From hidden states to logits by the model's own tail, and heads that were made anew.

The tail runs as the model wrote it (soft-capping, scales, transforms, biases), with the backbone replaced for the
moment by one that answers the given hidden states: no architecture needs code here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions

from accorda.models.roles import backbones


def last_hidden(model: PreTrainedModel, **inputs: Any) -> Tensor:
    """The hidden states that enter the model's tail, (B, T, D), without computing logits.

    `inputs` are those of the model, without labels. Keys and values are kept only where `use_cache=True` asks for it.
    """
    backbone = model.base_model
    if "use_cache" in signature(model.forward).parameters:
        inputs.setdefault("use_cache", False)
    if backbone is not model:
        return backbone(**inputs).last_hidden_state
    return _last_hidden_of_stacks(model, inputs)


def logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """What the model's tail makes of hidden states, (..., D) -> (..., V); gradients reach `hidden` and the tail."""
    flat = hidden if hidden.ndim == 3 else hidden.reshape(1, -1, hidden.shape[-1])
    inputs: dict[str, Any] = {"inputs_embeds": flat}
    if model.config.is_encoder_decoder:
        inputs = {"encoder_outputs": BaseModelOutput(last_hidden_state=flat), "decoder_inputs_embeds": flat}
    with _answering(model, flat):
        out = model(**inputs).logits
    return out if hidden.ndim == 3 else out.reshape(*hidden.shape[:-1], out.shape[-1])


def tail_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """The trainable parameters that `logits` uses, found in the graph of one token: head, transform, adapters."""
    embedding = cast(Tensor, model.get_input_embeddings().weight)
    width = getattr(model.config, "hidden_size", None) or model.config.d_model
    probe = torch.zeros(1, width, dtype=embedding.dtype, device=embedding.device, requires_grad=True)
    with torch.enable_grad():
        out = logits(model, probe)
    used = {id(leaf) for leaf in _leaves(out)}
    return [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) in used]


def new_heads(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Classification or reward heads that the checkpoint did not hold, by name; they are always trained."""
    return {name: model.get_submodule(name) for name in getattr(model, "accorda_new_heads", ())}


class _Answer(nn.Module):
    """Stands in for the last stack: whatever it is asked, it answers the given hidden states."""

    def __init__(self, hidden: Tensor):
        super().__init__()
        self.hidden = hidden

    def forward(self, *args: Any, **kwargs: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=cast(Any, self.hidden))


@contextmanager
def _answering(model: PreTrainedModel, hidden: Tensor) -> Iterator[None]:
    """Replace the last stack as a child of its parent, so that no hook of it runs."""
    stacks = backbones(model)
    backbone = stacks["decoder"] if "decoder" in stacks else stacks[""]
    name = next(name for name, module in model.named_modules() if module is backbone)
    parent, _, child = name.rpartition(".")
    children = model.get_submodule(parent)._modules
    children[child] = _Answer(hidden)
    try:
        yield
    finally:
        children[child] = backbone


class _Reached(Exception):
    """Ends a forward pass where the last stack has answered."""

    def __init__(self, hidden: Tensor):
        super().__init__()
        self.hidden = hidden


def _last_hidden_of_stacks(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """For classes without a backbone module (T5): run the model's own forward up to its last stack's answer."""

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        raise _Reached(output[0])

    handle = backbones(model)["decoder"].register_forward_hook(leave)
    try:
        model(**inputs)
    except _Reached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise RuntimeError(f"{type(model).__name__} did not run its decoder")


def _leaves(tensor: Tensor) -> Iterator[Tensor]:
    """The leaf tensors a result was computed from."""
    seen, open_nodes = set(), [tensor.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (variable := getattr(node, "variable", None)) is not None:
            yield variable
        open_nodes += [following for following, _ in node.next_functions]
