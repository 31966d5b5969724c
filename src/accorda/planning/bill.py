"""The memory bill: for every moment of a run, what it holds, item by item. Bytes; a GB is 1e9 of them.

    total = the largest moment = weights + adapter + gradients + optimizer states + activations + ...

A bill is plain data: it is printed by `accorda plan`, shown by `--dry-run` and kept in `result.json` as `bill`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ITEMS = {  # in the order in which they are shown
    "weights": "the base model's parameters, in the number format they are held in",
    "base copy": "the base's value beside every parameter that trains in place (full: method.keep_base)",
    "adapter": "what the method adds to the model",
    "reward model": "what judges answers: its adapter and head on the policy's base, or a model of its own",
    "gradients": "one fp32 number per trained parameter",
    "optimizer states": "what the optimizer remembers of every trained parameter",
    "activations": "what the backward pass needs of the forward pass, for the largest micro-batch",
    "loss chunks": "logits of the positions that the loss takes at once, and what is made of them",
    "key/value cache": "keys and values of every position, for the rows that are answered at once",
    "workspace": "tensors that live for a moment: products, casts, dequantized weights, the optimizer's own",
    "copies": "the state that the proof of resume sets aside, and the checkpoint it reads back",
    "mapped files": "pages of the checkpoint that were read once; the system drops them when memory is short",
    "allocator": "free pieces between tensors that the C library does not give back",
    "overhead": "libraries, their tables and the interpreter's own objects",
}
DROPPABLE = ("mapped files",)


@dataclass(frozen=True)
class Item:
    """One line of a bill."""

    name: str
    bytes: int

    @property
    def says(self) -> str:
        """What it is, in one line."""
        return ITEMS[self.name]


@dataclass(frozen=True)
class Moment:
    """A stretch of a run at its fullest."""

    name: str
    items: tuple[Item, ...]

    @property
    def total(self) -> int:
        """All items."""
        return sum(item.bytes for item in self.items)

    @property
    def needed(self) -> int:
        """What must be there: without what the system can drop."""
        return sum(item.bytes for item in self.items if item.name not in DROPPABLE)

    def __getitem__(self, name: str) -> int:
        return next((item.bytes for item in self.items if item.name == name), 0)

    @classmethod
    def of(cls, name: str, sizes: Mapping[str, float]) -> "Moment":
        """From bytes by item, in the items' order; what is nothing is left out."""
        if unknown := sizes.keys() - ITEMS.keys():
            raise ValueError(f"no such items: {', '.join(sorted(unknown))}")
        return cls(name, tuple(Item(item, round(sizes[item])) for item in ITEMS if round(sizes.get(item, 0)) > 0))


@dataclass(frozen=True)
class Bill:
    """The moments of a run, and how much room there is.

    device: the name of what it is for. capacity: its bytes, None where nobody said. changes: what would make the run
    smaller, cheapest first.
    """

    moments: tuple[Moment, ...]
    device: str = "cpu"
    capacity: int | None = None
    changes: tuple["Change", ...] = ()

    @property
    def peak(self) -> Moment:
        """The fullest moment."""
        return max(self.moments, key=lambda moment: moment.total)

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of the fullest moment."""
        return self.peak.items

    @property
    def total(self) -> int:
        """The fullest moment's bytes: what the measured peak is compared with."""
        return self.peak.total

    @property
    def needed(self) -> int:
        """The most that must be there at once."""
        return max(moment.needed for moment in self.moments)

    @property
    def fits(self) -> bool | None:
        """Whether the device has that much; None where its size is not known."""
        return None if self.capacity is None else self.needed <= self.capacity

    def __getitem__(self, name: str) -> int:
        """Bytes of an item at its largest, over the moments."""
        return max(moment[name] for moment in self.moments)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "total": self.total,
            "needed": self.needed,
            "moment": self.peak.name,
            "items": [{"name": item.name, "bytes": item.bytes, "says": item.says} for item in self.items],
            "moments": [
                {"name": moment.name, "total": moment.total, "items": {item.name: item.bytes for item in moment.items}}
                for moment in self.moments
            ],
            "device": self.device,
            "capacity": self.capacity,
            "fits": self.fits,
            "changes": [change.to_dict() for change in self.changes],
        }


@dataclass(frozen=True)
class Change:
    """Settings that make a run smaller. `settings`: dotted name -> value. saves: bytes of the total."""

    settings: Mapping[str, Any]
    says: str
    total: int
    saves: int
    fits: bool | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "settings": dict(self.settings)}


def line(at: Sequence[int], bills: Sequence[Bill], to: int) -> Bill:
    """The bill at `to`, on the straight line through those at two places, item by item."""
    share = (to - at[0]) / (at[1] - at[0])
    moments = []
    for moment in bills[0].moments:
        other = next(each for each in bills[1].moments if each.name == moment.name)
        names = {item.name for item in (*moment.items, *other.items)}
        sizes = {name: moment[name] + share * (other[name] - moment[name]) for name in names}
        moments.append(Moment.of(moment.name, sizes))
    return Bill(tuple(moments), bills[0].device)
