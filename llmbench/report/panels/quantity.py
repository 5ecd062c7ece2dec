"""What an axis shows: a metric in one display unit, a number, or categories in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any, Literal

from llmbench.analyze.stats import Estimate
from llmbench.report.dashboard_names import ALL_METRICS
from llmbench.report.log_axis import Span, decades, log_ticks, ratio_span
from llmbench.report.panels.data import Point
from llmbench.report.panels.label import bases_text, estimate_text, interval_text, plain, tick_text, value_text
from llmbench.report.scale import BYTE_RATES, BYTES, FLOP_RATES, TIMES, Scale, digits, scale_of, scaled
from llmbench.suite.catalog import Scalar

FIGURES = 5  # significant digits of a number in a chart
DECADE_TICKS = 12  # values of an axis that each get a tick of their own
SPAN = 8.0  # an axis of numbers whose largest is this many times its smallest is logarithmic

RATIOS = {
    "speedup": "Speed-up: time of the baseline over that of the case.",
    "overhead": "Time of the case over that of the baseline of its point, less 1.",
}
PAIRED = "Paired by block, with the 95 % CI over pairs of blocks."
UNPAIRED = "~ not paired, so drift between the two is in it; its interval: from the far ends of both medians' own."

_SCALES: dict[str, Sequence[Scale]] = {
    "s": TIMES,
    "B": BYTES,
    "FLOP/s": FLOP_RATES,
    "B/s": BYTE_RATES,
    "J": (Scale("µJ", 1e-6), Scale("mJ", 1e-3), Scale("J", 1.0), Scale("kJ", 1e3)),
    "Hz": (Scale("MHz", 1e6),),
    "1/s": (Scale("/s", 1.0), Scale("k/s", 1e3), Scale("M/s", 1e6)),
    "degC": (Scale("°C", 1.0),),
}
_RATIOS = {
    "flop_peak_fraction": Scale("%", 0.01), "bytes_peak_fraction": Scale("%", 0.01), "speedup": Scale("×", 1.0),
    "hardware_flop_peak_fraction": Scale("%", 0.01), "overhead": Scale("%", 0.01),
}  # fmt: skip
_TITLES = {
    "flop_per_s": "FLOP rate", "bytes_per_s": "memory traffic", "tokens_per_s": "tokens", "speedup": "speed-up",
    "flop_peak_fraction": "share of peak FLOP/s", "bytes_peak_fraction": "share of peak bandwidth",
    "intensity": "arithmetic intensity", "ideal_speedup": "ideal speed-up", "rel_error": "relative error",
    "max_error": "largest error", "kv_cache": "KV cache", "kv_cache_reduction": "reduction of the KV cache",
    "floor_time": "time that the bytes take at least", "moments_per_param": "moments of a parameter",
    "overhead": "time beyond the baseline's", "state_memory": "state between steps",
    "hardware_flop_per_s": "FLOP rate with recomputation",
    "hardware_flop_peak_fraction": "share of peak FLOP/s with recomputation",
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """A name that a panel puts on an axis or in a column, and how its values are shown."""

    name: str
    kind: Literal["metric", "number", "category"]
    scale: Scale
    log: bool
    order: tuple[Scalar, ...]  # of a number or category: every value there is, in the order of the axis
    decades: float = 0.0  # that a logarithmic axis spans
    span: Span | None = None  # of a ratio: its axis ends there, and longer whiskers are cut

    @property
    def words(self) -> str:
        """The name as people say it."""
        return _TITLES.get(self.name, self.name.replace("_", " ")) if self.kind == "metric" else self.name

    @property
    def title(self) -> str:
        """The name with the unit of its numbers: `peak memory (MiB)`."""
        return f"{self.words} ({self.scale.unit})" if self.scale.unit else self.words

    def estimate(self, point: Point) -> Estimate | None:
        """The metric of that point, SI units; None for a fact and where the point has none."""
        found = point.values.get(self.name) if self.kind == "metric" else None
        return found if found is not None and isfinite(found.value) and (found.value > 0 or not self.log) else None

    def has(self, point: Point) -> bool:
        """Whether the point has a place on the axis."""
        return self.estimate(point) is not None if self.kind == "metric" else self.name in point.facts

    def at(self, point: Point) -> float | str | None:
        """Where the point stands on the axis."""
        if self.kind == "metric":
            found = self.estimate(point)
            return None if found is None else self.shown(found.value)
        value = point.facts.get(self.name)
        if value is None:
            return None
        if self.kind == "category":
            return plain(value)
        return value if isinstance(value, int) else short(float(value))

    def shown(self, value: float) -> float:
        """An SI value in the display unit, rounded."""
        return short(value / self.scale.size)

    def bounds(self, point: Point) -> tuple[float, float] | None:
        """The interval of that point in the display unit."""
        found = self.estimate(point)
        if found is None or found.low is None or found.high is None or not isfinite(found.low + found.high):
            return None
        return (self.shown(found.low), self.shown(found.high)) if found.low > 0 or not self.log else None

    def hover(self, point: Point) -> str:
        """The value as a hover box says it."""
        if self.kind != "metric":
            return f"{plain(self.name)}={plain(point.facts.get(self.name, ''))}"
        found = self.estimate(point)
        return "" if found is None else f"{plain(self.words)} {self._mark(point)}{estimate_text(found, self.scale)}"

    def cell(self, point: Point) -> str:
        """The value as a table says it, without its unit."""
        if self.kind != "metric":
            return value_text(point.facts.get(self.name))
        found = point.values.get(self.name)
        return "" if found is None else self._mark(point) + scaled(found.value, self.scale, unit=False)

    def interval_cell(self, point: Point) -> str:
        """The interval as a table says it."""
        found = point.values.get(self.name)
        return "" if found is None else interval_text(found, self.scale)

    def _mark(self, point: Point) -> str:
        return "~" if self.name in RATIOS and is_unpaired(point) else ""

    def axis(self) -> dict[str, Any]:
        """The axis as plotly's layout has it, without its place."""
        axis: dict[str, Any] = {"title": {"text": plain(self.title), "standoff": 8}, "automargin": True}
        if self.kind == "category":
            values = list(dict.fromkeys(plain(v) for v in self.order))
            return {**axis, "type": "category", "categoryorder": "array", "categoryarray": values}
        axis |= {"type": "log", **log_ticks(self.decades)} if self.log else {"type": "linear"}
        axis["exponentformat"] = "none"
        if self.span:
            axis |= self.span.clip if self.log else self.span.clip_above
        if self.kind == "number" and len(self.order) <= DECADE_TICKS:
            axis |= {"tickvals": list(self.order), "ticktext": [tick_text(v) for v in self.order]}
        elif self.kind == "metric" and not self.log:
            axis["rangemode"] = "tozero"
        return axis


def quantity(name: str, points: Sequence[Point], *, log: bool | None = None) -> Quantity:
    """How `name` is shown for these points; `log` None decides by what they span."""
    if name in ALL_METRICS:
        values = [e.value for p in points if (e := p.values.get(name)) is not None and isfinite(e.value)]
        default = name == "speedup" or (ALL_METRICS[name].unit in ("s", "B") and _spans([v for v in values if v > 0]))
        span = ratio_span(values) if name == "speedup" else None
        reach = decades([*values, 1.0] if span else values)
        return Quantity(name, "metric", _scale(name, values), default if log is None else log, (), reach, span)
    known = list(dict.fromkeys(v for p in points if (v := p.facts.get(name)) is not None))
    numbers = [v for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    if numbers and len(numbers) == len(known):
        positive = min(numbers) > 0
        chosen = _spans(numbers) if log is None else log
        return Quantity(name, "number", Scale("", 1.0), positive and chosen, tuple(sorted(numbers)), decades(numbers))
    return Quantity(name, "category", Scale("", 1.0), False, tuple(known))


def is_unpaired(point: Point) -> bool:
    """Whether its speed-up is a ratio of two medians that were measured apart."""
    return point.line.speedup is not None and not point.line.speedup.paired


def intervals_text(found: Quantity, points: Sequence[Point]) -> str:
    """What the intervals of these points rest on, as a sentence; empty where there are none."""
    if found.name not in RATIOS:
        return bases_text([e for p in points if (e := found.estimate(p)) is not None])
    known = [p for p in points if p.line.speedup is not None]
    paired = PAIRED if not all(map(is_unpaired, known)) else ""
    return " ".join(filter(None, [RATIOS[found.name], paired, UNPAIRED if any(map(is_unpaired, known)) else ""]))


def as_category(found: Quantity) -> Quantity:
    """The same quantity with a place for each of its values, however far apart they are."""
    return found if found.kind == "metric" else Quantity(found.name, "category", found.scale, False, found.order)


def short(value: float) -> float:
    """`value` rounded to five significant digits, an integer where it is one: fewer bytes on the page."""
    rounded = float(f"{value:.{FIGURES}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def number_text(value: float) -> str:
    """A number that is no metric, as texts have it."""
    return digits(value, 3)


def _spans(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) >= SPAN


def _scale(name: str, values: Sequence[float]) -> Scale:
    unit = ALL_METRICS[name].unit
    if name in _RATIOS:
        return _RATIOS[name]
    scales = _SCALES.get(unit, (Scale("" if unit == "1" else unit, 1.0),))
    return scale_of(median(values) if values else 0.0, scales)
