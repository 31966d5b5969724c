"""Which adapters act: one Routing per model, shared by reference by everything that methods hang on it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.originals import Original
from accorda.models.attention import Prefix

KEY = "adapter_routing"  # the attribute of the root model


@dataclass(frozen=True)
class Route:
    """Names of the active adapters; or, if `rows` is given, one name or None per row or packed segment."""

    active: tuple[str, ...] = ()
    rows: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class Group:
    """The rows (dimension 0) or tokens (dimension 1) on which the same adapters act; index None: everything."""

    names: tuple[str, ...]
    dim: int = 0
    index: Tensor | None = None

    def take(self, tensor: Tensor) -> Tensor:
        """This group's part of a tensor."""
        return tensor if self.index is None else tensor.index_select(self.dim, self.index)

    def put(self, tensor: Tensor, part: Tensor) -> Tensor:
        """The tensor with this group's part replaced."""
        return part if self.index is None else tensor.index_copy(self.dim, self.index, part)


@dataclass(eq=False)
class Routing:
    """The route of one model.

    `borders` are those of the packed batch that is in a stack's backbone now: (0, end of segment 0, ...); a stack that
    is missing runs rows. `prefixes` are the keys and values in front, for each attention module by name, of the forward
    pass that is in a stack's backbone now.
    """

    route: Route = Route()
    installed: dict[str, tuple[Method, ...]] = field(default_factory=dict)
    originals: list[Original] = field(default_factory=list)
    borders: dict[str, tuple[int, ...]] = field(default_factory=dict)
    prefixes: dict[str, dict[str, Prefix]] = field(default_factory=dict)
    grouped: dict[object, list[Group]] = field(default_factory=dict)  # what `groups` found for this route
    whole: list[Group] = field(default_factory=list)  # the one group of a route without rows

    def go(self, route: Route) -> None:
        """Take a route, and bring the values of parameters along that it names."""
        for name in (*route.active, *(name for name in route.rows or () if name is not None)):
            self.require(name)
        shown = [self._owner(original, route) for original in self.originals]
        for original, owner in zip(self.originals, shown, strict=True):
            original.value_of(owner)  # refuses before anything is exchanged
        for original, owner in zip(self.originals, shown, strict=True):
            original.show(owner)
        self._take(route)

    def _take(self, route: Route) -> None:
        self.route, self.whole = route, [Group(route.active)] if route.active else []
        self.grouped.clear()

    def require(self, name: str) -> None:
        """Refuse a name under which nothing is installed."""
        if name not in self.installed:
            raise Refusal(f"no adapter {name!r} is installed; installed: {', '.join(self.installed) or 'none'}")

    def forget(self, name: str) -> None:
        """Drop an adapter from the list and from the route."""
        self.installed.pop(name)
        self.go(_without_removed(self.route, self))

    def replay(self, route: Route, borders: dict[str, tuple[int, ...]], prefixes: dict[str, dict[str, Prefix]]) -> None:
        """Take a route again for a recomputation; values of parameters must already be the ones it names."""
        for original in self.originals:
            if self._owner(original, route) != original.shown:
                raise Refusal(
                    f"a block is recomputed while {original.name} has another adapter's value: "
                    "call backward() inside the `use` of its forward pass"
                )
        self.borders, self.prefixes = borders, prefixes
        self._take(route)

    def acts(self, name: str) -> bool:
        """Whether the named adapter acts anywhere."""
        return name in self.route.active or name in (self.route.rows or ())

    def groups(self, x: Tensor, stack: str) -> list[Group]:
        """Which adapters act on which rows (B, ...) or, in a packed batch, on which tokens (1, T, ...) of x."""
        rows = self.route.rows
        if rows is None:
            return self.whole
        borders = self.borders.get(stack)
        key = (borders, x.shape[: 1 if borders is None else 2], x.device)
        if key not in self.grouped:
            if len(self.grouped) > 64:  # packed batches differ in their borders
                self.grouped.clear()
            found = _row_groups(x, rows) if borders is None else _token_groups(x, rows, borders)
            self.grouped[key] = found
        return self.grouped[key]

    def _owner(self, original: Original, route: Route) -> str | None:
        """Whose value of the parameter the route asks for."""
        owners = original.owners()
        for name in route.rows or ():
            if name in owners:
                raise Refusal(f"adapter {name!r} trains {original.name} itself, which rows of one batch share")
        active = [name for name in route.active if name in owners]
        if len(active) > 1:
            raise Refusal(f"adapters {active[0]!r} and {active[1]!r} both have a value of {original.name}: use one")
        return active[0] if active else None


def routing(model: PreTrainedModel) -> Routing:
    """The model's one Routing, made when first asked for."""
    if KEY not in model.__dict__:
        model.__dict__[KEY] = Routing()
    return model.__dict__[KEY]


def has_values_of(model: PreTrainedModel, owner: str | None) -> bool:
    """Whether an adapter, or the base, can act: its value of every parameter that trains in place was kept."""
    return all(original.has(owner) for original in routing(model).originals)


def acting(model: PreTrainedModel) -> list[str]:
    """The adapters that act now, those in reserve left out."""
    return [name for name in routing(model).installed if routing(model).acts(name)]


@contextmanager
def use(
    model: PreTrainedModel,
    name: str | Sequence[str] | None = None,
    rows: Sequence[str | None] | None = None,
) -> Iterator[PreTrainedModel]:
    """Run the model with the named adapters only, or with one adapter or None per row, and go back afterwards.

    `requires_grad` stays as it is; a backward pass may run outside, under any route.

    Args:
        model: the model that carries the adapters.
        name: one name, several names, or None for the base alone.
        rows: a name or None for every row of the batch, or for every segment of a packed batch.

    Raises:
        Refusal: unknown name; both `name` and `rows`; rows with an adapter that trains base parameters.
    """
    if name is not None and rows is not None:
        raise Refusal("use: give a name or rows, not both")
    state = routing(model)
    before = state.route
    state.go(Route(active=_names(name), rows=None if rows is None else tuple(rows)))
    try:
        yield model
    finally:
        state.go(_without_removed(before, state))


def _without_removed(route: Route, state: Routing) -> Route:
    """The route without adapters that were removed in the meantime."""
    rows = route.rows
    if rows is not None and any(name and name not in state.installed for name in rows):
        rows = tuple(name if name in state.installed else None for name in rows)
    return Route(tuple(name for name in route.active if name in state.installed), rows)


def _names(name: str | Sequence[str] | None) -> tuple[str, ...]:
    if name is None:
        return ()
    return (name,) if isinstance(name, str) else tuple(name)


def _row_groups(x: Tensor, rows: tuple[str | None, ...]) -> list[Group]:
    if x.shape[0] != len(rows):
        raise Refusal(f"use: {len(rows)} rows were given, and the batch has {x.shape[0]}")
    if len(set(rows)) == 1:
        return [Group(_names(rows[0]))]
    return [
        Group(_names(name), 0, torch.tensor([i for i, row in enumerate(rows) if row == name], device=x.device))
        for name in dict.fromkeys(rows)
    ]


def _token_groups(x: Tensor, rows: tuple[str | None, ...], borders: tuple[int, ...]) -> list[Group]:
    if len(borders) != len(rows) + 1 or x.shape[1] != borders[-1]:
        raise Refusal(
            f"use: {len(rows)} rows were given, and the packed batch has {len(borders) - 1} segments "
            f"of {borders[-1]} tokens where a module sees {x.shape[1]}"
        )
    spans = list(zip(rows, borders, borders[1:], strict=False))
    return [
        Group(
            _names(name),
            1,
            torch.cat([torch.arange(i, j, device=x.device) for row, i, j in spans if row == name]),
        )
        for name in dict.fromkeys(rows)
    ]
