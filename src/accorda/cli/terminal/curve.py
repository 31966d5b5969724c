"""A curve drawn with characters: four rows and two columns of dots in each (Unicode's Braille patterns)."""

import math
from collections.abc import Sequence

BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within a character


def curve(points: Sequence[tuple[float, float]], label: str, *, width: int = 60, height: int = 8) -> str:
    """The line through (x, y) points, y upwards, with the bounds of both axes; nothing for fewer than two points.

    Heights are logarithms where every y is above zero, as losses are: the end of a curve is not flat because its
    beginning was steep.

    Args:
        points: in the order of their x.
        label: what the x axis counts.
        width: columns of the drawing, without the y axis.
        height: lines of the drawing.
    """
    if len(points) < 2:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    marks = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"]
    margin = max(map(len, marks))
    heights = [(x, math.log(y) if low > 0 else y) for x, y in points]
    lines = [f"{mark:>{margin}} ┤{line}" for mark, line in zip(marks, _drawn(heights, width, height), strict=True)]
    first, last = f"{xs[0]:g}", f"{xs[-1]:g} {label}"
    gap = " " * max(1, width - len(first) - len(last))
    return "\n".join([*lines, f"{'':>{margin}} └{'─' * width}", f"{'':>{margin}}  {first}{gap}{last}"])


def _drawn(points: Sequence[tuple[float, float]], width: int, height: int) -> list[str]:
    """The lines of the drawing, from above."""
    canvas = [[0] * width for _ in range(height)]
    rows = [round((1 - y) * (4 * height - 1)) for y in _sampled(points, 2 * width)]
    for column, (before, row) in enumerate(zip([rows[0], *rows], rows, strict=False)):
        step = 1 if row >= before else -1
        for each in range(before + step, row + step, step) if row != before else (row,):
            canvas[each // 4][column // 2] |= DOTS[each % 4][column % 2]
    return ["".join(chr(BRAILLE + cell) if cell else " " for cell in line).rstrip() for line in canvas]


def _sampled(points: Sequence[tuple[float, float]], count: int) -> list[float]:
    """The y at `count` equal steps of x, between the points by straight lines, scaled to 0..1."""
    low, high = min(y for _, y in points), max(y for _, y in points)
    begin, end = points[0][0], points[-1][0]
    heights, at = [], 0
    for number in range(count):
        x = begin + (end - begin) * number / (count - 1)
        while at < len(points) - 2 and points[at + 1][0] < x:
            at += 1
        (x0, y0), (x1, y1) = points[at], points[at + 1]
        y = y0 + (y1 - y0) * (x - x0) / (x1 - x0) if x1 > x0 else y1
        heights.append((y - low) / (high - low) if high > low else 0.5)
    return heights
