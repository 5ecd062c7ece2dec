"""Two runs side by side: cases matched by identity, never by name; what changed, worst first."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmbench.analyze.change import Basis, Change, change
from llmbench.analyze.conditions import Conditions, conditions_of, moved_together, notes, weaknesses
from llmbench.analyze.facts import Facts
from llmbench.analyze.labels import facts_by_case, label
from llmbench.analyze.limits import ALWAYS, Limits, named_facts, named_limits
from llmbench.analyze.stats import TAU
from llmbench.analyze.summary import Line, Summary, summarise
from llmbench.errors import UsageError
from llmbench.metrics import DETERMINISTIC, METRICS
from llmbench.store.origin import Evidence
from llmbench.store.query import Row
from llmbench.store.runs import Header, Load
from llmbench.suite.catalog import Scalar

STILL = 0.005  # a change below is none, however narrow its interval: common drift of the device between two runs

Kind = Literal["broken", "worse", "only in A", "unclear", "only in B", "fixed", "better", "no result", "same"]
WORST_FIRST: tuple[Kind, ...] = (
    "broken", "worse", "only in A", "unclear", "only in B", "fixed", "better", "no result", "same",
)  # fmt: skip
"""Kinds of a case or a metric, most pressing first. `unclear`: a change as large as counts, on too little evidence."""

NOT_RUN = frozenset({"skipped", "unavailable"})
CODE_CHANGED = "code of the implementation changed"
ONE_PROCESS = "one process on a side: intervals are within one process, and unchanged code differs more between two"


@dataclass(frozen=True)
class Side:
    """A run in a comparison."""

    run_id: str
    folder: str
    suite: str
    host: str | None
    device_name: str | None
    device_key: str | None
    torch: str | None
    triton: str | None
    commit: str | None
    dirty: bool
    quick: bool
    complete: bool
    started: str  # UTC, ISO 8601
    load: Load | None


@dataclass(frozen=True)
class Seen:
    """How a case fared on one side, by its worst process."""

    status: str
    why: str | None
    processes: int
    conditions: Conditions


@dataclass(frozen=True)
class Pair:
    """A case on both sides; None on the side that does not have it. `changes` only where both sides are `ok`."""

    case_id: str
    label: str
    facts: dict[str, Scalar]  # what tells it from the other cases, implementation and phase included
    a: Seen | None
    b: Seen | None
    changes: tuple[Change, ...]
    kinds: dict[str, Kind]  # metric -> what kind of change it is
    kind: Kind
    notes: tuple[str, ...]  # what differs in how it was measured, and in what
    code_changed: bool | None  # whether the file that holds the implementation differs; None where that is unknown

    def change(self, metric: str) -> Change | None:
        """The change of that metric, or None."""
        return next((c for c in self.changes if c.metric == metric), None)


@dataclass(frozen=True)
class Comparison:
    """Runs A and B, their cases worst first, and what its reader must know before the numbers."""

    a: Side
    b: Side
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]
    facts: tuple[Facts, Facts]  # of A and of B

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that any case has on a side, in the order of the package."""
        seen = {c.metric for p in self.pairs for c in p.changes}
        return tuple(name for name in METRICS if name in seen)

    @property
    def code_changed(self) -> tuple[str, ...]:
        """The implementations whose code differs between A and B."""
        return tuple(sorted({str(p.facts["impl"]) for p in self.pairs if p.code_changed}))


@dataclass(frozen=True)
class ForestRow:
    """A row of a forest plot: a ratio B / A, with the ends of its interval where it has one."""

    case_id: str
    label: str
    metric: str
    ratio: float
    low: float | None
    high: float | None
    kind: Kind
    basis: Basis


def compare(a: Evidence, b: Evidence, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Time, peak memory and what the `gate` of either suite names, for every case of A or B; the other deterministic
    metrics where both sides have them, as not every run asks for their probe.

    `names` is what warnings and notes call the sides.
    """
    one, other = _Measured.of(a), _Measured.of(b)
    gates = [named_limits(e.run.manifest.header.suite) for e in (a, b)]
    named = {*ALWAYS, *gates[0].metrics, *gates[1].metrics}
    limits = Limits({**gates[0].shares, "time": TAU, **gates[1].shares}, gates[1].cases)
    first = {key: rows[0] for key, rows in {**other.rows, **one.rows}.items()}
    facts = facts_by_case(first, b.run.manifest.header.suite)
    pairs = [_pair(key, facts[key], one, other, limits, named, names) for key in first]
    pairs.sort(key=_pressing)
    sides = side_of(a), side_of(b)
    weak = [
        text for m, e, name in zip((one, other), (a, b), names, strict=True) for text in weaknesses(m.summary, e, name)
    ]
    return Comparison(
        *sides, tuple(pairs), (*_warnings(*sides, pairs, names), *weak), (one.summary.facts, other.summary.facts)
    )


class _Measured(NamedTuple):
    """A run by its cases."""

    summary: Summary
    lines: dict[str, Line]
    rows: dict[str, list[Row]]
    header: Header

    @classmethod
    def of(cls, evidence: Evidence) -> "_Measured":
        summary = summarise(evidence.run)
        rows: dict[str, list[Row]] = {}
        for row in evidence.run.rows:
            rows.setdefault(row.case_id, []).append(row)
        return cls(summary, {line.case_id: line for line in summary.lines}, rows, evidence.run.manifest.header)

    def seen(self, key: str) -> Seen | None:
        """How a case fared; None if the run does not have it."""
        line = self.lines.get(key)
        return None if line is None else Seen(line.status, line.why, line.processes, conditions_of(line, self.header))


def refuse_disjoint(comparison: Comparison) -> None:
    """Raises: UsageError when no case is in both runs."""
    if any(p.a and p.b for p in comparison.pairs):
        return
    of_a = sum(p.a is not None for p in comparison.pairs)
    sides = (("A", comparison.a, of_a), ("B", comparison.b, len(comparison.pairs) - of_a))
    told = [f"{name} {s.folder} has {n} case{'' if n == 1 else 's'} of suite {s.suite}" for name, s, n in sides]
    raise UsageError(
        f"no case is in both runs: {', '.join(told)}; wanted: two runs that share op, implementations, phases and "
        "parameters, as two runs of one suite on the same kind of device do"
    )


def forest(comparison: Comparison, metric: str = "time") -> tuple[ForestRow, ...]:
    """Every case that has a ratio of `metric`, worst first."""
    return tuple(
        ForestRow(p.case_id, p.label, metric, c.ratio, c.low, c.high, p.kinds[metric], c.basis)
        for p in comparison.pairs
        if (c := p.change(metric)) is not None and c.ratio is not None
    )


def side_of(evidence: Evidence) -> Side:
    """Which run it is: what was measured as its records say, the rest from its manifest."""
    manifest, origin = evidence.run.manifest, evidence.origin
    return Side(
        run_id=manifest.header.run_id,
        folder=str(evidence.run.folder),
        suite=manifest.header.suite.name,
        host=str(host) if (host := manifest.header.machine.facts.get("host")) else None,
        device_name=origin.device_name,
        device_key=origin.device_key,
        torch=origin.torch,
        triton=origin.triton,
        commit=origin.commit,
        dirty=manifest.header.code.dirty,
        quick=origin.quick,
        complete=manifest.complete,
        started=manifest.header.started,
        load=manifest.header.load,
    )


def _pair(
    key: str, facts: dict[str, Scalar], one: _Measured, other: _Measured, limits: Limits,
    named: Collection[str], names: tuple[str, str],
) -> Pair:  # fmt: skip
    """`named`: the metrics that tell something even where one side alone has them."""
    line_a, line_b = one.lines.get(key), other.lines.get(key)
    rows_a, rows_b = one.rows.get(key, []), other.rows.get(key, [])
    shares = limits.of(named_facts((rows_b or rows_a)[0])).shares
    wanted = [name for name in METRICS if name in named or name in DETERMINISTIC]
    taus = {m: max(TAU, shares.get(m, TAU)) if m in DETERMINISTIC else shares.get(m, TAU) for m in wanted}
    changes: list[Change] = []
    if line_a is not None and line_b is not None and line_a.status == line_b.status == "ok":
        found = (change(name, _whole(rows_a, name), _whole(rows_b, name)) for name in taus)
        changes = [c for c in found if c is not None and (c.metric in named or None not in (c.a, c.b))]
    kinds = {c.metric: kind_of(c, taus[c.metric]) for c in changes}
    a, b = one.seen(key), other.seen(key)
    code_changed = _code_changed(rows_a, rows_b)
    return Pair(
        case_id=key,
        label=label(facts),
        facts=facts,
        a=a,
        b=b,
        changes=tuple(changes),
        kinds=kinds,
        kind=_kind(a, b, kinds.values()),
        notes=(
            *([CODE_CHANGED] if code_changed else []),
            *(notes(line_a, line_b, names) if line_a and line_b else ()),
        ),
        code_changed=code_changed,
    )  # fmt: skip


def _code_changed(rows_a: Iterable[Row], rows_b: Iterable[Row]) -> bool | None:
    a, b = ({r.impl_hash for r in rows if r.impl_hash} for rows in (rows_a, rows_b))
    return a != b if a and b else None


def kind_of(change: Change, tau: float) -> Kind:
    """What kind of change it is: less is better for every metric that can be compared.

    An exact metric changed if it differs at all, and is worse if every process of B has more than all of A. Others are
    `worse` or `better` if the CI over processes excludes 1 and the change is no mere drift, `unclear` if they moved by
    `tau` without that.
    """
    a, b = change.a, change.b
    if a is None or b is None:
        return "only in B" if a is None else "only in A"
    if change.basis == "exact":
        return "same" if a == b else "worse" if b > a else "better"
    if change.exceeds(0):
        return "worse"
    if change.ratio is None:
        return "same" if a == b and change.negative is None else "unclear"
    if change.basis == "processes" and change.excludes_one and abs(change.ratio - 1) >= STILL:
        return "worse" if change.ratio > 1 else "better"
    return "same" if change.ratio == 1 or 1 / (1 + tau) < change.ratio < 1 + tau else "unclear"


def _kind(a: Seen | None, b: Seen | None, kinds: Iterable[Kind]) -> Kind:
    if a is None or b is None:
        return "only in B" if a is None else "only in A"
    if a.status == b.status == "ok":
        return min(kinds, key=WORST_FIRST.index, default="no result")
    if "ok" not in (a.status, b.status):
        return "no result"
    if a.status == "ok":
        return "only in A" if b.status in NOT_RUN else "broken"
    return "only in B" if a.status in NOT_RUN else "fixed"


def _pressing(pair: Pair) -> tuple[int, float]:
    """Sorts worst first: by kind, then by how far the metric that decides the kind went."""
    ratios = [c.ratio or 1.0 for c in pair.changes if pair.kinds[c.metric] == pair.kind]
    return WORST_FIRST.index(pair.kind), -max((max(r, 1 / r) if r > 0 else 1.0 for r in ratios), default=1.0)


def _warnings(a: Side, b: Side, pairs: Sequence[Pair], names: tuple[str, str]) -> Iterator[str]:
    """What makes the two runs less comparable than they look, most important first."""
    if a.device_key != b.device_key:
        on_a, on_b = (f"{n} on {s.device_name} ({s.device_key})" for n, s in zip(names, (a, b), strict=True))
        yield f"different devices: {on_a}, {on_b}; the ratios compare machines, not code"
    for fact in ("torch", "triton"):
        before, after = getattr(a, fact), getattr(b, fact)
        if before != after:
            yield (
                f"different {fact}: {names[0]} {before or 'none'}, {names[1]} {after or 'none'}; "
                "a change may be its doing"
            )
    if a.suite != b.suite:
        yield f"different suites: {names[0]} {a.suite}, {names[1]} {b.suite}"
    if pairs and not any(p.a and p.b for p in pairs):
        yield "no case is in both runs"
    if any(c.basis == "within one process" for p in pairs for c in p.changes):
        yield ONE_PROCESS
    times = ((str(p.facts["impl"]), c.ratio) for p in pairs if (c := p.change("time")) is not None)
    together = moved_together([(impl, ratio) for impl, ratio in times if ratio is not None])
    if together is not None:
        yield together


def _whole(rows: Sequence[Row], metric: str) -> list[Row]:
    """The rows of a metric of the whole case, one a process."""
    return [r for r in rows if r.metric == metric and r.part is None]
