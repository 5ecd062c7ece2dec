"""Which values of a suite break a rule of its op together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

from llmbench.suite.case import expand
from llmbench.suite.catalog import Constraint, OpSpec, Scalar
from llmbench.suite.document import Place, seen
from llmbench.suite.suite import Suite

Settings = Mapping[str, Sequence["Setting"]]  # by parameter


class Setting(NamedTuple):
    """A value that a parameter takes, where the text says so, and for an axis which of its values it belongs to."""

    value: Scalar
    place: Place
    axis: str | None = None
    label: str = ""


def violations(suite: Suite, settings: Settings) -> Iterator[tuple[str, Place]]:
    """The first combination that breaks each rule of the op and is not skipped: what is wrong, and where."""
    measured: list[Mapping[str, Scalar]] = []
    for rule in suite.op.constraints:
        for chosen in _together(rule, settings):
            told = _broken(suite.op, rule, *chosen)
            if told and suite.skip:
                measured = measured or [c.params for point in expand(suite) for c in point.cases if not c.skip]
                told = told if _has(measured, rule, chosen) else None
            if told:
                yield told
                break


def _broken(op: OpSpec, rule: Constraint, left: Setting, right: Setting, *preset: Setting) -> tuple[str, Place] | None:
    spec = op.param(rule.left)
    if rule.kind in ("only_with", "not_with") and spec is not None and left.value == spec.default:
        return None
    own = rule.own.get(str(preset[0].value), {}) if preset else {}
    values = [s.value or own.get(n, s.value) for n, s in ((rule.left, left), (rule.right, right))]
    what = broken(rule, *values)
    if what is None:
        return None
    labels = list(dict.fromkeys(s.label for s in (left, right, *preset) if s.axis))
    where = f" (at {' '.join(labels)})" if labels else ""
    if len(labels) > 1:
        where += "; skip it, or have both in one axis with labels"
    whose = [f", the own of {seen(preset[0].value)}" if preset and not s.value else "" for s in (left, right)]
    first = f"{rule.left} {seen(values[0])}{whose[0]}{whose[0] and ','}"
    return f"{first} {what} {rule.right} {seen(values[1])}{whose[1]}{where}", left.place or right.place or ("op",)


def _together(rule: Constraint, settings: Settings) -> Iterable[tuple[Setting, ...]]:
    """The values that the parameters of a rule take together: of one axis only those of the same label."""
    names = (rule.left, rule.right, *([rule.preset] if rule.preset else []))
    for chosen in product(*(settings.get(name, ()) for name in names)):
        if all(a.axis is None or a.axis != b.axis or a.label == b.label for a, b in combinations(chosen, 2)):
            yield chosen


def _has(measured: Iterable[Mapping[str, Scalar]], rule: Constraint, chosen: Sequence[Setting]) -> bool:
    """Whether any case has these values."""
    values = [(str(name), s.value) for name, s in zip((rule.left, rule.right, rule.preset), chosen, strict=False)]
    return any(all(params.get(name) == value for name, value in values) for params in measured)


def broken(constraint: Constraint, left: Scalar, right: Scalar) -> str | None:
    """Which rule the two values break, as `is not a multiple of`, or None. `left` is not at its default."""
    if constraint.kind == "only_with":
        return "has no effect with" if right != constraint.value else None
    if constraint.kind == "not_with":
        return "has no effect with" if right == constraint.value else None
    if isinstance(left, str) or isinstance(right, str):
        return None
    if constraint.kind == "at_most":
        return "is more than" if left > right else None
    return "is not a multiple of" if right and left % right else None
