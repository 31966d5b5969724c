"""How adapters act on a module: two hooks, and child modules of the module, which stays where and what it is.

The hooks find everything through the module itself, so copies of a model work. Fused projections are cut and dtypes
are cast here, once for all methods.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from accorda.errors import Refusal
from accorda.methods.base import Base
from accorda.methods.contract import Adapter
from accorda.methods.routing import Group, Routing
from accorda.models.roles import Site


@dataclass(eq=False)
class Tap:
    """What a module received, until the named adapter, which hangs elsewhere, has read it."""

    name: str
    value: Tensor | None = None


@dataclass(eq=False)
class Hosting:
    """What the hooks of one module need to know. `taps`: where this module's input is wanted elsewhere."""

    routing: Routing
    stack: str
    hooks: tuple[RemovableHandle, ...] = ()
    bases: dict[str, dict[str, Base]] = field(default_factory=dict)  # adapter name -> key -> what that adapter acts on
    entries: dict[str, dict[str, Tap]] = field(default_factory=dict)  # adapter name -> key -> x from elsewhere
    taps: list[Tap] = field(default_factory=list)


def hosting_of(module: nn.Module) -> Hosting | None:
    """The module's Hosting if something hangs on it."""
    return module.__dict__.get("adapter_hosting")


def hang(site: Site, name: str, key: str, adapter: Adapter, routing: Routing, entry: Site | None = None) -> None:
    """Put an adapter on a site. `key` tells the adapters of one install and module apart."""
    module = site.module
    hosting = _host(site, routing)
    if "adapters" not in module._modules:
        module.add_module("adapters", nn.ModuleDict())
    adapters = adapters_of(module)
    if name not in adapters:
        adapters[name] = nn.ModuleDict()
    mine = adapters[name]
    assert isinstance(mine, nn.ModuleDict)
    mine[key] = adapter
    hosting.bases.setdefault(name, {})[key] = Base(module, site.rows)
    if entry is not None:
        tap = Tap(name)
        hosting.entries.setdefault(name, {})[key] = tap
        _host(entry, routing).taps.append(tap)


def unhang(module: nn.Module, name: str) -> list[Tap]:
    """Take the named adapters off a module; the taps they read are given back, to be untied where they listen."""
    hosting = hosting_of(module)
    if hosting is None or name not in hosting.bases:
        return []
    del hosting.bases[name], adapters_of(module)[name]
    if not hosting.bases:
        del module._modules["adapters"]
    return list(hosting.entries.pop(name, {}).values())


def settle(module: nn.Module, gone: list[Tap]) -> None:
    """Forget taps that nothing reads any more, and take the hooks off where nothing is left."""
    hosting = hosting_of(module)
    if hosting is None:
        return
    hosting.taps = [tap for tap in hosting.taps if all(tap is not other for other in gone)]
    if not hosting.bases and not hosting.taps:
        for hook in hosting.hooks:
            hook.remove()
        del module.__dict__["adapter_hosting"]


def adapters_of(module: nn.Module) -> nn.ModuleDict:
    """The adapters on a module, by name."""
    adapters = module._modules["adapters"]
    assert isinstance(adapters, nn.ModuleDict)
    return adapters


def placed(module: nn.Module, names: tuple[str, ...]) -> list[tuple[str, str, Adapter, Base]]:
    """(name, key, adapter, base) of every adapter of these names on the module, in order."""
    hosting = hosting_of(module)
    found = []
    for name in names if hosting is not None else ():
        for key, base in hosting.bases.get(name, {}).items() if hosting is not None else ():
            adapter = adapters_of(module).get_submodule(f"{name}.{key}")
            assert isinstance(adapter, Adapter)
            found.append((name, key, adapter, base))
    return found


def _host(site: Site, routing: Routing) -> Hosting:
    module = site.module
    if (hosting := hosting_of(module)) is None:
        # Keys and values of cross attention are computed from the encoder's tokens.
        from_encoder = site.role in ("cross_attention.key", "cross_attention.value")
        hosting = Hosting(routing, "encoder" if from_encoder else site.stack)
        hosting.hooks = (module.register_forward_pre_hook(_before), module.register_forward_hook(_after))
        module.__dict__["adapter_hosting"] = hosting
    return hosting


def _before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    hosting: Hosting = module.__dict__["adapter_hosting"]
    for tap in hosting.taps:
        tap.value = args[0] if hosting.routing.acts(tap.name) else None
    if not hosting.bases:
        return None
    return (act_on_input(module, args[0]), *args[1:])


def _after(module: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor | None:
    hosting: Hosting = module.__dict__["adapter_hosting"]
    return act_on_output(module, args[0], y) if hosting.bases else None


def act_on_input(module: nn.Module, x: Tensor, names: tuple[str, ...] | None = None) -> Tensor:
    """What the module receives, (..., I), after the adapters, routed or named, have acted on it."""
    hosting: Hosting = module.__dict__["adapter_hosting"]
    for group in hosting.routing.groups(x, hosting.stack) if names is None else [Group(names)]:
        for _, _, adapter, base in placed(module, group.names):
            if type(adapter).input is not Adapter.input:
                (part,) = _cast(adapter, group.take(x))
                x = group.put(x, adapter.input(part, base).to(x.dtype))
    return x


def act_on_output(module: nn.Module, x: Tensor, y: Tensor, names: tuple[str, ...] | None = None) -> Tensor:
    """What the module gives, (..., O), after the adapters, routed or named; x is what the module received."""
    hosting: Hosting = module.__dict__["adapter_hosting"]
    for group in hosting.routing.groups(y, hosting.stack) if names is None else [Group(names)]:
        for name, key, adapter, base in placed(module, group.names):
            if type(adapter).output is not Adapter.output:
                tap = hosting.entries.get(name, {}).get(key)
                y = _act(group, adapter, base, x if tap is None else _taken(tap, module), y)
    return y


def _act(group: Group, adapter: Adapter, base: Base, x: Tensor, y: Tensor) -> Tensor:
    """One adapter on one group of rows and one part of the output features."""
    mine = group.take(y)
    columns = None if base.rows is None else base.rows.to(y.device)
    part = mine if columns is None else mine.index_select(-1, columns)
    x_cast, y_cast = _cast(adapter, group.take(x), part)
    part = adapter.output(x_cast, y_cast, base).to(y.dtype)
    return group.put(y, part if columns is None else mine.index_copy(-1, columns, part))


def _taken(tap: Tap, module: nn.Module) -> Tensor:
    if tap.value is None:
        raise Refusal(f"an adapter on {type(module).__name__} reads the input of a module that has not run")
    value, tap.value = tap.value, None
    return value


def _cast(adapter: Adapter, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the adapter's dtype; under autocast torch decides, and ids stay ids."""
    parameter = next(adapter.parameters(), None)
    if parameter is None or torch.is_autocast_enabled(tensors[0].device.type):
        return tensors
    return tuple(tensor.to(parameter.dtype) if tensor.is_floating_point() else tensor for tensor in tensors)
