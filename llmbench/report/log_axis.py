"""Logarithmic axes that can be read: ticks written out, and ratios that one long whisker does not push together."""

from collections.abc import Iterable
from math import ceil, isfinite, log10
from typing import Any, NamedTuple

FULL = ".6~g"  # whole numbers: plotly's own say 2 and 5 for 20 and 50
LINEAR, MOST = 5, 8  # ticks that plotly is asked for within a decade, where it takes linear steps, and at most
DECADES_A_TICK = 0.45  # plotly takes 1, 2 and 5 at 0.3 to 0.7 decades a tick; below every digit, above powers of ten

LEAST_ROOM = 1.3  # beyond the points, as a factor: what an interval of a few blocks takes as a rule
ROOM = 1 / 3  # or this share of the distance between them, where that is more


class Span(NamedTuple):
    """How far an axis of ratios reaches at most."""

    low: float
    high: float

    @property
    def clip(self) -> dict[str, Any]:
        """A logarithmic axis ends there, wherever the ends of its whiskers are."""
        return {"autorangeoptions": {"clipmin": self.low, "clipmax": self.high}}

    @property
    def clip_above(self) -> dict[str, Any]:
        """A linear axis, which starts at 0, ends there."""
        return {"autorangeoptions": {"clipmax": self.high}}

    def cut(self, intervals: Iterable[tuple[float, float] | None]) -> str:
        """How many of these intervals go on beyond it, as a sentence; empty where none does."""
        count = sum(i is not None and (i[0] < self.low or i[1] > self.high) for i in intervals)
        return f"{count:,} interval{'s go' if count > 1 else ' goes'} on beyond the axis." if count else ""


def decades(values: Iterable[float]) -> float:
    """How many powers of ten the positive ones of these values span, and an axis of them with its margins."""
    known = [v for v in values if isfinite(v) and v > 0]
    return 1.1 * log10(max(known) / min(known)) + 0.05 if known else 0.0


def log_ticks(span: float) -> dict[str, Any]:
    """Ticks of a logarithmic axis of so many decades that have room for their labels."""
    return {"nticks": LINEAR if span < 1 else min(MOST, ceil(span / DECADES_A_TICK)), "tickformat": FULL}


def ratio_span(values: Iterable[float]) -> Span:
    """The span of these ratios and 1, with room for whiskers on both sides."""
    known = [1.0, *(v for v in values if isfinite(v) and v > 0)]
    room = max(LEAST_ROOM, (max(known) / min(known)) ** ROOM)
    return Span(min(known) / room, max(known) * room)
