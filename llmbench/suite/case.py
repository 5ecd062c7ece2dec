"""Cases and points: the product of a suite's axes, with identities that survive renaming and new parameters."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, NamedTuple

from llmbench.suite.catalog import OpSpec, Phase, Scalar
from llmbench.suite.suite import Axis, Match, Suite

TimerClass = Literal["wall", "device", "simulated"]


@dataclass(frozen=True)
class Case:
    """One thing to measure: an implementation of an op, in a phase, with every parameter set.

    `skip` is the suite's reason not to run it; `axes` holds the labels of the named bundles that set its parameters.
    """

    case_id: str
    point_id: str
    op: str
    op_version: int
    impl: str
    phase: Phase
    params: dict[str, Scalar]
    cache: str
    timer_class: TimerClass
    axes: dict[str, str] = field(default_factory=dict)
    told: dict[str, Scalar] = field(
        default_factory=dict
    )  # what tells it from its neighbours: axes in the suite's order
    is_baseline: bool = False
    skip: str | None = None

    @property
    def label(self) -> str:
        """What to call it when talking to people: `flex fwd seq_len=512 heads=gqa`."""
        return " ".join([self.impl, self.phase, *(f"{k}={v}" for k, v in self.told.items())])


@dataclass(frozen=True)
class Point:
    """Cases that differ only in what the baseline names, as a rule the implementation: they can be compared."""

    point_id: str
    cases: tuple[Case, ...]


def timer_class(device: str) -> TimerClass:
    """What kind of clock a device is measured with, known before anything runs."""
    return "device" if device.startswith("cuda") else "simulated" if device.startswith("simulated") else "wall"


def case_id(
    op: OpSpec, *, impl: str, phase: str, params: Mapping[str, Scalar], cache: str, timer_class: TimerClass
) -> str:
    """The identity of a case, 16 hexadecimal digits.

    Parameters at their default are left out, so that a parameter that is added later does not rename old cases.
    """
    defaults = {p.name: p.default for p in op.params}
    named = {k: v for k, v in params.items() if defaults.get(k) != v or type(defaults.get(k)) is not type(v)}
    return _digest([op.name, op.version, impl, phase, named, cache, timer_class])


def point_id(
    op: OpSpec, *, impl: str, phase: str, params: Mapping[str, Scalar], cache: str, timer_class: TimerClass,
    without: Collection[str],
) -> str:  # fmt: skip
    """The identity of a point: the case without `without` (what tells the cases of a point apart), and that itself."""
    rest = case_id(
        op,
        impl="" if "impl" in without else impl,
        phase="" if "phase" in without else phase,
        params={k: v for k, v in params.items() if k not in without},
        cache=cache,
        timer_class=timer_class,
    )
    return _digest([rest, sorted(without)])


def expand(suite: Suite) -> list[Point]:
    """Every case of the suite, in the order of its axes, by point. Skip rules mark a case, they never drop it."""
    points: dict[str, dict[str, Case]] = {}
    for combination in _combinations(suite):
        for phase, impl in product(suite.phases, suite.impls):
            case = _case(suite, combination, impl=impl, phase=phase)
            points.setdefault(case.point_id, {}).setdefault(case.case_id, case)
    return [Point(point_id=key, cases=tuple(cases.values())) for key, cases in points.items()]


def _case(suite: Suite, combination: "_Combination", *, impl: str, phase: Phase) -> Case:
    params, cache, clock = combination.params, suite.measure.cache, timer_class(suite.device)
    facts = {**params, **combination.labels, "impl": impl, "phase": phase}
    return Case(
        case_id=case_id(suite.op, impl=impl, phase=phase, params=params, cache=cache, timer_class=clock),
        point_id=point_id(
            suite.op, impl=impl, phase=phase, params=params, cache=cache, timer_class=clock, without=compared(suite)
        ),
        op=suite.op.name,
        op_version=suite.op.version,
        impl=impl,
        phase=phase,
        params=params,
        cache=cache,
        timer_class=clock,
        axes=combination.labels,
        told=combination.told,
        is_baseline=bool(suite.baseline) and all(facts.get(k) == v for k, v in suite.baseline.items()),
        skip=next((s.why for s in suite.skip if matches(s.match, facts)), None),
    )


def compared(suite: Suite) -> frozenset[str]:
    """What tells the cases of a point apart: the keys of the baseline, bundles as the parameters that they set."""
    bundles = {a.name: {k for v in a.values for k in v.params} for a in suite.axes}
    keys = suite.baseline or {"impl": ""}
    return frozenset(name for key in keys for name in bundles.get(key, {key}))


def matches(match: Match, facts: Mapping[str, Scalar]) -> bool:
    """Whether every key of `match` has one of its values in `facts`."""
    return all(facts.get(key) in values for key, values in match.items())


def facts_of(case: Case) -> dict[str, Scalar]:
    """What a match can name: parameters, axis labels, impl and phase."""
    return {**case.params, **case.axes, "impl": case.impl, "phase": case.phase}


def only(points: list[Point], match: Match) -> list[Point]:
    """The points with the cases that match; points without any are left out."""
    kept = [Point(p.point_id, tuple(c for c in p.cases if matches(match, facts_of(c)))) for p in points]
    return [p for p in kept if p.cases]


def ends(axis: Axis) -> Axis:
    """The axis reduced to its first and last value: what `--quick` runs."""
    return Axis(axis.name, axis.values if len(axis.values) < 3 else (axis.values[0], axis.values[-1]))


class _Combination(NamedTuple):
    """One value of each axis: every parameter of the op, the labels of bundles, and what tells it from the others."""

    params: dict[str, Scalar]
    labels: dict[str, str]
    told: dict[str, Scalar]


def _combinations(suite: Suite) -> Iterator[_Combination]:
    defaults = {p.name: p.default for p in suite.op.params if p.default is not None}
    for values in product(*(axis.values for axis in suite.axes)):
        given = {**defaults, **suite.fixed}
        told: dict[str, Scalar] = {}
        for axis, value in zip(suite.axes, values, strict=True):
            given |= value.params
            told |= value.params if value.label is None else {axis.name: value.label}
        labels = {a.name: v.label for a, v in zip(suite.axes, values, strict=True) if v.label is not None}
        yield _Combination({p.name: given[p.name] for p in suite.op.params if p.name in given}, labels, told)


def _digest(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def needs_as_much(case: Case, other: Case, sizes: Sequence[str]) -> bool:
    """Whether `case` is `other` made larger, or with another cache: alike but for `sizes`, none of them less."""
    alike = (case.op, case.impl, case.phase) == (other.op, other.impl, other.phase)
    if not sizes or not alike or case.params.keys() != other.params.keys():
        return False
    for name, value in case.params.items():
        before = other.params[name]
        grew = name in sizes and isinstance(value, int) and isinstance(before, int) and value > before
        if value != before and not grew:
            return False
    return case.case_id != other.case_id
