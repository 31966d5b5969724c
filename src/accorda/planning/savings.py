"""What would make a run smaller: one setting at a time, and what is needed together, those first that cost least."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from accorda.errors import Refusal
from accorda.planning.bill import Bill, Change
from accorda.recipe.layers import mapping
from accorda.recipe.sections import Recipe

LEAST_LENGTH = 128
ORIGIN = "plan"
BITS = {"int8": 8, "nf4": 4}  # number formats, the larger one first

Price = Callable[[Recipe], Bill]


def changes(recipe: Recipe, bill: Bill, price: Price) -> tuple[Change, ...]:
    """Each change alone with what it saves; where no single one makes the run fit, the first together that do.

    Args:
        recipe: settled: micro-batch, length and precision are decided.
        bill: of the recipe.
        price: the bill of another recipe; may refuse it.
    """
    singles = [
        change for settings, says in candidates(recipe) if (change := tried(recipe, bill, price, settings, says))
    ]
    singles = [change for change in singles if change.saves > 0]
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
    if training.optimizer.get("name") == "adamw":
        yield {"training.optimizer.name": "paged_adamw"}, "moments beyond 64 MB wait in pages; the same bits, some time"
        yield {"training.optimizer.name": "adamw_8bit"}, "moments of a byte each"
        yield (
            {"training.optimizer.name": "adafactor"},
            "a row and a column of moments instead of two numbers each",
        )
    if method.get("name") != "full":
        smaller = {"none": ("int8", "nf4"), "int8": ("nf4",)}.get(recipe.model.quantization, ())
        yield from (({"model.quantization": name}, f"the frozen linears in {BITS[name]} bit") for name in smaller)
    if isinstance(length, int) and length // 2 >= LEAST_LENGTH:
        yield {"data.max_length": length // 2}, "longer rows do not fit then (data.overlong)"
    if method.get("name") == "full":
        yield {"method": {"name": "lora"}}, "low-rank adapters on a frozen base instead of every parameter"
        for name, bits in BITS.items():
            yield (
                {"method": {"name": "lora"}, "model.quantization": name},
                f"low-rank adapters on a frozen base in {bits} bit",
            )


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
