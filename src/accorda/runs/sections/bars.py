"""A bar of parts, each as long as its share and with one colour all over its section."""

from collections.abc import Callable, Mapping

from accorda.runs.figures import size
from accorda.runs.markup import text

Sizes = Mapping[str, float]
COLORS = 10


def bar(name: str, items: Sizes, most: float, order: list[str], shown: Callable[[float], str] = size) -> str:
    """A bar with a part per item, as long as its share of `most`; `shown` writes an amount."""
    parts = []
    for item, value in items.items():
        width = 100 * value / most
        title = f"{text(item)}: {shown(value)}"
        parts.append(f'<i class="{color(item, order)}" style="width:{width:.2f}%" title="{title}"></i>' * (value > 0))
    total = shown(sum(items.values()))
    return f'<div class="bar"><span>{text(name)}</span><b>{total}</b><div>{"".join(parts)}</div></div>'


def color(item: str, order: list[str]) -> str:
    """The class of an item's colour; grey for what the order does not have."""
    return f"c{order.index(item) % COLORS}" if item in order else "plain"


def named(item: str, order: list[str]) -> str:
    """An item's name behind its colour."""
    return f'<span class="swatch {color(item, order)}"></span>{text(item)}'
