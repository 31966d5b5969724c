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

HOSTING = "adapter_hosting"  # the attribute of a module on which something hangs


@dataclass(eq=False)
class Tap:
    """What a module received, until the named adapter, which hangs elsewhere, has read it."""

    name: str
    value: Tensor | None = None


@dataclass(eq=False)
class Placed:
    """An adapter on a module. `key`: number of its method in the install, and its part of the module."""

    key: str
    adapter: Adapter
    base: Base
    tap: Tap | None = None  # where its x comes from, if not from this module's input
    first: nn.Parameter | None = field(init=False)  # whose dtype the adapter computes in

    def __post_init__(self) -> None:
        self.first = next(self.adapter.parameters(), None)

    @property
    def on_input(self) -> bool:
        """Whether it changes what the module receives."""
        return type(self.adapter).input is not Adapter.input


@dataclass(eq=False)
class Hosting:
    """What the hooks of one module need to know. `taps`: where this module's input is wanted elsewhere."""

    routing: Routing
    stack: str
    placed: dict[str, list[Placed]] = field(default_factory=dict)  # by the adapter's name
    taps: list[Tap] = field(default_factory=list)
    on_input: bool = False  # whether any adapter changes what the module receives
    hooks: tuple[RemovableHandle, ...] = ()


def hosting_of(module: nn.Module) -> Hosting | None:
    """The module's Hosting if something hangs on it."""
    return module.__dict__.get(HOSTING)


def placed(module: nn.Module, name: str) -> list[Placed]:
    """The named adapter's parts on the module, in order."""
    hosting = hosting_of(module)
    return [] if hosting is None else hosting.placed.get(name, [])


def hang(site: Site, name: str, key: str, adapter: Adapter, routing: Routing, entry: Site | None = None) -> None:
    """Put an adapter on a site, as a child of the site's module."""
    module, hosting = site.module, _host(site, routing)
    if "adapters" not in module._modules:
        module.add_module("adapters", nn.ModuleDict())
    adapters = module.get_submodule("adapters")
    if name not in adapters._modules:
        adapters.add_module(name, nn.ModuleDict())
    adapters.get_submodule(name).add_module(key, adapter)
    tap = None
    if entry is not None:
        tap = Tap(name)
        _host(entry, routing).taps.append(tap)
    hosting.placed.setdefault(name, []).append(Placed(key, adapter, Base(module, site.rows), tap))
    hosting.on_input = hosting.on_input or hosting.placed[name][-1].on_input


def unhang(module: nn.Module, name: str) -> None:
    """Take the named adapter off a module, and the hooks where nothing is left."""
    hosting = hosting_of(module)
    if hosting is None:
        return
    hosting.taps = [tap for tap in hosting.taps if tap.name != name]
    if hosting.placed.pop(name, None) is not None:
        del module.get_submodule("adapters")._modules[name]
        if not hosting.placed:
            del module._modules["adapters"]
    if not hosting.placed and not hosting.taps:
        for hook in hosting.hooks:
            hook.remove()
        del module.__dict__[HOSTING]


def act_on_input(module: nn.Module, x: Tensor, names: tuple[str, ...] | None = None) -> Tensor:
    """What the module receives, (..., I), after the adapters, routed or named, have acted on it."""
    hosting: Hosting = module.__dict__[HOSTING]
    for group in hosting.routing.groups(x, hosting.stack) if names is None else [Group(names)]:
        for one in _acting(hosting, group):
            if one.on_input:
                (part,) = _cast(one, group.take(x))
                x = group.put(x, one.adapter.input(part, one.base).to(x.dtype))
    return x


def act_on_output(module: nn.Module, x: Tensor, y: Tensor, names: tuple[str, ...] | None = None) -> Tensor:
    """What the module gives, (..., O), after the adapters, routed or named; x is what the module received."""
    hosting: Hosting = module.__dict__[HOSTING]
    for group in hosting.routing.groups(y, hosting.stack) if names is None else [Group(names)]:
        for one in _acting(hosting, group):
            y = _act(group, one, x if one.tap is None else _taken(one.tap, module), y)
    return y


def _host(site: Site, routing: Routing) -> Hosting:
    module = site.module
    if (hosting := hosting_of(module)) is None:
        # Keys and values of cross attention are computed from the encoder's tokens.
        from_encoder = site.role in ("cross_attention.key", "cross_attention.value")
        hosting = Hosting(routing, "encoder" if from_encoder else site.stack)
        hosting.hooks = (module.register_forward_pre_hook(_before), module.register_forward_hook(_after))
        module.__dict__[HOSTING] = hosting
    return hosting


def _before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    hosting: Hosting = module.__dict__[HOSTING]
    for tap in hosting.taps:
        tap.value = args[0] if hosting.routing.acts(tap.name) else None
    return (act_on_input(module, args[0]), *args[1:]) if hosting.on_input else None


def _after(module: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor | None:
    hosting: Hosting = module.__dict__[HOSTING]
    return act_on_output(module, args[0], y) if hosting.placed else None


def _acting(hosting: Hosting, group: Group) -> list[Placed]:
    return [one for name in group.names for one in hosting.placed.get(name, ())]


def _act(group: Group, one: Placed, x: Tensor, y: Tensor) -> Tensor:
    """One adapter on one group of rows and one part of the output features."""
    mine = group.take(y)
    columns = one.base.rows_on(y.device)
    part = mine if columns is None else mine.index_select(-1, columns)
    x_cast, y_cast = _cast(one, group.take(x), part)
    part = one.adapter.output(x_cast, y_cast, one.base).to(y.dtype)
    return group.put(y, part if columns is None else mine.index_copy(-1, columns, part))


def _taken(tap: Tap, module: nn.Module) -> Tensor:
    if tap.value is None:
        raise Refusal(f"an adapter on {type(module).__name__} reads the input of a module that has not run")
    value, tap.value = tap.value, None
    return value


def _cast(one: Placed, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the adapter's dtype; under autocast torch decides, and ids stay ids."""
    if one.first is None or torch.is_autocast_enabled(tensors[0].device.type):
        return tensors
    dtype = one.first.dtype
    return tuple(tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors)
