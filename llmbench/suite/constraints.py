"""Which values of a suite break a rule of its op together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import NamedTuple

from llmbench.suite.catalog import Constraint, OpSpec, Scalar
from llmbench.suite.document import Place, seen
from llmbench.suite.suite import Skip

Settings = Mapping[str, Sequence["Setting"]]  # by parameter


class Setting(NamedTuple):
    """A value that a parameter takes, where the text says so, and for an axis which of its values it belongs to."""

    value: Scalar
    place: Place
    axis: str | None = None
    label: str = ""


def violations(op: OpSpec, settings: Settings, skip: Sequence[Skip]) -> Iterator[tuple[str, Place]]:
    """The first combination that breaks each rule and is not skipped: what is wrong, and where."""
    for rule in op.constraints:
        asked = (chosen for chosen in _together(rule, settings) if not _skipped(rule, chosen, skip))
        yield from islice(filter(None, (_broken(op, rule, *chosen) for chosen in asked)), 1)


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


def _skipped(rule: Constraint, chosen: Sequence[Setting], skip: Sequence[Skip]) -> bool:
    """Whether all cases that have these values are skipped."""
    names = (rule.left, rule.right, rule.preset)
    facts: dict[str, Scalar] = {s.axis: s.label.partition("=")[2] for s in chosen if s.axis and s.axis not in names}
    facts |= {str(name): s.value for name, s in zip(names, chosen, strict=False)}
    return any(all(facts.get(key) in values for key, values in one.match.items()) for one in skip)


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
