"""Which facts get subplots of their own: those that the dashboard names, else those that leave few lines in each."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from llmbench.report.dashboard import PanelSpec
from llmbench.report.palette import DASHES
from llmbench.report.panels.data import Point
from llmbench.report.panels.grid import MAX_CELLS
from llmbench.suite.catalog import Scalar

MOST_LINES = len(DASHES)  # of a subplot
MOST_COLUMNS = 4  # whose tick labels have room
LAST = "run"  # runs are there to be compared: they share a subplot unless their dashes would repeat


class Facets(NamedTuple):
    """The facts of subplots side by side and one below the other; `note` says so where the dashboard names none."""

    facet: str | None
    row: str | None
    note: str = ""

    def left(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those names that tell lines of a subplot apart."""
        return tuple(n for n in names if n not in (self.facet, self.row))


def facets_of(spec: PanelSpec, points: Sequence[Point], *, color: str | None, rest: Sequence[str]) -> Facets:
    """The dashboard's facet and row; where it names neither and more than six lines would share a plot, one or two of
    `rest`, which with the colour tells lines apart."""
    if spec.facet or spec.row:
        return Facets(spec.facet, spec.row)
    names = (*([color] if color else []), *rest)
    lines = _Lines(names, frozenset(tuple(p.facts.get(n) for n in names) for p in points))
    own = [n for n in rest if n != LAST]
    split = _further(lines, _further(lines, (), own), own)
    if LAST in rest and lines.of(rest).most(split) > MOST_LINES:
        split = _further(lines, split, [LAST])
    if not split:
        return Facets(None, None)
    note = f"A subplot for each {' and '.join(split)}: {len(lines.values):,} lines in one cannot be told apart."
    if lines.of(rest).most(split) > MOST_LINES:
        note += " Dashes repeat even so; where, facet and row of a dashboard leave fewer lines."
    few, many = sorted((split[0], split[-1]), key=lambda n: lines.cells([n]))
    facet, row = (many, few) if lines.cells([many]) <= MOST_COLUMNS else (few, many)
    return Facets(facet, row if row != facet else None, note)


@dataclass(frozen=True)
class _Lines:
    """The lines of a plot, each by its values of `names`."""

    names: tuple[str, ...]
    values: frozenset[tuple[Scalar | None, ...]]

    def of(self, names: Sequence[str]) -> "_Lines":
        """The lines as far as these names tell them apart."""
        at = [self.names.index(n) for n in names]
        return _Lines(tuple(names), frozenset(tuple(line[i] for i in at) for line in self.values))

    def most(self, split: Sequence[str]) -> int:
        """The most lines of a subplot, one for each of `split`."""
        at = [self.names.index(n) for n in split]
        return max(Counter(tuple(line[i] for i in at) for line in self.values).values(), default=0)

    def cells(self, split: Sequence[str]) -> int:
        """How many subplots that makes."""
        return prod(len(self.of([n]).values) for n in split)


def _further(lines: _Lines, split: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...]:
    """`split` and, where lines are still too many, that name which leaves the fewest, in the fewest subplots."""
    most = lines.most(split)
    found = [(max(MOST_LINES, lines.most([*split, n])), lines.cells([*split, n]), n) for n in names if n not in split]
    able = [f for f in found if f[0] < most and f[1] <= MAX_CELLS] if len(split) < 2 else []
    return (*split, min(able, key=lambda f: f[:2])[2]) if able else split
