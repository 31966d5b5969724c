"""Numbers for people: counts, sizes, durations, shares. A GB is 1e9 bytes."""

import math

LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def number(value: float) -> str:
    """A count with its thousands apart, or a measure of four digits."""
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def short(value: float) -> str:
    """A number short enough for an axis: `12k`, `0.25`, `5e-5`."""
    for factor, sign in LARGE:
        if abs(value) >= max(factor, 1e4) or (factor == 1e3 <= abs(value) and value % 100 == 0):
            return f"{value / factor:.4g}{sign}"
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def size(value: float) -> str:
    """Bytes."""
    for factor, unit in SIZES:
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}" if abs(value) < 999.5 * factor else f"{value / factor:,.0f} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float) -> str:
    """`0.8 s`, `34 s`, `12 min 3 s`, `1 h 4 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def share(part: float, whole: float) -> str:
    """Part of a whole in percent, small shares with the digits they need."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.0f}%" if percent >= 10 or percent == 0 else f"{percent:.2g}%"
