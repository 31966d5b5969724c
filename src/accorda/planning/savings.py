"""What would make a run smaller: one setting at a time, and what is needed together, those first that cost least."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from accorda.errors import Refusal
from accorda.generation.progress import tell
from accorda.methods.registry import methods
from accorda.planning.bill import Bill, Change
from accorda.quantization import formats
from accorda.recipe.layers import mapping
from accorda.recipe.sections import Recipe
from accorda.training.optimizers.contract import Settings
from accorda.training.optimizers.registry import optimizers

LEAST_LENGTH = 128
LEAST_SAVED = 0.01  # of what settings decide: a change that saves less is worth a line only where the run fits by it
ORIGIN = "plan"
STANDING = "overhead"  # the part of a bill that no setting changes, and most of a tiny model's
USUAL = {"name": "lora"}  # in place of a method that trains the base's own weights
SIDE = 4096  # of the matrix by which number formats and optimizers are compared

Price = Callable[[Recipe], Bill]


def changes(recipe: Recipe, bill: Bill, price: Price) -> tuple[Change, ...]:
    """Each change alone with what it saves; where no single one makes the run fit, the first together that do.

    Args:
        recipe: settled: micro-batch, length and precision are decided.
        bill: of the recipe.
        price: the bill of another recipe; may refuse it.
    """
    singles, asked = [], list(candidates(recipe))
    for number, (settings, says) in enumerate(asked):
        tell("changes tried", number, len(asked))
        if (change := tried(recipe, bill, price, settings, says)) is not None:
            singles.append(change)
    least = LEAST_SAVED * (bill.needed - bill[STANDING])
    singles = [one for one in singles if one.saves >= least or (one.saves > 0 and one.fits and bill.fits is False)]
    if bill.fits is not False or any(change.fits for change in singles):
        return tuple(sorted(singles, key=lambda change: not change.fits))
    return (*together(recipe, bill, price, singles), *singles)


def candidates(recipe: Recipe) -> Iterator[tuple[dict[str, Any], str]]:
    """Settings to try, in the order of what they cost: nothing, time, precision, the method itself."""
    training, method = recipe.training, recipe.method
    rows, length = training.micro_batch_size, recipe.data.max_length
    if method.get("keep_base"):
        yield {"method.keep_base": False}, "the base is not kept beside what trains: no way back to it in one process"
    if isinstance(rows, int) and rows > 1:
        yield {"training.micro_batch_size": 1}, "one row of full length at a time; the gradient stays the same"
    if not training.gradient_checkpointing:
        yield {"training.gradient_checkpointing": True}, "activations are computed twice: about a third more time"
    if training.precision == "fp32":
        yield {"training.precision": "bf16"}, "products and what is kept of them in 16 bit"
    yield from (({"training.optimizer.name": name}, says) for name, says in leaner(str(training.optimizer["name"])))
    adapter = trains_beside(str(method["name"]))
    smaller = formats_below(recipe.model.quantization)
    if adapter:
        yield from (({"model.quantization": name}, f"the frozen linears in {bits} bit") for name, bits in smaller)
    if isinstance(length, int) and length // 2 >= LEAST_LENGTH:
        yield {"data.max_length": length // 2}, "longer rows do not fit then (data.overlong)"
    if not adapter:
        yield {"method": USUAL}, "low-rank adapters on a frozen base instead of the base's own weights"
        for name, bits in smaller:
            yield {"method": USUAL, "model.quantization": name}, f"low-rank adapters on a frozen base in {bits} bit"


def leaner(name: str) -> list[tuple[str, str]]:
    """Optimizers that hold less in memory than the one of that name, the nearest first, and what each is."""
    held = {other: bytes_held(settings()) for other, settings in optimizers().items()}
    less = sorted((other for other in held if held[other] < held[name]), key=lambda other: -held[other])
    return [(other, (optimizers()[other].__doc__ or "").splitlines()[0].rstrip(".")) for other in less]


def bytes_held(settings: Settings) -> float:
    """In memory, of the states of a large matrix."""
    return settings.bytes_in_memory(SIDE * SIDE * settings.bytes_per_parameter((SIDE, SIDE)))


def formats_below(name: str) -> list[tuple[str, int]]:
    """Number formats that are smaller than the one of that name (`none`: dense), the largest first, with their bits."""
    bits = {one: round(8 * found.num_bytes(SIDE, SIDE) / SIDE**2) for one, found in formats().items()}
    return sorted(
        ((one, each) for one, each in bits.items() if name == "none" or each < bits[name]), key=lambda found: -found[1]
    )


def trains_beside(names: str) -> bool:
    """Whether a method, or each of several, leaves the base's weights as they are, in whatever format they lie."""
    return all(methods()[part.strip()].traits.quantized_base for part in names.split("+"))


def tried(recipe: Recipe, bill: Bill, price: Price, settings: Mapping[str, Any], says: str) -> Change | None:
    """A change with its saving; None where the recipe would be refused with it."""
    try:
        after = price(changed(recipe, settings))
    except Refusal:
        return None
    return Change(dict(settings), says, after.total, bill.needed - after.needed, after.fits)


def together(recipe: Recipe, bill: Bill, price: Price, singles: list[Change]) -> Iterator[Change]:
    """The first changes that fit when they are made one upon the other; nothing where all of them do not."""
    settings: dict[str, Any] = {}
    for single in singles:
        if set(single.settings) & set(settings):
            continue
        settings |= single.settings
        after = tried(recipe, bill, price, settings, "together")
        if after is not None and after.fits and len(settings) > 1:
            yield after
            return


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings; a method is replaced whole."""
    for name, value in settings.items():
        if name == "method":
            recipe = Recipe.build(mapping(recipe) | {"method": value}, dict(recipe.origins))
        else:
            recipe = recipe.with_value(name, value, ORIGIN)
    return recipe
