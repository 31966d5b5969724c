"""How prompts and side networks act on a backbone: a hook before it, a hook after it, and one after each block.

`model(...)` and `generate` stay as they are: what stands in front of the tokens is cut off again before the head.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods import prefixes
from accorda.methods.contract import SideNetwork, SoftPrompt
from accorda.methods.insertion import Cut, fronts_of, insert
from accorda.methods.routing import Routing
from accorda.models.attention import Packing
from accorda.models.roles import backbones, blocks

HOSTING = "backbone_hosting"


@dataclass(eq=False)
class BackboneHosting:
    """What the hooks of one backbone need to know. `collected` holds hidden states while a side network waits."""

    routing: Routing
    stack: str
    parameters: tuple[str, ...]
    hooks: tuple[RemovableHandle, ...] = ()
    prompts: dict[str, list[SoftPrompt]] = field(default_factory=dict)
    sides: dict[str, SideNetwork] = field(default_factory=dict)
    block_hooks: list[RemovableHandle] = field(default_factory=list)
    collected: list[Tensor] | None = None
    cut: Cut | None = None

    def active(self, hung: dict[str, Any]) -> bool:
        """Whether any of these prompts or side networks acts."""
        return any(self.routing.acts(name) for name in hung)


def attend_to(model: PreTrainedModel, routing: Routing) -> None:
    """Put the two hooks on every backbone of the model, once. They run first going in and last coming out."""
    for stack, backbone in backbones(model).items():
        if HOSTING not in backbone.__dict__:
            names = tuple(inspect.signature(type(backbone).forward).parameters)[1:]
            hosting = BackboneHosting(routing, stack, names)
            hosting.hooks = (
                backbone.register_forward_pre_hook(_before, with_kwargs=True, prepend=True),
                backbone.register_forward_hook(_after, with_kwargs=True),
            )
            backbone.__dict__[HOSTING] = hosting


def release(model: PreTrainedModel) -> None:
    """Take all hooks off the backbones."""
    prefixes.release(model)
    for backbone in backbones(model).values():
        hosting: BackboneHosting | None = backbone.__dict__.pop(HOSTING, None)
        for hook in (*hosting.hooks, *hosting.block_hooks) if hosting is not None else ():
            hook.remove()
    for block in blocks(model):
        block.module.__dict__.pop(HOSTING, None)


def hang_prompt(model: PreTrainedModel, name: str, prompt: SoftPrompt) -> None:
    """Let a prompt act before the first stack (the decoder's, or an encoder-decoder's encoder) or in all attention."""
    for hosting in hostings(model):
        hosting.prompts.setdefault(name, []).append(prompt)
        if prompt.placement == "attention":
            prefixes.attend_to(model, hosting.routing)


def hang_side(model: PreTrainedModel, name: str, side: SideNetwork) -> None:
    """Let a side network read the blocks of every stack."""
    by_stack = {hosting.stack: hosting for hosting in hostings(model)}
    for hosting in by_stack.values():
        hosting.sides[name] = side
    for block in blocks(model):
        if HOSTING not in block.module.__dict__:
            hosting = by_stack[block.stack]
            block.module.__dict__[HOSTING] = (hosting, block.index == 0)
            hosting.block_hooks.append(block.module.register_forward_hook(_collect, with_kwargs=True))


def unhang(model: PreTrainedModel, name: str) -> None:
    """Forget the named prompt and side network."""
    for hosting in hostings(model):
        hosting.prompts.pop(name, None)
        hosting.sides.pop(name, None)


def hostings(model: PreTrainedModel) -> list[BackboneHosting]:
    """What hangs on the model's backbones, in their order."""
    found = [backbone.__dict__.get(HOSTING) for backbone in backbones(model).values()]
    return [hosting for hosting in found if hosting is not None]


def positions_in_front(model: PreTrainedModel) -> int:
    """The most positions that the soft prompts acting now put in front of any row: the context is shorter by them."""
    return cached_in_front(model) + _most(model, "attention")


def cached_in_front(model: PreTrainedModel) -> int:
    """Those of them that a cache holds: a prefix of keys and values stands in none."""
    return _most(model, "front")


def check_no_placeholders(model: PreTrainedModel) -> None:
    """Refuse prompts at placeholders where ids are made from text: nothing in a text becomes a negative id."""
    prompts = [prompt for hosting in hostings(model) for mine in hosting.prompts.values() for prompt in mine]
    if any(prompt.placement == "placeholder" for prompt in prompts):
        raise Refusal(
            "method.placement = placeholder: rows of text hold no placeholders; use front, or give the model ids of "
            "your own from Python, -1 for the first vector"
        )


def _most(model: PreTrainedModel, placement: Literal["front", "attention"]) -> int:
    fronts = [
        fronts_of(hosting.prompts, hosting.routing, len(hosting.routing.route.rows or (None,)), placement)
        for hosting in hostings(model)
    ]
    return max((front.most for front in fronts), default=0)


def _before(
    backbone: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    hosting: BackboneHosting = backbone.__dict__[HOSTING]
    hosting.cut = hosting.collected = None
    hosting.routing.prefixes.pop(hosting.stack, None)
    _note_borders(hosting, kwargs.get("packing"))
    if hosting.active(hosting.sides):
        hosting.collected = []
    if not hosting.active(hosting.prompts):
        return None
    inputs = dict(zip(hosting.parameters, args, strict=False)) | kwargs
    hosting.cut = insert(backbone, inputs, hosting.stack, hosting.prompts, hosting.routing)
    prefixes.bring(backbone, inputs, hosting.stack, hosting.prompts, hosting.routing)
    _note_borders(hosting, inputs.get("packing"))
    return (), inputs


def _after(backbone: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    hosting: BackboneHosting = backbone.__dict__[HOSTING]
    changed = False
    hosting.routing.prefixes.pop(hosting.stack, None)
    if hosting.collected is not None:
        inputs = dict(zip(hosting.parameters, args, strict=False)) | kwargs
        changed = _fill_in_sides(hosting, inputs, output)
        hosting.collected = None
    if (cut := hosting.cut) is not None:
        hosting.cut, changed = None, True
        output["last_hidden_state"] = cut.apply(output["last_hidden_state"])
        if output.get("hidden_states") is not None:
            output["hidden_states"] = tuple(cut.apply(state) for state in output["hidden_states"])
        _note_borders(hosting, cut.packing)
    if changed and output.get("pooler_output") is not None:  # it was computed from what the backbone gave
        output["pooler_output"] = backbone.get_submodule("pooler")(output["last_hidden_state"])
    return output if changed else None


def _fill_in_sides(hosting: BackboneHosting, inputs: dict[str, Any], output: Any) -> bool:
    """Replace the rows of the last hidden state that have a side network."""
    last, changed = output["last_hidden_state"], False
    for group in hosting.routing.groups(last, hosting.stack):
        sides = [hosting.sides[name] for name in group.names if name in hosting.sides]
        if len(sides) > 1:
            raise Refusal(f"two side networks cannot act at once: {', '.join(group.names)}")
        for side in sides:
            parameter = next(side.parameters())
            states = [state.to(parameter.dtype) for state in hosting.collected or ()]
            replacement = side(states, inputs, output, hosting.stack)
            if replacement is not None:
                last, changed = group.put(last, group.take(replacement.to(last.dtype))), True
    output["last_hidden_state"] = last
    return changed


def _collect(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    hosting, first = block.__dict__[HOSTING]
    if hosting.collected is None:
        return
    if first:
        hosting.collected.append((args[0] if args else kwargs["hidden_states"]).detach())
    hosting.collected.append((output[0] if isinstance(output, tuple) else output).detach())


def _note_borders(hosting: BackboneHosting, packing: Packing | None) -> None:
    """Tell the routing where the segments of this stack's tokens are, and of the encoder's, which a decoder reads."""
    sides = {hosting.stack: hosting.stack or "decoder"}
    if hosting.stack == "decoder":
        sides["encoder"] = "encoder"
    for stack, side in sides.items():
        if packing is None:
            hosting.routing.borders.pop(stack, None)
        else:
            hosting.routing.borders[stack] = packing.of("encoder" if side == "encoder" else "decoder")
