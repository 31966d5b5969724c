"""From a rehearsed run to its bill: what is held at the fullest instant of every stretch, item by item."""

from collections import Counter
from dataclasses import dataclass

from accorda.planning.bill import Moment
from accorda.planning.rehearsal import ACTIVATION, BACKWARD, FORWARD, LOSS, OTHER, TRAINING, Rehearsal
from accorda.planning.replay import Course, held

REPEATS = (0.83, 0.92, 0.77, 0.88, 0.97, 0.7, 1.0)
"""Optimizer steps after the second, of rows that are shorter, as those of most steps are: what one leaves of holes, the
next does not fill. By then the holes between tensors hardly grow."""
BY_LENGTH = (FORWARD, LOSS, BACKWARD)
"""Made in these parts of a step, and no parameter's gradient: as large as the rows are long."""


@dataclass(frozen=True)
class Fullest:
    """The instant at which most is in use: the event before it, and the bytes."""

    event: int
    used: int


def moments(rehearsal: Rehearsal, *, c_library: bool, own_mapping: int = 0) -> list[Moment]:
    """The stretches of a rehearsal at their fullest.

    Args:
        rehearsal: of a run.
        c_library: tensors come from the C library's allocator, so what it cannot give back counts.
        own_mapping: bytes from which that gives blocks mappings of their own; 0: by its own rule.
    """
    ledger, kinds = rehearsal.ledger, named(rehearsal)
    holes = unusable(rehearsal, own_mapping) if c_library else {}
    found = []
    for name, instant in fullest(rehearsal).items():
        sizes = Counter[str]()
        for number, size in ledger.events[: instant.event + 1]:
            sizes[kinds[number]] += ledger.sizes[number] if size is not None else -ledger.sizes[number]
        sizes["allocator"] = max(0, holes.get(name, 0) - instant.used)
        found.append(Moment.of(name, sizes))
    return found


def fullest(rehearsal: Rehearsal) -> dict[str, Fullest]:
    """By name of the stretch, the instant at which most is in use."""
    ledger, found, used = rehearsal.ledger, dict[str, Fullest](), 0
    for stretch in rehearsal.stretches:
        best = found.get(stretch.name, Fullest(stretch.begin, 0))
        for event in range(stretch.begin, stretch.end):
            number, size = ledger.events[event]
            used += ledger.sizes[number] if size is not None else -ledger.sizes[number]
            if used > best.used:
                best = Fullest(event, used)
        found[stretch.name] = best
    return found


def unusable(rehearsal: Rehearsal, own_mapping: int) -> dict[str, int]:
    """By name of the stretch, the most that the C library holds, holes included; empty where it cannot tell."""
    stretches = rehearsal.stretches
    last = max(place for place, stretch in enumerate(stretches) if stretch.name == TRAINING)
    order = [*stretches[: last + 1], *[stretches[last]] * len(REPEATS), *stretches[last + 1 :]]
    labels, recorded = rehearsal.ledger.labels, rehearsal.ledger.recorded
    graph = [number for number, label in labels.items() if label in (FORWARD, LOSS) and number in recorded]
    most = held(
        Course(
            events=ordered(rehearsal),
            stretches=[(stretch.begin, stretch.end) for stretch in order],
            outside=sorted(rehearsal.in_files),
            graph=graph,
            ends=rehearsal.backwards_end,
            own_mapping=own_mapping,
            by_length=[n for n, label in labels.items() if label in BY_LENGTH and n not in rehearsal.kinds],
            sizes=[*[1.0] * (last + 1), *REPEATS, *[1.0] * (len(stretches) - last - 1)],
        )
    )
    found: dict[str, int] = {}
    for stretch, size in zip(order, most or (), strict=False):
        found[stretch.name] = max(size, found.get(stretch.name, 0))
    return found


def ordered(rehearsal: Rehearsal) -> list[tuple[int, int | None]]:
    """The events; what goes at one instant goes in the order in which it came.

    It goes in the order of addresses where it was held in a set, and the holes of a heap hang on that order: the same
    recipe would have another bill each time.
    """
    events = list(rehearsal.ledger.events)
    bounds = {edge for stretch in rehearsal.stretches for edge in (stretch.begin, stretch.end)}
    bounds |= set(rehearsal.backwards_end)
    begin = 0
    for at, (_, size) in enumerate([*events, (0, 0)]):
        if size is not None or at in bounds:
            events[begin:at] = sorted(events[begin:at], key=lambda event: event[0])
            begin = at + (size is not None)
    return events


def named(rehearsal: Rehearsal) -> dict[int, str]:
    """The item of every tensor: what it is by name, an activation if it outlives its forward pass, else workspace."""
    ledger = rehearsal.ledger
    kinds = {number: LOSS if label == LOSS else OTHER for number, label in ledger.labels.items()}
    alive: set[int] = set()
    ends = set(rehearsal.forwards_end)
    for event, (number, size) in enumerate(ledger.events):
        if event in ends:
            kinds.update({each: ACTIVATION for each in alive if ledger.labels[each] == FORWARD})
        alive.add(number) if size is not None else alive.discard(number)
    return kinds | rehearsal.kinds
