"""Clocks, power and temperature of the device over the run, with the stretches in which it was throttled."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.errors import RunError
from llmbench.measure.power import THROTTLING
from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, TableRow, Trace
from llmbench.report.panels.data import PageData
from llmbench.report.panels.distribution import extremes_kept
from llmbench.report.panels.grid import Cell, Grid
from llmbench.report.panels.label import joined, plain
from llmbench.report.panels.quantity import short
from llmbench.report.panels.sweep import legend_once
from llmbench.report.panels.why import anchor_of, empty
from llmbench.report.scale import digits, percent_text
from llmbench.store.query import Run
from llmbench.store.runs import TELEMETRY_FILE

ROW_PX = 220
MAX_READINGS = 2000  # drawn of a run and quantity
TITLE = "Clocks, power and temperature"


class _Kind(NamedTuple):
    """A column of the telemetry, what it is called, and its display unit."""

    column: str
    words: str
    unit: str
    size: float


_KINDS = (
    _Kind("sm_clock_hz", "SM clock", "MHz", 1e6),
    _Kind("power_w", "power", "W", 1.0),
    _Kind("temperature_degc", "temperature", "°C", 1.0),
)


@dataclass(frozen=True)
class _Readings:
    """The telemetry of a run in the order of time; missing values are NaN."""

    label: str
    time_s: np.ndarray[Any, np.dtype[np.float64]]  # since the first reading
    values: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    throttled: np.ndarray[Any, np.dtype[np.bool_]]
    reasons: tuple[str, ...]


def timeline(spec: PanelSpec, data: PageData) -> Drawn:
    """A subplot each for clock, power and temperature, the runs as series, or why nothing was recorded."""
    wanted = {p.facts["run"] for p in data.chosen(spec.where)} if spec.where else set(data.labels)
    runs = [(run, label) for run, label in zip(data.runs, data.labels, strict=True) if label in wanted]
    found = [r for run, label in runs if (r := _read(run, label)) is not None]
    kinds = [k for k in _KINDS if any(np.isfinite(r.values[k.column]).any() for r in found)]
    if not kinds:
        return empty(spec, TITLE, _why_none(data))
    cells = [Cell(i + 1, 0, i, "", []) for i in range(len(kinds))]
    grid = Grid(tuple(cells), 1, len(kinds), row_px=ROW_PX)
    traces = [
        t for kind, cell in zip(kinds, cells, strict=True) for r in found for t in _traces(r, kind, cell, len(found))
    ]
    rows = [row for r in found for row in _rows(r, kinds, len(found) > 1)]
    total = sum(len(r.time_s) for r in found)
    drawn = sum(min(len(r.time_s), MAX_READINGS) for r in found)
    notes = [*(_throttle_text(r, len(found) > 1) for r in found)]
    notes += (
        [f"At most {MAX_READINGS:,} readings a run are drawn, with the extremes of each stretch."]
        if drawn < total
        else []
    )
    columns = (*(("run",) if len(found) > 1 else ()), "quantity", "least", "median", "largest", "readings", "throttled")
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or TITLE, joined(notes), None, legend_once(traces),
        _layout(grid, kinds), grid.height_px, columns, tuple(rows),
    )  # fmt: skip


def _read(run: Run, label: str) -> _Readings | None:
    path = run.folder / TELEMETRY_FILE
    if not path.exists():
        return None
    table = _table(path)
    if table.num_rows == 0:
        return None
    order = np.argsort(_column(table, "t_ns"), kind="stable")
    at = _column(table, "t_ns")[order]
    bits = [int(r or 0) & THROTTLING for r in table.column("throttle_reasons").to_pylist()]
    names = table.column("throttle_names").to_pylist()
    reasons = dict.fromkeys(
        n for b, text in zip(bits, names, strict=True) if b for n in str(text or "unknown").split(",")
    )
    values = {k.column: _column(table, k.column)[order] / k.size for k in _KINDS}
    return _Readings(label, (at - at[0]) / 1e9, values, np.array(bits)[order] != 0, tuple(reasons))


def _table(path: Path) -> pa.Table:
    wanted = ["t_ns", "throttle_reasons", "throttle_names", *(k.column for k in _KINDS)]
    try:
        return pq.ParquetFile(path).read(columns=wanted)
    except (OSError, KeyError, ValueError) as e:
        raise RunError(f"{path}: not readable as telemetry: {e}") from e


def _column(table: pa.Table, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if v is None else v for v in table.column(name).to_pylist()], dtype=np.float64)


def _why_none(data: PageData) -> str:
    notes = [n for run in data.runs for n in (*run.manifest.notes, *run.manifest.header.notes)]
    told = next((n for n in notes if n.startswith("power and clocks")), None)
    if told is not None:
        return f"{told[:1].upper()}{told[1:]}."
    if not any("power" in run.manifest.header.suite.probes for run in data.runs):
        return "Nothing was recorded: the suite does not ask for the probe power."
    return "No telemetry was recorded."


def _traces(r: _Readings, kind: _Kind, cell: Cell, runs: int) -> list[Trace]:
    values = r.values[kind.column]
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return []
    kept = known[extremes_kept(values[known].tolist(), MAX_READINGS)]
    name = plain(r.label) if runs > 1 else kind.words
    line = {
        "type": "scatter", "mode": "lines", "name": name, "yaxis": cell.refs["yaxis"],
        "legendgroup": f"run {r.label}"[:200] if runs > 1 else kind.words,
        "x": [short(t) for t in r.time_s[kept].tolist()], "y": [short(v) for v in values[kept].tolist()],
        "line": {"width": 1.5}, "hovertemplate": f"{name}<br>%{{x}} s: %{{y}} {kind.unit}<extra></extra>",
    }  # fmt: skip
    found = [Trace(line, r.label if runs > 1 else kind.words, {"run": r.label})]
    low, high = float(values[known].min()), float(values[known].max())
    area = _throttled(r, low, high if high > low else low + 1)
    if area["x"]:
        shade = {
            "type": "scatter", "mode": "lines", "fill": "toself", "line": {"width": 0},
            **area, "yaxis": cell.refs["yaxis"], "name": "throttled", "legendgroup": "throttled",
            "hoverinfo": "skip", "meta": {"role": "band"},
        }  # fmt: skip
        found.insert(0, Trace(shade, "throttled", {"run": r.label}))
    return found


def _throttled(r: _Readings, low: float, high: float) -> dict[str, list[float | None]]:
    """Rectangles over the stretches that were throttled; those closer than a screen shows are one."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    found: list[tuple[float, float]] = []
    for start, end in _stretches(r):
        near = found and start - found[-1][1] < _least_gap(r)
        found[-1:] = [(found[-1][0], end)] if near else [*found[-1:], (start, end)]
    for a, b in found:
        xs += [short(a), short(a), short(b), short(b), None]
        ys += [short(low), short(high), short(high), short(low), None]
    return {"x": xs, "y": ys}


def _stretches(r: _Readings) -> list[tuple[float, float]]:
    """From each reading that was throttled after one that was not, to the next that is not; the last one lasts as long
    as readings do."""
    step = float(np.median(np.diff(r.time_s))) if len(r.time_s) > 1 else 1.0
    ends = [*r.time_s.tolist(), float(r.time_s[-1]) + step]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], r.throttled.astype(int), [0]])))
    return [(ends[a], ends[b]) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]


def _least_gap(r: _Readings) -> float:
    return float(r.time_s[-1]) / MAX_READINGS


def _throttle_text(r: _Readings, named: bool) -> str:
    share = float(r.throttled.mean())
    who = f"{r.label}: throttled" if named else "Throttled"
    if not share:
        return f"{who} never." if named else "The device was never throttled."
    text = f"{who} in {percent_text(share, 1)} of the readings, shaded ({', '.join(r.reasons)})."
    merged = any(b - a < _least_gap(r) for (_, a), (b, _) in pairwise(_stretches(r)))
    return f"{text} Stretches less than {digits(_least_gap(r), 2)} s apart are shaded as one." if merged else text


def _rows(r: _Readings, kinds: Sequence[_Kind], named: bool) -> list[TableRow]:
    rows = []
    for kind in kinds:
        values = r.values[kind.column][np.isfinite(r.values[kind.column])]
        if len(values):
            numbers = (values.min(), np.median(values), values.max())
            texts = [f"{digits(float(v))} {kind.unit}" for v in numbers]
            share = percent_text(float(r.throttled.mean()), 1)
            cells = (*([r.label] if named else []), kind.words, *texts, f"{len(values):,}", share)
            rows.append(TableRow(cells, {"run": r.label}))
    return rows


def _layout(grid: Grid, kinds: Sequence[_Kind]) -> dict[str, Any]:
    layout: dict[str, Any] = {"meta": {"facets": 1, "rows": grid.rows}, "hovermode": "closest"}
    x = {"title": {"text": "time (s)", "standoff": 8}, "automargin": True}
    for cell, kind in zip(grid.cells, kinds, strict=True):
        y = {"title": {"text": f"{kind.words} ({kind.unit})", "standoff": 8}, "automargin": True}
        axes = grid.axes(cell, x, y, matches=False)
        layout[f"yaxis{_suffix(cell)}"] = {**axes[f"yaxis{_suffix(cell)}"], "anchor": "x"}
        layout["xaxis"] = {**axes[f"xaxis{_suffix(cell)}"], "anchor": cell.refs["yaxis"]}  # below the last
    return layout


def _suffix(cell: Cell) -> str:
    return cell.refs["yaxis"][1:]
