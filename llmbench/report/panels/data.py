"""The points that panels draw, made once from the runs: a case of a run with its facts and every metric it has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from llmbench.analyze.derive import overhead
from llmbench.analyze.stats import Estimate, estimate
from llmbench.analyze.summary import Line, Summary, summarise
from llmbench.report.drawn import FILTERS
from llmbench.store.query import Row, Run
from llmbench.suite.case import matches
from llmbench.suite.catalog import Scalar
from llmbench.suite.suite import Match

_IMPLIED = {"device", "arch", "commit", "started", "torch", "status"}  # by the run, or by having a value at all
_FIRST = ("run", "phase", "impl")


@dataclass(frozen=True)
class Point:
    """A case of a run. `facts` tell it apart: parameters, bundles, impl, phase, run and what is true of its run.

    `values` holds its metrics in SI units, empty unless the case is ok; `rows` is the evidence behind them.
    """

    facts: Mapping[str, Scalar]
    values: Mapping[str, Estimate]
    line: Line
    rows: Sequence[Row]

    @property
    def filters(self) -> dict[str, Scalar]:
        """Those of its facts that the page filters by."""
        return {name: self.facts[name] for name in FILTERS if name in self.facts}


@dataclass(frozen=True)
class PageData:
    """Everything a page is drawn from. `labels` names each run by what tells it from the others."""

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    summaries: tuple[Summary, ...]
    points: tuple[Point, ...]

    @cached_property
    def ceilings_command(self) -> str:
        """What measures the ceilings that later runs of these suites record: with as many threads as they ask for."""
        threads = {run.manifest.header.suite.measure.threads for run in self.runs}
        alike = threads.pop() if len(threads) == 1 else None
        return f"llmbench doctor --ceilings{f' --threads {alike}' if alike else ''}"

    @cached_property
    def by_process(self) -> tuple[Point, ...]:
        """The points of each process by itself, with the fact `process`."""
        found: list[Point] = []
        for run, label in zip(self.runs, self.labels, strict=True):
            for process in sorted({r.process for r in run.rows}):
                part = replace(run, rows=[r for r in run.rows if r.process == process])
                found += _points(part, label, summarise(part), {"process": process})
        return tuple(found)

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The facts that take several values, those that tell series apart first; what the run or the result implies
        (device, commit, status) is left out."""
        points = self.by_process if any(s.facts.processes > 1 for s in self.summaries) else self.points
        names = dict.fromkeys(name for p in points for name in p.facts)
        bundles = dict.fromkeys(name for p in points for name in p.line.axes)
        order = dict.fromkeys([*_FIRST, *bundles, *names])
        return tuple(n for n in order if n not in _IMPLIED and len({p.facts.get(n) for p in points}) > 1)

    def chosen(self, where: Match, names: Iterable[str | None] = ()) -> list[Point]:
        """The points that match; one a process where `names` of the panel, or the match, speak of the process."""
        points = self.by_process if "process" in {*names, *where} else self.points
        return [p for p in points if matches(where, p.facts)] if where else list(points)

    @cached_property
    def size_axis(self) -> str | None:
        """The parameter with the most different numbers among those that a suite sweeps; None where none varies."""
        params = {p.name: p for run in self.runs for p in run.manifest.header.suite.op.params}
        swept = [a.name for run in self.runs for a in run.manifest.header.suite.axes]
        bundled = {k for run in self.runs for a in run.manifest.header.suite.axes for v in a.values for k in v.params}
        best, count = None, 1
        for name in dict.fromkeys([*swept, *bundled]):
            if name in params and params[name].type in ("int", "float"):
                values = {p.facts.get(name) for p in self.points} - {None}
                if len(values) > count:
                    best, count = name, len(values)
        return best


def parts_of(point: Point, name: str) -> dict[str, Estimate]:
    """The parts of a metric that the point has, SI units."""
    groups: dict[str, list[Row]] = {}
    for row in point.rows:
        if row.metric == name and row.part is not None and row.status == "ok":
            groups.setdefault(row.part, []).append(row)
    return {part: found for part, rows in groups.items() if (found := estimate(rows)) is not None}


def page_data(runs: Sequence[Run]) -> PageData:
    """The points of these runs, in the order of their suites."""
    labels, summaries = run_labels(runs), [summarise(run) for run in runs]
    points = [p for args in zip(runs, labels, summaries, strict=True) for p in _points(*args, {})]
    return PageData(tuple(runs), labels, tuple(summaries), tuple(points))


def run_labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """A short name for each run: its device, commit or start, whichever tells them apart; the device of one alone."""
    headers = [run.manifest.header for run in runs]
    known = {
        "device": [h.machine.device_name for h in headers],
        "commit": [(h.code.commit or "unknown")[:7] + ("+" if h.code.dirty else "") for h in headers],
        "suite": [h.suite.name for h in headers],
        "started": [h.started[:19].replace("T", " ") for h in headers],
    }
    used = [texts for texts in known.values() if len(set(texts)) > 1]
    for count in range(1, len(used) + 1):
        for start in range(len(used) - count + 1):
            labels = [" · ".join(parts) for parts in zip(*used[start : start + count], strict=True)]
            if len(set(labels)) == len(runs):
                return tuple(labels)
    labels = [" · ".join(parts) for parts in zip(*(used or [known["device"]]), strict=True)]
    if len(runs) == 1:
        return tuple(labels)
    return tuple(f"{label} #{labels[: i + 1].count(label)}" for i, label in enumerate(labels))


def _points(run: Run, label: str, summary: Summary, more: Mapping[str, Scalar]) -> list[Point]:
    header = run.manifest.header
    shared: dict[str, Scalar] = {
        "run": label, "device": header.machine.device_name, "arch": header.machine.arch,
        "commit": (header.code.commit or "unknown")[:7], "started": header.started,
        "torch": header.versions.get("torch", "unknown"), "suite": header.suite.name, **more,
    }  # fmt: skip
    rows: dict[str, list[Row]] = {}
    for row in run.rows:
        rows.setdefault(row.case_id, []).append(row)
    return [_point(line, rows[line.case_id], shared) for line in summary.lines]


def _point(line: Line, rows: Sequence[Row], shared: Mapping[str, Scalar]) -> Point:
    own: dict[str, Scalar] = {"op": line.op, "cache": rows[0].cache, "status": line.status}
    facts = {**shared, **own, **line.params, **line.axes, "impl": line.impl, "phase": line.phase}
    values = dict(_values(line, rows)) if line.status == "ok" else {}
    return Point(facts, values, line, rows)


def _values(line: Line, rows: Sequence[Row]) -> Iterable[tuple[str, Estimate]]:
    rates, ratio = line.rates, line.speedup
    known = {
        "time": line.time, "peak_memory": line.peak_memory, "compile_time": line.compile_time,
        "flop_per_s": rates.flop_per_s, "bytes_per_s": rates.bytes_per_s, "tokens_per_s": rates.tokens_per_s,
        "hardware_flop_per_s": rates.hardware_flop_per_s, "energy_per_token": rates.energy_per_token,
    }  # fmt: skip
    numbers = {
        "max_error": line.max_error, "rel_error": line.rel_error, "intensity": rates.intensity,
        "flop_peak_fraction": rates.flop_peak_fraction, "bytes_peak_fraction": rates.bytes_peak_fraction,
        "floor_time": rates.floor_time, "hardware_flop_peak_fraction": rates.hardware_flop_peak_fraction,
    }  # fmt: skip
    yield from ((name, found) for name, found in known.items() if found is not None)
    yield from ((name, Estimate(value)) for name, value in numbers.items() if value is not None)
    if ratio is not None:
        yield "speedup", Estimate(ratio.value, ratio.low, ratio.high)
        yield "overhead", overhead(ratio)
    elif line.is_baseline and line.time is not None:
        yield "speedup", Estimate(1.0)
        yield "overhead", Estimate(0.0)
    others: dict[str, list[Row]] = {}
    for row in rows:
        if row.metric is not None and row.part is None and row.metric not in known and row.metric not in numbers:
            others.setdefault(row.metric, []).append(row)
    for name, measured in others.items():
        if (found := estimate(measured)) is not None:
            yield name, found
