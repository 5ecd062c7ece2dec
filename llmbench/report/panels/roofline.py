"""The roofline: what cases achieve under what the device can do at most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from llmbench.analyze.derive import multiplies_in
from llmbench.machine.ceilings import Ceilings
from llmbench.machine.peaks import PEAKS, Matmul, ceiling_name, peak_bytes_per_s, peak_flop_per_s
from llmbench.report.dashboard import PanelSpec
from llmbench.report.drawn import Drawn, Trace
from llmbench.report.panels.data import PageData, Point
from llmbench.report.panels.grid import Cell, grid_of
from llmbench.report.panels.label import joined, plain
from llmbench.report.panels.listing import listing
from llmbench.report.panels.quantity import Quantity, number_text, quantity
from llmbench.report.panels.split import few, rest_names, series_of, style_text, thinned, trace
from llmbench.report.panels.sweep import COARSE, hover_text, legend_once
from llmbench.report.panels.why import anchor_of, empty, missing_text, why_none
from llmbench.report.scale import BYTE_RATES, FLOP_RATES, scale_of, scaled
from llmbench.suite.catalog import Scalar

DATASHEET = "datasheet"
_OF_ROOF = ("run", "dtype", "autocast", "matmul")  # the facts that a roof depends on

Key = TypeVar("Key")


@dataclass(frozen=True)
class Roof:
    """The two ceilings of a device for one dtype: memory up to `ridge` FLOP/B, compute beyond. SI units.

    `source` is the datasheet, or when they were measured and how busy the machine was then.
    """

    device: str
    dtype: str
    bytes_per_s: float
    flop_per_s: float
    facts: dict[str, Scalar]
    source: str = DATASHEET

    @property
    def measured(self) -> bool:
        """Whether it was measured; the datasheet's else."""
        return self.source != DATASHEET

    @property
    def ridge(self) -> float:
        """The intensity from which on compute is what limits."""
        return self.flop_per_s / self.bytes_per_s

    @property
    def name(self) -> str:
        """`roof bfloat16`, `measured roof bfloat16`"""
        return f"{'measured ' if self.measured else ''}roof {self.dtype}"

    @property
    def text(self) -> str:
        """What it is, in words."""
        rate = scaled(self.flop_per_s, scale_of(self.flop_per_s, FLOP_RATES), 3)
        traffic = scaled(self.bytes_per_s, BYTE_RATES[0], 4)
        copied, how = (" copied", f" ({self.source})") if self.measured else ("", "")
        ridge = f"ridge at {number_text(self.ridge)} FLOP/B"
        return f"{self.device}: {rate} in {self.dtype}, {traffic}{copied}, {ridge}{how}"


def roofline(spec: PanelSpec, data: PageData) -> Drawn:
    """FLOP/s over arithmetic intensity, logarithmic, under the roofs of the datasheet and those that were measured."""
    color = spec.color or "impl"
    points = data.chosen(spec.where, (color, spec.facet, spec.row))
    x, y = quantity("intensity", points, log=True), quantity("flop_per_s", points, log=True)
    placed = [p for p in points if x.has(p) and y.has(p)]
    if not placed:
        lacking = "flop_per_s" if not any("flop_per_s" in p.values for p in points) else "intensity"
        return empty(spec, "Roofline", why_none(lacking, points, data))
    kept, thin_note = thinned(placed)
    rest = rest_names(placed, [color, spec.facet, spec.row], data.varying)
    coarse = [n for n in rest if n in COARSE]
    series, few_note = few(series_of(kept, color=color, rest=coarse))
    roofs = _roofs(placed, data)
    grid = grid_of(placed, facet=spec.facet, row=spec.row)
    traces: list[Trace] = []
    for cell in grid.cells:
        traces += [_roof(r, cell, x, y, cell.points) for r in _roofs(cell.points, data)]
        members = {id(p) for p in cell.points}
        for s in series:
            here = [p for p in s.points if id(p) in members]
            hover = [hover_text(p, [n for n in rest if n not in coarse], x, y) for p in here]
            marks: dict[str, Any] = {
                "type": "scatter", "mode": "markers", "name": plain(s.color), "legendgroup": s.color[:200],
                **cell.refs, "x": [x.at(p) for p in here], "y": [y.at(p) for p in here],
                "marker": {**s.symbol, "size": 8}, "hovertext": hover,
                "hovertemplate": f"{s.head}<br>%{{hovertext}}<extra></extra>",
            }  # fmt: skip
            traces += [trace(marks, here, s.color)] if here else []
    table = listing(placed, [spec.row, spec.facet, color, *rest], [x, y, quantity("flop_peak_fraction", placed)])
    notes = [
        *_roof_notes(roofs, placed, data), style_text(series, "symbol"), missing_text(points, placed),
        thin_note, few_note, grid.note, table.note,
    ]  # fmt: skip
    layout = {**grid.layout(x.axis(), y.axis()), "hovermode": "closest"}
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or "Roofline", joined(notes), None, legend_once(traces), layout,
        grid.height_px + 40, table.columns, table.rows,
    )  # fmt: skip


def _roofs(points: Sequence[Point], data: PageData) -> list[Roof]:
    """The roofs that these points stand under, those of the datasheet first."""
    kinds = {(p.rows[0].device_name, *(p.facts.get(n) for n in _OF_ROOF)): p for p in points}
    unlike = list(kinds.values())  # of points alike in all that a roof depends on, one is enough
    return [*_datasheet_roofs(unlike), *_measured_roofs(unlike, data)]


def _datasheet_roofs(points: Sequence[Point]) -> list[Roof]:
    """A roof for each device and way to multiply that the points have, where the datasheet knows both ceilings."""
    found: dict[tuple[str, str], Roof] = {}
    for p in points:
        row = p.rows[0]
        dtype, matmul = multiplies_in(row), _matmul(p)
        rate, traffic = dtype and peak_flop_per_s(row.device_name, dtype, matmul), peak_bytes_per_s(row.device_name)
        if dtype and rate and traffic:
            name = ceiling_name(dtype, matmul)
            _add(found, (row.device_name, name), Roof(row.device_name, name, traffic, rate, _facts(p)))
    return list(found.values())


def _measured_roofs(points: Sequence[Point], data: PageData) -> list[Roof]:
    """A roof for each way to multiply that the points have, where their run holds ceilings; runs that hold the same
    share it. The memory's ceiling is that of a large copy."""
    ceilings = _ceilings(data)
    found: dict[tuple[str, str, str], Roof] = {}
    for p in points:
        known, dtype = ceilings[str(p.facts["run"])], multiplies_in(p.rows[0])
        name = dtype and ceiling_name(dtype, _matmul(p))
        rate = known and name and known.flop_per_s.get(name)
        if known and name and rate and known.copy:
            source = f"measured {known.measured[:10]}" + (f" while {known.busy}" if known.busy else "")
            roof = Roof(known.device_name, name, known.copy.value, rate.value, _facts(p), source)
            _add(found, (known.device_key, name, known.measured), roof)
    return list(found.values())


def _ceilings(data: PageData) -> dict[str, Ceilings | None]:
    """Label of a run -> the ceilings that it holds."""
    return {label: run.manifest.header.ceilings for run, label in zip(data.runs, data.labels, strict=True)}


def _add(found: dict[Key, Roof], key: Key, roof: Roof) -> None:
    """The roof, with the facts alone that all of its points have: a filter that hides some of them leaves it."""
    known = found.get(key)
    facts = roof.facts if known is None else {k: v for k, v in known.facts.items() if roof.facts.get(k) == v}
    found[key] = replace(known or roof, facts=facts)


def _facts(point: Point) -> dict[str, Scalar]:
    return {k: point.facts[k] for k in ("run", "dtype") if k in point.facts}


def _matmul(point: Point) -> Matmul:
    return "tf32" if point.facts.get("matmul") == "tf32" else "ieee"


def _roof(roof: Roof, cell: Cell, x: Quantity, y: Quantity, points: Sequence[Point]) -> Trace:
    """Both ceilings as one line, a decade beyond the points and the ridge."""
    at = [e.value for p in points if (e := x.estimate(p)) is not None] or [roof.ridge]
    first, last = min([*at, roof.ridge]) / 3, max([*at, roof.ridge]) * 3
    places = [(first, first * roof.bytes_per_s), (roof.ridge, roof.flop_per_s), (last, roof.flop_per_s)]
    data = {
        "type": "scatter", "mode": "lines", "name": plain(roof.name), **cell.refs,
        "legendgroup": f"{roof.name} {roof.device} {roof.source}", "x": [x.shown(a) for a, _ in places],
        "y": [y.shown(b) for _, b in places],
        "line": {"dash": "dot" if roof.measured else "dash", "width": 1.5},
        "hovertemplate": f"{plain(roof.text, 200)}<extra></extra>",
        "meta": {"role": "roof"},
    }  # fmt: skip
    return Trace(data, None, roof.facts)


def _roof_notes(roofs: Sequence[Roof], points: Sequence[Point], data: PageData) -> Iterator[str]:
    for roof in roofs:
        yield f"{'Measured' if roof.measured else 'Datasheet'} roof of {roof.text}."
    held = {c.device_name for c in _ceilings(data).values() if c is not None}
    for device in dict.fromkeys(p.rows[0].device_name for p in points):
        here = [r for r in roofs if r.device == device]
        if all(r.measured for r in here):
            known = "these dtypes on " if device in PEAKS else ""
            drawn = "the measured roof alone is drawn" if here else "no roof is drawn"
            yield f"The peak of {known}{device} is not known, so {drawn}."
        if not any(r.measured for r in here):
            later = f"nothing yet; {data.ceilings_command} does, for later runs"
            lacking = "no ceiling of these dtypes" if device in held else later
            yield f"Measured on {device}: {lacking}."
