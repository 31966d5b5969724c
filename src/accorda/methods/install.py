"""Put methods on a model and take them off again.

Freezing is apart from installing, so methods compose: `freeze(model)`, then `install(model, (LoRA(), PromptTuning()))`.
What belongs to one module hangs on that module; prompts, side networks and shared state hang on the model's root.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.errors import Refusal, renamed
from accorda.methods import backbone, entries, host
from accorda.methods.checks import check_install
from accorda.methods.contract import Method, ModuleMethod, ParameterMethod, Part, PromptMethod, SideMethod
from accorda.methods.originals import Original
from accorda.methods.routing import Route, Routing, routing
from accorda.models.heads import new_heads
from accorda.models.roles import sites
from accorda.recipe.named import name_of

Step = Callable[[], None]


def freeze(model: PreTrainedModel) -> PreTrainedModel:
    """Let nothing train but heads that the checkpoint did not bring."""
    model.requires_grad_(False)
    for head in new_heads(model).values():
        head.requires_grad_(True)
    return model


def trainable(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def installed(model: PreTrainedModel) -> dict[str, tuple[Method, ...]]:
    """The methods of every adapter on the model, by the adapter's name."""
    return dict(routing(model).installed)


def install(
    model: PreTrainedModel, method: Method | tuple[Method, ...], name: str = "default", *, active: bool = True
) -> PreTrainedModel:
    """Put a method, or several as one adapter, on the model, and append its name to the active ones.

    Everything is built before anything is hung, so a refusal leaves the model as it was.

    Raises:
        Refusal: the name is taken or cannot be one; a method does not work on this model; a target matches nothing.
    """
    methods = method if isinstance(method, tuple) else (method,)
    state = routing(model)
    check_install(model, methods, name, state)
    steps: list[Step] = []
    for number, one in enumerate(methods):
        with told_as(one, methods):
            steps += _planned(model, one, name, number, state)
    backbone.attend_to(model, state)
    for step in steps:
        step()
    state.installed[name] = methods
    if active:
        state.go(Route((*state.route.active, name), state.route.rows))
    else:
        state.go(state.route)
    return model


def told_as(method: Method, methods: tuple[Method, ...]) -> AbstractContextManager[None]:
    """Refusals of a method's settings name them as the recipe does: of one among several, under its name."""
    return renamed("method.", f"method.{name_of(method)}.") if len(methods) > 1 else nullcontext()


def remove(model: PreTrainedModel, name: str) -> PreTrainedModel:
    """Take an adapter off; the base is what it was, bit for bit.

    Raises:
        Refusal: no such adapter, or it was installed without keeping the base's values.
    """
    state = routing(model)
    state.require(name)
    mine = [original for original in state.originals if name in original.owners()]
    for original in mine:
        original.value_of(None)  # refuses before anything is taken off
    for original in mine:
        original.drop(name)
        if not original.owners():
            original.parameter.requires_grad_(False)
            state.originals.remove(original)
    return strip(model, name)


def strip(model: PreTrainedModel, name: str) -> PreTrainedModel:
    """Take everything of an adapter off that hangs beside base parameters."""
    state = routing(model)
    for module in list(model.modules()):
        host.unhang(module, name)
        entries.unhang(module, name)
    backbone.unhang(model, name)
    if "adapters" in model._modules:
        own = _root(model)
        if name in own:
            del own[name]
        if not len(own):
            del model._modules["adapters"]
    state.forget(name)
    if not state.installed:
        backbone.release(model)
    return model


def hosts(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """The modules, with their names, on which adapters hang or whose input one reads."""
    return ((path, module) for path, module in model.named_modules() if host.hosting_of(module) is not None)


def own_tensors(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """All tensors of an adapter, live, under names without the adapter's own.

    `<module>.<method number>_<part>.<tensor>` for what hangs on modules (part: `all`, or `query` of a fused
    projection), `<method number>_<kind>.<tensor>` for what hangs on the root, and the parameter's name for base
    parameters that the adapter trains.
    """
    state = routing(model)
    state.require(name)
    found: dict[str, Tensor] = {}
    for path, part in _parts(model, name):
        found |= {f"{path}.{leaf}": tensor for leaf, tensor in part.state_dict(keep_vars=True).items()}
    for original in state.originals:
        if name in original.owners():
            found[original.name] = original.value_of(name)
    return found


def kept_tensors(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """What is saved of an adapter: its own tensors, with what a part that is for training only gives in its place.

    The names are those of the own tensors of the adapter that is loaded from the files.
    """
    found = own_tensors(model, name)
    for path, part in _parts(model, name):
        if isinstance(part, Part):
            for leaf in part.state_dict():
                del found[f"{path}.{leaf}"]
            found |= {f"{path}.{leaf}": tensor for leaf, tensor in part.kept().items()}
    return found


def resting(model: PreTrainedModel) -> dict[str, str]:
    """Trainable parameters that may keep their value through training, with the reason their method declares."""
    reasons: dict[str, str] = {}
    places = {(site.name, _part(site.rows, site.role)): site for site in sites(model)}
    for name, methods in installed(model).items():
        for path, module in hosts(model):
            for one in host.placed(module, name):
                number, _, part = one.key.partition("_")
                method = methods[int(number)]
                assert isinstance(method, ModuleMethod)
                if (reason := method.resting(places[path, part], model)) is not None:
                    inside, leaves = f"{path}.adapters.{name}.{one.key}", dict(one.adapter.named_parameters())
                    named = dict.fromkeys(leaves, reason) if isinstance(reason, str) else reason
                    reasons |= {f"{inside}.{leaf}": said for leaf, said in named.items()}
    for original in routing(model).originals:
        for method in chain(*(installed(model)[owner] for owner in original.owners())):
            if isinstance(method, ParameterMethod) and (reason := method.resting(original.name, model)) is not None:
                reasons[original.name] = reason
    return reasons | _resting_entries(model)


def _resting_entries(model: PreTrainedModel) -> dict[str, str]:
    """Those of `resting` that are entries of a base parameter."""
    reasons: dict[str, str] = {}
    for name in _root(model) if "adapters" in model._modules else ():
        for key, change in _root(model)[name].named_children():
            number, _, path = key.partition("_")
            method = installed(model)[name][int(number)]
            if not isinstance(change, entries.Entries) or not isinstance(method, ParameterMethod):
                continue
            if (reason := method.resting(path.replace("/", "."), model)) is not None:
                reasons |= {f"adapters.{name}.{key}.{leaf}": reason for leaf, _ in change.named_parameters()}
    return reasons


def _planned(model: PreTrainedModel, method: Method, name: str, number: int, state: Routing) -> list[Step]:
    """Build what a method needs; the steps that hang it."""
    match method:
        case ModuleMethod():
            return _planned_adapters(model, method, name, number, state)
        case ParameterMethod():
            return _planned_parameters(model, method, name, number, state)
        case PromptMethod():
            prompt = method.build(model)
            return [
                partial(_hang_on_root, model, name, f"{number}_prompt", prompt),
                partial(backbone.hang_prompt, model, name, prompt),
            ]
        case SideMethod():
            side = method.build(model)
            return [
                partial(_hang_on_root, model, name, f"{number}_side", side),
                partial(backbone.hang_side, model, name, side),
            ]
    raise TypeError(f"{type(method).__name__} is none of the four kinds of method")


def _planned_adapters(
    model: PreTrainedModel, method: ModuleMethod, name: str, number: int, state: Routing
) -> list[Step]:
    found = method.sites(model)
    shared, every = method.shared(found), sites(model)
    steps: list[Step] = []
    if shared is not None:
        steps.append(partial(_hang_on_root, model, name, f"{number}_shared", shared))
    for site in found:
        adapter = method.build(site, shared).to(_device(site.module)).train(model.training)
        key = f"{number}_{_part(site.rows, site.role)}"
        steps.append(partial(host.hang, site, name, key, adapter, state, method.entry(site, every)))
    return steps


def _planned_parameters(
    model: PreTrainedModel, method: ParameterMethod, name: str, number: int, state: Routing
) -> list[Step]:
    chosen = method.chosen(model)
    if not chosen:
        raise Refusal(f"{type(method).__name__} chooses no parameter of this {model.config.model_type} model")
    known = {id(original.parameter): original for original in state.originals}
    steps: list[Step] = []
    for path, index in chosen.items():
        parameter = model.get_parameter(path)
        if index is not None:
            steps.append(partial(_hang_entries, model, name, number, path, parameter, entries.Entries(index)))
            continue
        original = known.get(id(parameter))
        if original is None:
            owner, _, leaf = path.rpartition(".")
            original = Original(model.get_submodule(owner), owner, leaf)
        original.check_free()
        steps.append(partial(_add_original, state, original, name, method.keeps_base))
    return steps


def _add_original(state: Routing, original: Original, name: str, keeps_base: bool) -> None:
    original.add(name, keeps_base)
    original.parameter.requires_grad_(True)
    if original not in state.originals:
        state.originals.append(original)


def _hang_entries(
    model: PreTrainedModel, name: str, number: int, path: str, parameter: nn.Parameter, change: entries.Entries
) -> None:
    """On the root, and on every module that holds the parameter (two where it is tied)."""
    _hang_on_root(model, name, f"{number}_{path.replace('.', '/')}", change)
    for module in list(model.modules()):
        for leaf, held in module._parameters.items():
            if held is parameter:
                entries.hang(module, leaf, name, change, routing(model))


def _hang_on_root(model: PreTrainedModel, name: str, key: str, module: nn.Module) -> None:
    if "adapters" not in model._modules:
        model.add_module("adapters", nn.ModuleDict())
    own = _root(model)
    if name not in own:
        own[name] = nn.ModuleDict()
    own[name].add_module(key, module.to(_device(model)).train(model.training))


def _parts(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Module]]:
    """What an adapter hung beside base parameters, under the names of `own_tensors`."""
    for path, module in hosts(model):
        for one in host.placed(module, name):
            yield f"{path}.{one.key}", one.adapter
    if "adapters" in model._modules and name in _root(model):
        yield from _root(model)[name].named_children()


def _root(model: PreTrainedModel) -> nn.ModuleDict:
    own = model._modules["adapters"]
    assert isinstance(own, nn.ModuleDict)
    return own


def _device(module: nn.Module) -> torch.device:
    return next(chain(module.parameters(), module.buffers())).device


def _part(rows: Tensor | None, role: str) -> str:
    return "all" if rows is None else role.rpartition(".")[2]
