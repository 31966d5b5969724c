"""Line charts as inline SVG: no script, no network, colours from the page's own light or dark palette."""

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 220, 62, 12, 12, 28
MOST_POINTS = 400
Points = Sequence[tuple[float, float]]


def chart(title: str, unit: str, lines: Sequence[tuple[str, Points]]) -> str:
    """One chart with one or two named lines over steps; empty where no line has a point.

    Each line is (name, [(step, value), ...]); long lines are thinned so that peaks stay.
    """
    lines = [(name, thinned(points)) for name, points in lines if points]
    if not lines:
        return ""
    xs, ys = ([point[axis] for _, points in lines for point in points] for axis in (0, 1))
    across, up = scale(min(xs), max(xs)), scale(min(ys), max(ys))
    drawn = "".join(line(name, points, number, across, up) for number, (name, points) in enumerate(lines))
    last = "; ".join(f"{name}: {number(points[-1][1])} at step {points[-1][0]:g}" for name, points in lines)
    legend = "".join(f'<span class="key line-{index}">{escape(name)}</span>' for index, (name, _) in enumerate(lines))
    return (
        f"<figure><figcaption><b>{escape(title)}</b> {escape(unit)} {legend if len(lines) > 1 else ''}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}: {last}", quote=True)}">'
        f"{grid(across, up)}{drawn}</svg></figure>"
    )


def line(name: str, points: Points, index: int, across: "Scale", up: "Scale") -> str:
    """One line; a single point is a dot."""
    placed = [(at_x(step, across), at_y(value, up)) for step, value in points]
    tip = f"<title>{escape(name)}: {number(points[0][1])} to {number(points[-1][1])}</title>"
    if len(placed) == 1:
        return f'<circle class="line-{index}" cx="{placed[0][0]:.1f}" cy="{placed[0][1]:.1f}" r="3">{tip}</circle>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    return f'<polyline class="line-{index}" points="{path}">{tip}</polyline>'


Scale = tuple[float, float, list[float]]


def scale(low: float, high: float) -> Scale:
    """Lowest and highest value of an axis and its round marks between them."""
    if low == high:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    raw = (high - low) / 4
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw)
    first = math.ceil(low / step)
    marks = [step * index for index in range(first, first + 12) if step * index <= high]
    return low, high, marks


def at_x(value: float, across: Scale) -> float:
    """Where a step lies."""
    return LEFT + (value - across[0]) / (across[1] - across[0]) * (WIDTH - LEFT - RIGHT)


def at_y(value: float, up: Scale) -> float:
    """Where a value lies; the picture's y grows downwards."""
    return HEIGHT - BOTTOM - (value - up[0]) / (up[1] - up[0]) * (HEIGHT - TOP - BOTTOM)


def grid(across: Scale, up: Scale) -> str:
    """Lines and numbers of both axes."""
    parts = []
    for mark in up[2]:
        y = at_y(mark, up)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(mark)}</text>')
    for mark in across[2]:
        parts.append(f'<text x="{at_x(mark, across):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{number(mark)}</text>')
    return "".join(parts)


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most about `MOST_POINTS` points: of every stretch its lowest and highest, in their order."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = math.ceil(2 * len(points) / MOST_POINTS)
    kept = [points[0]]
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        pair = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(pair)
    return [*kept, points[-1]]


def number(value: float) -> str:
    """A number short enough for an axis."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    for factor, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.4g}{sign}"
    return f"{value:.2g}"
