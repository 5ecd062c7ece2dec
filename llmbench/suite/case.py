"""Cases and points: the product of a suite's axes, with identities that survive renaming, reordering and new parameters."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

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
    is_baseline: bool = False
    skip: str | None = None

    @property
    def label(self) -> str:
        """What to call it when talking to people: `flex fwd seq_len=512 heads=gqa`, parameters in the op's order."""
        return " ".join([self.impl, self.phase, *(f"{k}={v}" for k, v in self.axes.items())])


@dataclass(frozen=True)
class Point:
    """Cases that differ only in what the baseline names (as a rule the implementation), so that they can be compared."""

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
    """The identity of a point: the case without `without` (what tells the cases of a point apart)."""
    return case_id(
        op,
        impl="" if "impl" in without else impl,
        phase="" if "phase" in without else phase,
        params={k: v for k, v in params.items() if k not in without},
        cache=cache,
        timer_class=timer_class,
    )


def expand(suite: Suite) -> list[Point]:
    """Every case of the suite, in the order of its axes, grouped by point. Skip rules mark a case, they never drop it."""
    clock, without = timer_class(suite.device), compared(suite)
    points: dict[str, list[Case]] = {}
    seen: set[str] = set()
    for params, axes in _combinations(suite):
        for phase in suite.phases:
            for impl in suite.impls:
                facts = {**params, **axes, "impl": impl, "phase": phase}
                same = {"impl": impl, "phase": phase, "params": params, "cache": suite.measure.cache}
                case = Case(
                    case_id=case_id(suite.op, timer_class=clock, **same),  # type: ignore[arg-type]
                    point_id=point_id(suite.op, timer_class=clock, without=without, **same),  # type: ignore[arg-type]
                    op=suite.op.name,
                    op_version=suite.op.version,
                    impl=impl,
                    phase=phase,
                    params=params,
                    cache=suite.measure.cache,
                    timer_class=clock,
                    axes=axes,
                    is_baseline=bool(suite.baseline) and all(facts.get(k) == v for k, v in suite.baseline.items()),
                    skip=next((s.why for s in suite.skip if matches(s.match, facts)), None),
                )
                if case.case_id not in seen:
                    seen.add(case.case_id)
                    points.setdefault(case.point_id, []).append(case)
    return [Point(point_id=key, cases=tuple(cases)) for key, cases in points.items()]


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


def _combinations(suite: Suite) -> Iterator[tuple[dict[str, Scalar], dict[str, str]]]:
    defaults = {p.name: p.default for p in suite.op.params if p.default is not None}
    for values in product(*(axis.values for axis in suite.axes)):
        given = dict(suite.fixed)
        for value in values:
            given.update(value.params)
        params = {p.name: given.get(p.name, defaults.get(p.name)) for p in suite.op.params}
        axes = {a.name: v.label for a, v in zip(suite.axes, values, strict=True) if v.label is not None}
        yield {k: v for k, v in params.items() if v is not None}, axes


def _digest(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
