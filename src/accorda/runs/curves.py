"""Line charts as inline SVG: no script, no network, colours from the page's own light or dark palette.

Lengths across are percent and upwards pixels, so that a chart takes the width of its page and its text keeps its size;
only the lines themselves are drawn in a stretched picture (0 to 1000 both ways).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from accorda.runs.figures import short
from accorda.runs.markup import text

HEIGHT = 168
MOST_POINTS, MOST_STOPS = 400, 48
SMOOTHED_FROM = 60
"""From so many points on, a line that jumps is drawn thin and its running mean over it."""
NEAR_THE_END = 0.82
"""Marks behind it would run into the last step's number, which always stands there."""
MANY_TIMES = 10
"""Heights may be logarithmic where the highest value is so many times the lowest."""
Points = Sequence[tuple[float, float]]
Look = Literal["line", "dots", "level"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A named line over steps: [(step, value), ...]; `bounds` are [(step, low, high), ...] of an interval around it.

    look: a line; a line with its points marked; or a level all across, of which only the value counts.
    """

    name: str
    points: Points
    look: Look = "line"
    bounds: Sequence[tuple[float, float, float]] = ()
    jumps: bool = False


class Scale(NamedTuple):
    """An axis: its lowest and highest value, the values with marks, and whether places go by their logarithms."""

    low: float
    high: float
    marks: list[float]
    logarithmic: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart: `zero` has the axis begin at 0; `steps` is what runs across, by default the steps that lines have.

    `decades`: heights are logarithmic where values differ much, so that a late fall is seen beside an early one.
    """

    title: str
    unit: str
    lines: Sequence[Line]
    zero: bool = False
    decades: bool = False
    steps: tuple[float, float] | None = None

    def html(self) -> str:
        """The figure; empty where no line over steps has a point."""
        lines = [line for line in self.lines if line.points]
        moving = [line for line in lines if line.look != "level"]
        if not moving:
            return ""
        across, up = self.scales(lines, moving)
        told = text(f"{self.title}: {'; '.join(map(summed, moving))}")
        number = {id(line): index for index, line in enumerate(lines)}
        drawn = "".join(curve(line, number[id(line)], across, up) for line in lines)
        dots = "".join(marked(line, number[id(line)], across, up) for line in moving)
        return (
            f'<figure class="chart"><figcaption><b>{text(self.title)}</b> <span>{text(self.unit)}</span>'
            f"{legend(lines)}</figcaption>"
            f'<svg class="plot" height="{HEIGHT}" role="img" aria-label="{told}">{grid(across, up)}'
            f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="{HEIGHT}">{drawn}</svg>'
            f"{dots}{stops(moving, across)}</svg></figure>"
        )

    def scales(self, lines: Sequence[Line], moving: Sequence[Line]) -> tuple[Scale, Scale]:
        """Both axes, wide enough for every line and interval."""
        xs = [*(self.steps or ()), *(step for line in moving for step, _ in line.points)]
        ys = [value for line in lines for _, value in line.points]
        ys += [value for line in lines for _, *bounds in line.bounds for value in bounds]
        across, low, high = scale(min(xs), max(xs), least=1), min(ys), max(ys)
        if self.decades and 0 < MANY_TIMES * low <= high:
            return across, decades(low, high)
        return across, scale(min(0.0, low) if self.zero else low, high, room=True)


def summed(line: Line) -> str:
    """A line for those who cannot see it."""
    (first, begun), (last, ended) = line.points[0], line.points[-1]
    return f"{line.name} {short(begun)} at step {first:g}, {short(ended)} at step {last:g}"


def legend(lines: Sequence[Line]) -> str:
    """The names of the lines, where there are several."""
    if len(lines) < 2:
        return ""
    keys = [f'<span class="key {line.look} c{index}">{text(line.name)}</span>' for index, line in enumerate(lines)]
    return f'<span class="legend">{"".join(keys)}</span>'


def curve(line: Line, index: int, across: Scale, up: Scale) -> str:
    """A line with its interval, in the stretched picture."""
    if line.look == "level":
        y = 1000 * (1 - part(line.points[0][1], up))
        return f'<polyline class="level c{index}" points="0,{y:.1f} 1000,{y:.1f}"/>'
    band = ""
    if len(line.bounds) > 1:
        lows = [(step, low) for step, low, _ in line.bounds]
        highs = [(step, high) for step, _, high in line.bounds]
        band = f'<polygon class="band c{index}" points="{placed(lows + highs[::-1], across, up)}"/>'
    if line.jumps and len(line.points) >= SMOOTHED_FROM:
        thin = f'<polyline class="thin c{index}" points="{placed(thinned(line.points), across, up)}"/>'
        means = thinned(running_mean(line.points))
        return f'{band}{thin}<polyline class="c{index}" points="{placed(means, across, up)}"/>'
    return f'{band}<polyline class="c{index}" points="{placed(thinned(line.points), across, up)}"/>'


def placed(points: Points, across: Scale, up: Scale) -> str:
    """Points of the stretched picture; its y grows downwards."""
    return " ".join(f"{1000 * part(x, across):.1f},{1000 * (1 - part(y, up)):.1f}" for x, y in points)


def marked(line: Line, index: int, across: Scale, up: Scale) -> str:
    """Dots where there are few points and each counts, and where there is but one."""
    if line.look != "dots" and len(line.points) > 1:
        return ""
    return "".join(
        f'<circle class="c{index}" cx="{100 * part(x, across):.2f}%" cy="{HEIGHT * (1 - part(y, up)):.1f}" r="3"/>'
        for x, y in (line.points if len(line.points) <= MOST_STOPS else line.points[-1:])
    )


def stops(lines: Sequence[Line], across: Scale) -> str:
    """Stretches of the chart that tell their values when a pointer rests on them."""
    steps = sorted({step for line in lines for step, _ in line.points})
    kept = [steps[round(at * (len(steps) - 1) / (MOST_STOPS - 1))] for at in range(MOST_STOPS)]
    kept = steps if len(steps) <= MOST_STOPS else sorted(set(kept))
    middles = [part((one + two) / 2, across) for one, two in pairwise(kept)]
    found = []
    for step, left, right in zip(kept, [0.0, *middles], [*middles, 1.0], strict=True):
        told = [said for line in lines for said in value_at(line, step)]
        found.append(
            f'<rect class="stop" x="{100 * left:.2f}%" width="{100 * (right - left):.2f}%" height="{HEIGHT}">'
            f"<title>{text(f'step {step:g}: ' + ', '.join(told))}</title></rect>"
        )
    return "".join(found)


def value_at(line: Line, step: float) -> list[str]:
    """The line's last value up to a step, with the step it is of where that is another; none in front of its first."""
    before = [(at, value) for at, value in line.points if at <= step]
    return [f"{line.name} {short(value)}{'' if at == step else f' (of step {at:g})'}" for at, value in before[-1:]]


def grid(across: Scale, up: Scale) -> str:
    """Lines and numbers of both axes, and what runs across."""
    parts = []
    for mark in up.marks:
        y = HEIGHT * (1 - part(mark, up))
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{short(mark)}</text>')
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{HEIGHT}" y2="{HEIGHT}"/>')
    for mark in across.marks:
        if part(mark, across) < NEAR_THE_END:
            x = f"{100 * part(mark, across):.2f}%"
            parts.append(f'<text x="{x}" y="{HEIGHT + 18}" text-anchor="middle">{short(mark)}</text>')
    parts.append(f'<text x="100%" y="{HEIGHT + 18}" text-anchor="end">step {across.high:,.0f}</text>')
    return "".join(parts)


def scale(low: float, high: float, *, room: bool = False, least: float = 0.0) -> Scale:
    """Lowest and highest value of an axis and its round marks between them, `least` or more apart.

    With `room` the axis goes on to the next mark on either side.
    """
    if low == high:
        low, high = (low - abs(low) * 0.5, high + abs(high) * 0.5) if low else (0.0, 1.0)
    raw = (high - low) / 4
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw * (1 - 1e-9))
    step = max(step, least)
    if room:
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    first = math.ceil(low / step - 1e-9)
    marks = [step * index for index in range(first, first + 12) if step * index <= high + step * 1e-9]
    return Scale(low, high, marks)


def decades(low: float, high: float) -> Scale:
    """A logarithmic axis with marks at powers of ten, and at two and five times them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    marks = [mark for power in powers for factor in factors if low <= (mark := factor * 10.0**power) <= high]
    return Scale(low, high, marks, logarithmic=True)


def part(value: float, of: Scale) -> float:
    """Where a value lies on an axis, from 0 to 1."""
    if of.logarithmic:
        return math.log(value / of.low) / math.log(of.high / of.low)
    return (value - of.low) / (of.high - of.low)


def running_mean(points: Points) -> list[tuple[float, float]]:
    """At every point the mean of those around it, as many as a twenty-fifth of all; fewer at either end."""
    reach = mean_width(points) // 2
    sums = [0.0, *accumulate(value for _, value in points)]
    found = []
    for at, (step, _) in enumerate(points):
        near = min(reach, at, len(points) - 1 - at)
        found.append((step, (sums[at + near + 1] - sums[at - near]) / (2 * near + 1)))
    return found


def mean_width(points: Points) -> int:
    """Points that a running mean takes together: an odd number."""
    return max(5, len(points) // 25) | 1


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
