"""Elementwise optimizers that work through their states piece by piece: they need not be there at once."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from accorda.errors import Refusal
from accorda.training.optimizers.contract import Groups
from accorda.training.optimizers.pages import BUFFERS, HollowPages, MappedPages, Pages, PinnedPages, aligned

UNIT = 4096  # numbers: a piece is a multiple, so that blocks of an 8-bit state and vector instructions stay whole
PIECE = 256 * UNIT


@dataclass(frozen=True)
class Entry:
    """A state of a parameter: its dtype, and to how many numbers of the parameter one of it belongs."""

    dtype: torch.dtype
    block: int = 1

    def shape(self, parameter: Tensor) -> tuple[int, ...]:
        """The parameter's own, or (blocks,)."""
        return tuple(parameter.shape) if self.block == 1 else (-(-parameter.numel() // self.block),)


@dataclass(frozen=True)
class Piece:
    """Numbers `begin` to `end` of a parameter."""

    parameter: nn.Parameter
    group: Mapping[str, Any]
    begin: int
    end: int


class Piecewise(torch.optim.Optimizer):
    """States in memory up to a budget, the others in pages.

    Parameters take room in their order; those whose states do not fit beside the buffers live in pages. Where a state
    lives changes no bit of it.
    """

    def __init__(self, groups: Groups, budget: int | None = None, folder: str | None = None) -> None:
        """`budget` in bytes, None for all in memory. `folder` is where the pages of a CPU lie.

        Raises:
            Refusal: the budget does not hold two pieces.
        """
        super().__init__(list(groups), {"lr": 0.0, "weight_decay": 0.0})
        self.piece, self.piece_bytes, self.folder = PIECE, 0, folder
        self.homes: dict[nn.Parameter, dict[str, Tensor]] = {}
        self.paged = self._share_out(budget) if budget is not None else set()
        self.pages = self._room_for(self.paged) if self.paged else None

    @abstractmethod
    def layout(self, parameter: nn.Parameter) -> dict[str, Entry]:
        """The states of a parameter beside the number of its steps."""

    @abstractmethod
    def update(
        self, parameter: Tensor, gradient: Tensor, states: Mapping[str, Tensor], group: Mapping[str, Any], step: int
    ) -> None:
        """Change numbers of a parameter (N,) and of its states by their gradient (N,); the first step is 1."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of every parameter that has a gradient."""
        away: list[Piece] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if not self.state[parameter]:
                    self.state[parameter].update({"step": 0} | self._cleared(parameter))
                self.state[parameter]["step"] += 1
                if parameter in self.paged:
                    away += [
                        Piece(parameter, group, begin, min(begin + self.piece, parameter.numel()))
                        for begin in range(0, parameter.numel(), self.piece)
                    ]
                else:
                    whole = Piece(parameter, group, 0, parameter.numel())
                    self._update(whole, self._parts(whole))
        if self.pages is not None and away:
            shapes = isinstance(self.pages, HollowPages)  # one piece of a parameter is then like any other
            self._go_through([piece for piece in away if not shapes or piece.begin == 0], self.pages)

    def place(self, parameter: nn.Parameter, key: str, value: Tensor) -> Tensor:
        """A stored state, put where it lives."""
        home = self._home(parameter)[key]
        self._fill(home, value, self._pages_of(parameter))
        return home

    def copied(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies in the host's memory; of states that live in pages they live in pages too."""
        home_of = {tensor.data_ptr(): p for p in self.paged for tensor in self.homes.get(p, {}).values()}
        owners = {home_of[tensor.data_ptr()] for tensor in tensors.values() if tensor.data_ptr() in home_of}
        pages = self._room_for(owners) if owners else None
        copies = {}
        for name, tensor in tensors.items():
            if pages is None or tensor.data_ptr() not in home_of:
                copies[name] = tensor.detach().to("cpu", copy=True)
            else:
                copies[name] = pages.new(tensor.shape, tensor.dtype)
                self._fill(copies[name], tensor, pages, self.pages)
        return copies

    def let_go(self, part: Tensor) -> None:
        """A part of a tensor was read; of a state that lives in pages it leaves."""
        if self.pages is not None:
            self.pages.let_go(part)

    def _share_out(self, budget: int) -> set[nn.Parameter]:
        """Choose the size of a piece, and the parameters whose states live in pages."""
        layouts = {p: tuple(self.layout(p).values()) for group in self.param_groups for p in group["params"]}
        sizes = {p: sum(aligned(e.shape(p), e.dtype) for e in layout) for p, layout in layouts.items()}
        if sum(sizes.values()) <= budget:
            return set()
        kinds = set(layouts.values())
        if BUFFERS * _piece_bytes(kinds, UNIT) > budget:
            raise Refusal(
                f"training.optimizer.budget_mb = {budget / 1e6:g}: less than two pieces of states; "
                f"give at least {BUFFERS * _piece_bytes(kinds, UNIT) / 1e6:g}"
            )
        # Buffers take half of a small budget at most, so that parameters of few numbers stay in memory.
        candidates = range(PIECE, 0, -UNIT)
        self.piece = next((n for n in candidates if 2 * BUFFERS * _piece_bytes(kinds, n) <= budget), UNIT)
        self.piece_bytes = _piece_bytes(kinds, self.piece)
        left, paged = budget - BUFFERS * self.piece_bytes, set[nn.Parameter]()
        for parameter, size in sizes.items():
            if size <= left:
                left -= size
            else:
                paged.add(parameter)
        return paged

    def _room_for(self, parameters: Iterable[nn.Parameter]) -> Pages:
        """Pages for the states of parameters."""
        chosen = list(parameters)
        device = chosen[0].device
        if device.type == "meta" or isinstance(chosen[0], FakeTensor):
            return HollowPages(device, self.piece_bytes)
        if device.type == "cuda":
            return PinnedPages(device, self.piece_bytes)
        size = sum(aligned(entry.shape(p), entry.dtype) for p in chosen for entry in self.layout(p).values())
        return MappedPages(size, self.folder)

    def _pages_of(self, parameter: nn.Parameter) -> Pages | None:
        return self.pages if parameter in self.paged else None

    def _home(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The states of a parameter, zeros at first."""
        if parameter not in self.homes:
            pages = self._pages_of(parameter)
            entries = {key: (entry.shape(parameter), entry.dtype) for key, entry in self.layout(parameter).items()}
            self.homes[parameter] = {
                key: torch.zeros(shape, dtype=dtype, device=parameter.device)
                if pages is None
                else pages.new(shape, dtype)
                for key, (shape, dtype) in entries.items()
            }
        return self.homes[parameter]

    def _cleared(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The states of a parameter before its first step."""
        known = parameter in self.homes
        home = self._home(parameter)
        for state in home.values() if known else ():
            self._fill(state, None, self._pages_of(parameter))
        return home

    def _fill(self, into: Tensor, source: Tensor | None, *pages: Pages | None) -> None:
        """Copy numbers, or zeros where there is no source, piece by piece; what lives in the pages leaves at once."""
        flat, values = into.view(-1), None if source is None else source.reshape(-1)
        for begin in range(0, flat.numel(), self.piece):
            parts = [part[begin : begin + self.piece] for part in (flat, values) if part is not None]
            parts[0].zero_() if values is None else parts[0].copy_(parts[1])
            for place, part in zip(pages, parts, strict=False):
                if place is not None:
                    place.rest([part])

    def _parts(self, piece: Piece) -> list[Tensor]:
        """The flat parts of the states that belong to a piece."""
        layout, states = self.layout(piece.parameter), self.state[piece.parameter]
        return [
            states[key].view(-1)[piece.begin // entry.block : -(-piece.end // entry.block)]
            for key, entry in layout.items()
        ]

    def _update(self, piece: Piece, parts: Sequence[Tensor]) -> None:
        parameter, gradient = piece.parameter, piece.parameter.grad
        assert gradient is not None
        self.update(
            parameter.detach().view(-1)[piece.begin : piece.end],
            gradient.reshape(-1)[piece.begin : piece.end],
            dict(zip(self.layout(parameter), parts, strict=True)),
            piece.group,
            self.state[parameter]["step"],
        )

    def _go_through(self, pieces: Sequence[Piece], pages: Pages) -> None:
        """Update piece after piece, the next one on its way while one is worked on."""
        pages.fetch(self._parts(pieces[0]))
        for number, piece in enumerate(pieces):
            if number + 1 < len(pieces):
                pages.fetch(self._parts(pieces[number + 1]))
            parts = self._parts(piece)
            self._update(piece, pages.held(parts))
            pages.release(parts)
        pages.finish()


def _piece_bytes(layouts: Iterable[Sequence[Entry]], numbers: int) -> int:
    """What a piece of so many numbers takes of the widest of the layouts."""
    return max(sum(aligned((-(-numbers // entry.block),), entry.dtype) for entry in layout) for layout in layouts)
