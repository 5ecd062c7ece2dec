"""A run as lines, one a case, in the order of the suite: what every table, document and file of a report is made of."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmbench.analyze.derive import Rates, derive
from llmbench.analyze.facts import Facts, facts_of, varying
from llmbench.analyze.further import further
from llmbench.analyze.limits import named_facts, noise_limit
from llmbench.analyze.shape import shape_of
from llmbench.analyze.stats import Estimate, Ratio, estimate, paired_ratio
from llmbench.orderstat import MIN_SAMPLES
from llmbench.store.query import Row, Run
from llmbench.store.record import WORST_FIRST
from llmbench.suite.case import compared
from llmbench.suite.catalog import Scalar
from llmbench.suite.suite import Suite

FlagName = Literal[
    "noisy", "few_samples", "throttled", "host_bound", "drift", "autocorrelated", "modes", "processes_differ", "apart",
    "unchecked", "skipped_steps",
]  # fmt: skip
SAMPLE_FLAGS: tuple[FlagName, ...] = ("throttled", "host_bound")  # those that are counted by samples


class Flag(NamedTuple):
    """Something that weakens a number; `share` is the share of samples that it touches, or the size of what it says.

    Of `noisy` the half-width, of `drift` the change over the run and of `modes` their distance, as shares of the
    median; of `autocorrelated` the coefficient; of `processes_differ` the spread of the processes; of
    `skipped_steps` how many updates loss scaling skipped.
    """

    name: FlagName
    share: float | None = None


@dataclass(frozen=True)
class Line:
    """One case over its processes, SI units. Numbers are there only if it is `ok` in every process that ran it.

    `point` holds what tells its point from the others, `variant` what tells it from the rest of its point.
    """

    case_id: str
    point_id: str
    op: str
    impl: str
    phase: str
    is_baseline: bool
    axes: dict[str, str]
    params: dict[str, Scalar]
    point: dict[str, Scalar]
    variant: dict[str, Scalar]
    status: str
    why: str | None
    time: Estimate | None
    rates: Rates
    peak_memory: Estimate | None
    compile_time: Estimate | None
    speedup: Ratio | None
    speedup_why: str | None  # why there is no speed-up, for a case that has a time
    max_error: float | None
    rel_error: float | None
    n: int
    processes: int
    stop_reason: str | None
    timer: str | None
    order: str | None
    grad: str | None
    check_kind: str | None
    config: str | None  # what autotuning, or the implementation, chose
    further: dict[str, float]  # parts of time and memory, and what the op tells: as `analyze.further` names them
    flags: tuple[Flag, ...]
    best: bool = False  # has the least time of its point, or cannot be told from it, where there are several

    def as_best(self) -> "Line":
        """The same line, marked; `dataclasses.replace` of so many fields takes ten times as long."""
        marked = object.__new__(Line)
        marked.__dict__.update(self.__dict__, best=True)
        return marked

    def flag(self, name: FlagName) -> Flag | None:
        """The flag of that name, or None."""
        return next((f for f in self.flags if f.name == name), None)


@dataclass(frozen=True)
class Summary:
    """What a report says: the facts of the run and its lines, by point, then implementation."""

    facts: Facts
    lines: list[Line]

    @property
    def points(self) -> list[list[Line]]:
        """The lines of each point."""
        grouped: dict[str, list[Line]] = {}
        for line in self.lines:
            grouped.setdefault(line.point_id, []).append(line)
        return list(grouped.values())


def summarise(run: Run) -> Summary:
    """The whole run, computed from its rows alone."""
    suite = run.manifest.header.suite
    names = _Names.of(run.rows, suite)
    ceilings = run.manifest.header.ceilings
    copy = ceilings.copy.value if ceilings is not None and ceilings.copy is not None else None
    points: dict[str, dict[str, list[Row]]] = {}
    for row in run.rows:
        points.setdefault(row.point_id, {}).setdefault(row.case_id, []).append(row)
    rank = {impl: i for i, impl in enumerate(suite.impls)}
    lines: list[Line] = []
    for cases in points.values():
        ordered = sorted(cases.values(), key=lambda rows: rank.get(rows[0].impl, len(rank)))
        lines += _point_lines(ordered, suite, names, copy)
    counts = Counter(line.status for line in lines)
    flagged: Counter[str] = Counter(flag.name for line in lines for flag in line.flags)
    return Summary(facts_of(run, counts=counts, flagged=flagged), lines)


class _Names(NamedTuple):
    """Which names stand in the title of a point, and which in the name of a line."""

    point: tuple[str, ...]
    variant: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], suite: Suite) -> "_Names":
        within = compared(suite) | set(suite.baseline)
        changing = varying(rows, suite)
        impls = ("impl",) if "impl" not in within and len({r.impl for r in rows}) > 1 else ()
        return cls(
            point=(*(["phase"] if "phase" not in within else []), *impls, *(n for n in changing if n not in within)),
            variant=(*(["phase"] if "phase" in within else []), *(n for n in changing if n in within)),
        )


def _point_lines(cases: Sequence[list[Row]], suite: Suite, names: _Names, copy: float | None) -> list[Line]:
    baselines = [rows for rows in cases if rows[0].is_baseline]
    lines = [_line(rows, baselines, suite, names, copy) for rows in cases]
    timed = [(line.time.value, line, rows) for line, rows in zip(lines, cases, strict=True) if line.time is not None]
    if len(timed) < 2:
        return lines
    _, fastest, its_rows = min(timed, key=lambda found: found[0])
    best = {
        line.case_id
        for _, line, rows in timed
        if line is fastest or not _is_slower(line, rows, fastest, its_rows)
    }  # fmt: skip
    return [line.as_best() if line.case_id in best else line for line in lines]


def _is_slower(line: Line, rows: Sequence[Row], fastest: Line, its_rows: Sequence[Row]) -> bool:
    """Whether a case can be told from the fastest of its point.

    Intervals that do not overlap tell them apart, which is quick; else the ratio of the two, paired by blocks, whose
    interval does not hold 1. Where too few samples leave no interval, nothing does.
    """
    low, high = line.time and line.time.low, fastest.time and fastest.time.high
    if low is not None and high is not None and low > high:
        return True
    known = line.speedup if fastest.is_baseline else None
    ratio = known or paired_ratio(_whole(its_rows, "time"), _whole(rows, "time"))
    return ratio is not None and ratio.high is not None and ratio.high < 1


def _line(
    rows: list[Row], baselines: Sequence[list[Row]], suite: Suite, names: _Names, copy: float | None
) -> Line:  # fmt: skip
    row = rows[0]
    status, why = _worst(rows)
    whole: dict[str, list[Row]] = {}
    for r in rows:
        if r.metric is not None and r.part is None:
            whole.setdefault(r.metric, []).append(r)
    times = whole.get("time", [])
    time_s = estimate(times) if status == "ok" else None
    ratio, ratio_why = _speedup(rows, baselines) if time_s is not None else (None, None)
    facts = named_facts(row)
    return Line(
        case_id=row.case_id,
        point_id=row.point_id,
        op=row.op,
        impl=row.impl,
        phase=row.phase,
        is_baseline=row.is_baseline,
        axes=row.axes,
        params=row.params,
        point={n: facts[n] for n in names.point if n in facts},
        variant={n: facts[n] for n in names.variant if n in facts},
        status=status,
        why=why,
        time=time_s,
        rates=derive(
            row,
            time_s=time_s,
            copy_bytes_per_s=copy,
            recomputed_flop=_largest(whole.get("recomputed_flop", ())),
            energy_j=estimate(whole.get("energy", ())) if status == "ok" else None,
        ),
        peak_memory=estimate(whole.get("peak_memory", ())) if status == "ok" else None,
        compile_time=estimate(whole.get("compile_time", ())) if status == "ok" else None,
        speedup=ratio,
        speedup_why=ratio_why,
        max_error=_largest(whole.get("max_error", ())),
        rel_error=_largest(whole.get("rel_error", ())),
        n=sum(r.n or 0 for r in times),
        processes=len({r.process for r in rows}),
        stop_reason=_said([r.stop_reason for r in times]),
        timer=_said([r.timer for r in times]),
        order=_said([r.order for r in rows]),
        grad=_said([r.grad for r in rows]),
        check_kind=_said([r.check_kind for r in rows]),
        config=_said([r.config for r in rows]),
        further=further(rows) if status == "ok" else {},
        flags=tuple(_flags(rows, times, time_s, suite)) if time_s is not None else (),
    )


def _worst(rows: Sequence[Row]) -> tuple[str, str | None]:
    """The worst status over processes with its reason, which says so where other processes fared better."""
    by_process = {r.process: r for r in rows}
    if len(by_process) == 1:
        return rows[-1].status, rows[-1].why
    severity: dict[str, int] = {status: i for i, status in enumerate(WORST_FIRST)}
    worst = min(by_process.values(), key=lambda r: severity.get(r.status, -1))
    same = sum(r.status == worst.status for r in by_process.values())
    if same == len(by_process):
        return worst.status, worst.why
    where = f"in {same} of {len(by_process)} processes"
    return worst.status, f"{worst.why} ({where})" if worst.why else where


def _speedup(rows: Sequence[Row], baselines: Sequence[list[Row]]) -> tuple[Ratio | None, str | None]:
    """The speed-up against the baseline of the point, or why there is none. A baseline has none against itself."""
    if rows[0].is_baseline:
        return None, "it is the baseline"
    if len(baselines) != 1:
        return None, "several baselines in this point" if baselines else "no baseline in this point"
    status = _worst(baselines[0])[0]
    if status != "ok":
        return None, f"the baseline has no time: {status}"
    ratio = paired_ratio(_whole(baselines[0], "time"), _whole(rows, "time"))
    return ratio, None if ratio is not None else "the baseline has no time"


def _flags(rows: Sequence[Row], times: Sequence[Row], time_s: Estimate, suite: Suite) -> list[Flag]:
    found: list[Flag] = []
    half_width = time_s.half_width
    if half_width is not None and half_width > noise_limit(suite, named_facts(rows[0])):
        found.append(Flag("noisy", half_width))
    if any((r.n or 0) < MIN_SAMPLES for r in times):
        found.append(Flag("few_samples"))
    marks = [mark for r in times for mark in r.sample_flags or []]
    for name in SAMPLE_FLAGS if any(marks) else ():
        touched = sum(name in mark.split(",") for mark in marks)
        if touched:
            found.append(Flag(name, touched / len(marks)))
    found += _shape_flags(times, least=suite.measure.target_ci)
    apart = _spread(times)
    if apart is not None and apart > suite.measure.target_ci:
        found.append(Flag("processes_differ", apart))
    if suite.order == "interleaved" and any(r.order == "apart" for r in rows):
        found.append(Flag("apart"))
    if any(r.check_kind in (None, "none") for r in rows):
        found.append(Flag("unchecked"))
    if skipped := max((r.value or 0 for r in rows if r.metric == "skipped_steps"), default=0):
        found.append(Flag("skipped_steps", skipped))
    return found


def _shape_flags(times: Sequence[Row], *, least: float) -> Iterator[Flag]:
    """What the order and the distribution of the samples say, each of the process where it is worst."""
    shapes = [shape_of(r.samples or [], r.sample_block, least=least) for r in times]
    sizes: dict[FlagName, list[float | None]] = {
        "drift": [s.drift for s in shapes],
        "autocorrelated": [s.autocorrelation for s in shapes],
        "modes": [s.modes for s in shapes],
    }
    for name, found in sizes.items():
        if known := [size for size in found if size is not None]:
            yield Flag(name, max(known, key=abs))


def _spread(times: Sequence[Row]) -> float | None:
    """How far the process medians spread, as a share of the least; None where all their intervals overlap."""
    known = [(r.value, r.low, r.high) for r in times if r.value and r.low is not None and r.high is not None]
    if len(known) < 2 or max(low for _, low, _ in known) <= min(high for _, _, high in known):
        return None
    values = [value for value, _, _ in known]
    return max(values) / min(values) - 1


def _whole(rows: Sequence[Row], metric: str) -> list[Row]:
    """The rows of a metric of the whole case, one a process; not those of its parts."""
    return [r for r in rows if r.metric == metric and r.part is None]


def _largest(rows: Sequence[Row]) -> float | None:
    """The largest value over processes; NaN, which no comparison finds, counts as the largest."""
    values = [r.value for r in rows if r.value is not None]
    return max(values, key=lambda v: (v != v, v), default=None)


def _said(texts: Sequence[str | None]) -> str | None:
    """What the rows say; several answers side by side."""
    if len(texts) == 1:
        return texts[0] or None
    return " ".join(dict.fromkeys(t for t in texts if t)) or None


def counted(counts: Mapping[str, int]) -> str:
    """`21 ok, 2 oom`: best first."""
    known = [s for s in reversed(WORST_FIRST) if counts.get(s)]
    return ", ".join(f"{counts[s]} {s}" for s in [*known, *sorted(set(counts) - set(WORST_FIRST))])
