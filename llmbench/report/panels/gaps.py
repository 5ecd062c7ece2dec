"""Where lines break: at cases without a value, so that no line passes where nothing was measured."""

from collections.abc import Mapping, Sequence

from llmbench.report.panels.data import Point
from llmbench.report.panels.quantity import Quantity
from llmbench.suite.catalog import Scalar

BREAKS = "Lines break where a case has no value."
Key = tuple[Scalar | None, ...]


class Gaps:
    """The points that have a place on a numbered axis and no value, by those facts that tell lines apart."""

    def __init__(self, points: Sequence[Point], x: Quantity, y: Quantity, names: Sequence[str | None]) -> None:
        self._x, self._names = x, [n for n in names if n]
        self._lost: dict[Key, list[Point]] = {}
        for p in points:
            if x.kind == "number" and x.has(p) and not y.has(p):
                self._lost.setdefault(self._key(p.facts), []).append(p)

    def between(self, points: Sequence[Point]) -> list[Point]:
        """The points of one line along x and, wherever others between two of them have no value, one of these."""
        taken = {place(self._x, p) for p in points}
        lost = [p for p in self._lost.get(self._key(points[0].facts), ()) if place(self._x, p) not in taken]
        gone, found = {id(p) for p in lost}, list[Point]()
        for p in sorted([*points, *lost], key=lambda p: place(self._x, p)):
            if id(p) not in gone or (found and id(found[-1]) not in gone):
                found.append(p)
        return found[:-1] if id(found[-1]) in gone else found

    def _key(self, facts: Mapping[str, Scalar]) -> Key:
        return tuple(facts.get(n) for n in self._names)


def place(x: Quantity, point: Point) -> float:
    """Where the point stands along the axis, for sorting."""
    if x.kind == "category":
        return float(x.order.index(point.facts[x.name]))
    value = x.at(point)
    return float(value) if isinstance(value, int | float) else 0.0


def stretches(points: Sequence[Point], y: Quantity) -> list[list[Point]]:
    """The points between gaps."""
    found: list[list[Point]] = [[]]
    for p in points:
        if y.has(p):
            found[-1].append(p)
        else:
            found.append([])
    return found
