"""Some entries of a base parameter, trained as one vector that every forward pass scatters into the weight.

The parameter itself stays frozen and keeps the base's value. While its module runs, a tensor of the same name stands
before it; gradients reach the vector through a gather, and the parameter never has one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from accorda.errors import Refusal
from accorda.methods.routing import Routing

HOSTING = "entries_hosting"


class Entries(nn.Module):
    """`values` (N,): the change of entry `index[n]` of the flattened parameter. Starts at zero."""

    index: Tensor

    def __init__(self, index: Tensor):
        super().__init__()
        self.register_buffer("index", index)
        self.values = nn.Parameter(torch.zeros(self.index.numel()))

    def scattered(self, weight: Tensor) -> Tensor:
        """The weight with its entries changed; added in the dtype of `values`, kept in the weight's."""
        flat = weight.flatten()
        changed = (flat[self.index].to(self.values.dtype) + self.values).to(weight.dtype)
        return flat.scatter(0, self.index, changed).view_as(weight)


@dataclass(eq=False)
class EntriesHosting:
    """What the hooks of one module need: adapter name -> leaf -> entries."""

    routing: Routing
    hooks: tuple[RemovableHandle, ...] = ()
    entries: dict[str, dict[str, Entries]] = field(default_factory=dict)


def hang(module: nn.Module, leaf: str, name: str, entries: Entries, routing: Routing) -> None:
    """Let the entries act on the parameter `leaf` whenever the module runs and the adapter is active."""
    hosting: EntriesHosting | None = module.__dict__.get(HOSTING)
    if hosting is None:
        hosting = EntriesHosting(routing)
        hosting.hooks = (
            module.register_forward_pre_hook(_before),
            module.register_forward_hook(_after, always_call=True),
        )
        module.__dict__[HOSTING] = hosting
    hosting.entries.setdefault(name, {})[leaf] = entries


def unhang(module: nn.Module, name: str) -> None:
    """Forget the named adapter's entries."""
    hosting: EntriesHosting | None = module.__dict__.get(HOSTING)
    if hosting is None:
        return
    hosting.entries.pop(name, None)
    if not hosting.entries:
        for hook in hosting.hooks:
            hook.remove()
        del module.__dict__[HOSTING]


@contextmanager
def written(model: nn.Module, name: str, dtype: torch.dtype = torch.float32) -> Iterator[int]:
    """Inside, the named adapter's entries stand in the parameters, rounded to `dtype`; gives the number of these."""
    places = [(module, module.__dict__[HOSTING]) for module in model.modules() if HOSTING in module.__dict__]
    taken = [(module, hosting, hosting.entries.pop(name)) for module, hosting in places if name in hosting.entries]
    before: dict[nn.Parameter, Tensor] = {}
    for module, _, leaves in taken:
        for leaf, entries in leaves.items():
            parameter = module.get_parameter(leaf)
            if parameter not in before:  # a tied one stands at two places
                before[parameter] = parameter.data
                parameter.data = entries.scattered(parameter.data).detach().to(dtype).to(parameter.dtype)
    try:
        yield len(before)
    finally:
        for parameter, data in before.items():
            parameter.data = data
        for _, hosting, leaves in taken:
            hosting.entries[name] = leaves


def _before(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    hosting: EntriesHosting = module.__dict__[HOSTING]
    route = hosting.routing.route
    if any(row in hosting.entries for row in route.rows or ()):
        raise Refusal("use: an adapter that trains base parameters cannot act on some rows of a batch only")
    for name in route.active:
        for leaf, entries in hosting.entries.get(name, {}).items():
            weight = module.__dict__.get(leaf, module._parameters[leaf])
            module.__dict__[leaf] = entries.scattered(weight)


def _after(module: nn.Module, args: tuple[Tensor, ...], output: Tensor | None) -> None:
    hosting: EntriesHosting = module.__dict__[HOSTING]
    for leaves in hosting.entries.values():
        for leaf in leaves:
            module.__dict__.pop(leaf, None)
