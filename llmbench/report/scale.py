"""SI values as people read them: 1.234 ms, 12.5 MiB, 412.3 TFLOP/s. The one place where display units are chosen."""

import math
from collections.abc import Sequence
from typing import NamedTuple

FIGURES = 4  # significant digits of a time: its interval is 1 % wide as a rule
WIDE = 0.1  # half-width of an interval from which "±" would hide that it is skewed
MISSING = "–"


class Scale(NamedTuple):
    """A display unit and how many SI units it holds."""

    unit: str
    size: float


TIMES = (Scale("ns", 1e-9), Scale("µs", 1e-6), Scale("ms", 1e-3), Scale("s", 1.0))
BYTES = (Scale("B", 1.0), Scale("KiB", 2.0**10), Scale("MiB", 2.0**20), Scale("GiB", 2.0**30), Scale("TiB", 2.0**40))
FLOP_RATES = (
    Scale("FLOP/s", 1.0),
    Scale("MFLOP/s", 1e6),
    Scale("GFLOP/s", 1e9),
    Scale("TFLOP/s", 1e12),
    Scale("PFLOP/s", 1e15),
)
BYTE_RATES = (Scale("GB/s", 1e9),)  # memory bandwidth is compared in GB/s at any size


def digits(value: float, figures: int = FIGURES) -> str:
    """`value` with that many significant digits, never with an exponent between 1e-6 and 1e15."""
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    plain = f"{value:#.{figures}g}"
    if "e" not in plain:
        return plain.removesuffix(".")
    exponent = _exponent(value, figures)
    if not -6 <= exponent < 15:
        return f"{value:.{figures - 1}e}"
    return f"{value:.{max(0, figures - 1 - exponent)}f}"


def scale_of(value: float, scales: Sequence[Scale], figures: int = FIGURES) -> Scale:
    """The largest unit in which `value`, rounded, is at least 1; the smallest there is below that."""
    if not math.isfinite(value) or value == 0:
        return scales[0]
    for scale in reversed(scales):
        share = abs(value) / scale.size
        if share >= 1 or (share > 0.9 and float(f"{share:.{figures - 1}e}") >= 1):
            return scale
    return scales[0]


def scaled(value: float | None, scale: Scale, figures: int = FIGURES, *, unit: bool = True) -> str:
    """`value` in that unit, with or without its name."""
    if value is None or not math.isfinite(value):
        return MISSING
    return digits(value / scale.size, figures) + (f" {scale.unit}" if unit else "")


def time_text(time_s: float | None) -> str:
    """`1.234 ms`."""
    return scaled(time_s, scale_of(time_s or 0.0, TIMES))


def bytes_text(size_bytes: float | None) -> str:
    """`12.5 MiB`; whole bytes below a KiB."""
    if size_bytes is not None and 0 <= size_bytes < 2**10:
        return f"{size_bytes:.0f} B"
    return scaled(size_bytes, scale_of(size_bytes or 0.0, BYTES, 3), 3)


def percent_text(fraction: float | None, decimals: int = 0) -> str:
    """`12%`, with that many decimals; `<0.01%` for what would round to nothing."""
    if fraction is None or not math.isfinite(fraction):
        return MISSING
    text = f"{fraction * 100:.{decimals}f}"
    if float(text) == 0 and fraction != 0:
        return f"<{10.0**-decimals:.{decimals}f}%"
    return text + "%"


def spread_text(value: float, low: float, high: float) -> str:
    """Half the width of an interval as a share of `value`: `±1.23%`; its two sides apart, `-5/+40%`, from `WIDE` on."""
    half_width = round((high - low) / 2 / value, 4)  # as it is shown
    if half_width < WIDE:
        return f"±{percent_text(half_width, 2)}"
    return f"-{(value - low) / value * 100:.0f}/+{(high - value) / value * 100:.0f}%"


def _exponent(value: float, figures: int) -> int:
    return int(f"{value:.{figures - 1}e}".partition("e")[2])
