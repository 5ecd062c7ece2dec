"""Points into series and subplots: which facts still tell points apart once axes and colour have been chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.report.drawn import Trace
from llmbench.report.escape import one_line
from llmbench.report.palette import DASHES, PATTERNS, SYMBOLS
from llmbench.report.panels.data import Point
from llmbench.report.panels.label import facts_text, plain
from llmbench.report.words import named
from llmbench.suite.catalog import Scalar

MAX_POINTS = 1200  # of a panel: more do not show at 1280 pixels, and a page of ten panels stays below 3 MB
MAX_SERIES = 120  # of a panel


@dataclass(frozen=True)
class Series:
    """Points of one colour that differ in x alone. `rest` are facts beyond the colour, `style` counts its values."""

    color: str
    rest: Mapping[str, Scalar]
    style: int
    points: list[Point]
    many: bool  # whether the panel has several rests, so that a style says something

    @property
    def dash(self) -> dict[str, str]:
        """The line's dash, the same for the same rest; left to the page where there is one rest."""
        return {"dash": DASHES[self.style % len(DASHES)]} if self.many else {}

    @property
    def symbol(self) -> dict[str, str]:
        """The marker's symbol, the same for the same rest; left to the page where there is one rest."""
        return {"symbol": SYMBOLS[self.style % len(SYMBOLS)]} if self.many else {}

    @property
    def pattern(self) -> str:
        """The pattern of a bar: the same for the same rest."""
        return PATTERNS[self.style % len(PATTERNS)]

    @property
    def head(self) -> str:
        """The first line of its hover boxes."""
        return f"<b>{plain(self.color)}</b> {facts_text(self.rest)}".strip()


def rest_names(points: Sequence[Point], taken: Iterable[str | None], names: Iterable[str]) -> tuple[str, ...]:
    """The fewest of `names`, beside those `taken`, that tell the points apart; what follows from others is left out."""
    chosen = [n for n in dict.fromkeys(taken) if n is not None]
    offered = [n for n in names if n not in chosen]
    told = list({tuple(map(p.facts.get, (*chosen, *offered))) for p in points})  # points alike in all say nothing new
    keys, found = [values[: len(chosen)] for values in told], list[str]()
    for at, name in enumerate(offered, len(chosen)):
        if len(set(keys)) < len({(key, values[at]) for key, values in zip(keys, told, strict=True)}):
            found.append(name)
            keys = [(*key, values[at]) for key, values in zip(keys, told, strict=True)]
    return tuple(found)


def series_of(points: Sequence[Point], *, color: str, rest: Sequence[str]) -> list[Series]:
    """The points by colour and rest, colours in their order of appearance."""
    groups: dict[tuple[str, tuple[Scalar | None, ...]], list[Point]] = {}
    for p in points:
        key = str(p.facts.get(color, "")), tuple(p.facts.get(n) for n in rest)
        groups.setdefault(key, []).append(p)
    styles = {values: i for i, values in enumerate(dict.fromkeys(values for _, values in groups))}
    found = []
    for (name, values), members in groups.items():
        facts = {n: v for n, v in zip(rest, values, strict=True) if v is not None}
        found.append(Series(name, facts, styles[values], members, len(styles) > 1))
    return found


def style_text(series: Sequence[Series], what: str) -> str:
    """Which style stands for which rest, as a sentence of a caption; empty where there is one."""
    texts = {s.style: one_line(named(s.rest))[:120] for s in series}
    if len(texts) < 2:
        return ""
    styles = {"dash": DASHES, "symbol": SYMBOLS, "pattern": ("plain", *PATTERNS[1:])}[what]
    shown = [f"{styles[i % len(styles)]} {text}" for i, text in sorted(texts.items())][:8]
    more = f", and {len(texts) - len(shown)} more" if len(texts) > len(shown) else ""
    return f"{what.capitalize()}: {', '.join(shown)}{more}."


def thinned(points: Sequence[Point], *, limit: int = MAX_POINTS, what: str = "points") -> tuple[list[Point], str]:
    """At most `limit` points, evenly taken, and the sentence that says so."""
    if len(points) <= limit:
        return list(points), ""
    kept = [points[i * (len(points) - 1) // (limit - 1)] for i in range(limit)]
    return kept, f"{limit:,} of {len(points):,} {what} are drawn, evenly taken."


def few(series: Sequence[Series]) -> tuple[list[Series], str]:
    """At most `MAX_SERIES` series, and the sentence that says so."""
    left = len(series) - MAX_SERIES
    return list(series[:MAX_SERIES]), f"{left:,} more series are not drawn." if left > 0 else ""


def trace(data: dict[str, Any], points: Sequence[Point], series: str | None) -> Trace:
    """The trace with the filtered facts of its points: shared ones once, others a point each."""
    filters = [p.filters for p in points]
    shared = {k: v for k, v in (filters[0] if filters else {}).items() if all(f.get(k) == v for f in filters)}
    own = [{k: v for k, v in f.items() if k not in shared} for f in filters]
    return Trace(data, series, shared, own if any(own) else None)
