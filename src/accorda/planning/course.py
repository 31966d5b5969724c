"""From a rehearsed run to its bill: what is held at the fullest instant of every stretch, item by item."""

from collections import Counter
from dataclasses import dataclass, replace

from accorda.planning.bill import Moment
from accorda.planning.heap import Heap
from accorda.planning.rehearsal import ACTIVATION, FORWARD, LOSS, OTHER, Rehearsal


@dataclass(frozen=True)
class Fullest:
    """The instant at which most is in use: the event before it, and the bytes. `held`: the most that pages hold."""

    event: int
    used: int
    held: int


def moments(rehearsal: Rehearsal, *, c_library: bool) -> list[Moment]:
    """The stretches of a rehearsal at their fullest.

    Args:
        rehearsal: of a run.
        c_library: tensors come from the C library's allocator, so what it cannot give back counts.
    """
    ledger = rehearsal.ledger
    instants = fullest(rehearsal, rehearsal.in_files if c_library else set(ledger.sizes))
    kinds = named(rehearsal)
    found = []
    for name, instant in instants.items():
        sizes = Counter[str]()
        for number, size in ledger.events[: instant.event + 1]:
            sizes[kinds[number]] += ledger.sizes[number] if size is not None else -ledger.sizes[number]
        if c_library:
            sizes["allocator"] = max(0, instant.held - instant.used)
        found.append(Moment.of(name, sizes))
    return found


def fullest(rehearsal: Rehearsal, outside: set[int]) -> dict[str, Fullest]:
    """By name of the stretch, the instant at which most is in use; tensors `outside` are not the heap's."""
    ledger, heap, found = rehearsal.ledger, Heap(), dict[str, Fullest]()
    used = elsewhere = 0
    for stretch in rehearsal.stretches:
        best = found.get(stretch.name, Fullest(stretch.begin, 0, 0))
        for event in range(stretch.begin, stretch.end):
            number, size = ledger.events[event]
            change = ledger.sizes[number] if size is not None else -ledger.sizes[number]
            used += change
            if number in outside:
                elsewhere += change
            elif size is not None:
                heap.allocate(number, size)
            else:
                heap.free(number)
            held = max(best.held, heap.resident + elsewhere)
            best = Fullest(event, used, held) if used > best.used else replace(best, held=held)
        found[stretch.name] = best
    return found


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
