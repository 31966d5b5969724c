"""The memory bill made before the run, beside the peak that was measured."""

from accorda.runs.figures import size
from accorda.runs.markup import text
from accorda.runs.story import Story, is_number


def memory(story: Story) -> str:
    """The items of the bill as one bar, the measured peak as another, and by how much the bill was off."""
    bill, peak = story.result.get("bill_bytes"), story.result.get("peak_memory_bytes")
    both = (("bill", bill), ("measured peak", peak))
    known = [(name, value) for name, value in both if is_number(value) and value > 0]
    if not known:
        return ""
    most = max(value for _, value in known)
    bars = "".join(bar(name, [(name, value)], most) for name, value in known)
    if len(known) < 2:
        return bars
    off = known[0][1] / known[1][1] - 1
    return f'{bars}<p class="note">The bill is {abs(off):.0%} {"above" if off > 0 else "below"} what was measured.</p>'


def bar(name: str, items: list[tuple[str, float]], most: float) -> str:
    """A bar of one or more parts, as long as its share of the largest."""
    total = sum(value for _, value in items)
    parts = "".join(
        f'<i class="c{number % 8}" style="width:{100 * value / most:.2f}%" title="{text(part)}: {size(value)}"></i>'
        for number, (part, value) in enumerate(items)
        if value > 0
    )
    return f'<div class="bar"><span>{text(name)}</span><b>{size(total)}</b><div>{parts}</div></div>'
