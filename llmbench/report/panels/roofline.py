"""The roofline: what cases achieve under what the device can do at most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.analyze.derive import multiplies_in
from llmbench.machine.peaks import PEAKS, Matmul, peak_bytes_per_s, peak_flop_per_s
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


@dataclass(frozen=True)
class Roof:
    """The two ceilings of a device for one dtype: memory up to `ridge` FLOP/B, compute beyond. SI units."""

    device: str
    dtype: str
    bytes_per_s: float
    flop_per_s: float
    facts: dict[str, Scalar]

    @property
    def ridge(self) -> float:
        """The intensity from which on compute is what limits."""
        return self.flop_per_s / self.bytes_per_s

    @property
    def text(self) -> str:
        """What it is, in words."""
        rate = scaled(self.flop_per_s, scale_of(self.flop_per_s, FLOP_RATES), 3)
        traffic = scaled(self.bytes_per_s, BYTE_RATES[0], 4)
        return f"{self.device}: {rate} in {self.dtype}, {traffic}, ridge at {number_text(self.ridge)} FLOP/B"


def roofline(spec: PanelSpec, data: PageData) -> Drawn:
    """FLOP/s over arithmetic intensity, logarithmic, under the datasheet's roofs where the device is known."""
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
    roofs = _roofs(placed)
    grid = grid_of(placed, facet=spec.facet, row=spec.row)
    traces: list[Trace] = []
    for cell in grid.cells:
        traces += [_roof(r, cell, x, y, cell.points) for r in roofs]
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
        *_roof_notes(roofs, placed), style_text(series, "symbol"),
        "Measured ceilings: this run has none.", missing_text(points, [x, y]),
        thin_note, few_note, grid.note, table.note,
    ]  # fmt: skip
    layout = {**grid.layout(x.axis(), y.axis()), "hovermode": "closest"}
    return Drawn(
        anchor_of(spec), spec.kind, spec.title or "Roofline", joined(notes), None, legend_once(traces), layout,
        grid.height_px + 40, table.columns, table.rows,
    )  # fmt: skip


def _roofs(points: Sequence[Point]) -> list[Roof]:
    """A roof for each device and way to multiply that the points have, where the datasheet knows both ceilings."""
    found: dict[tuple[str, str], Roof] = {}
    for p in points:
        row = p.rows[0]
        dtype, matmul = multiplies_in(row), _matmul(p)
        rate, traffic = dtype and peak_flop_per_s(row.device_name, dtype, matmul), peak_bytes_per_s(row.device_name)
        if dtype and rate and traffic:
            name = "tf32" if (dtype, matmul) == ("float32", "tf32") else dtype
            facts = {k: p.facts[k] for k in ("run", "dtype") if k in p.facts}
            found.setdefault((row.device_name, name), Roof(row.device_name, name, traffic, rate, facts))
    return list(found.values())


def _matmul(point: Point) -> Matmul:
    return "tf32" if point.facts.get("matmul") == "tf32" else "ieee"


def _roof(roof: Roof, cell: Cell, x: Quantity, y: Quantity, points: Sequence[Point]) -> Trace:
    """Both ceilings as one line, a decade beyond the points and the ridge."""
    at = [e.value for p in points if (e := x.estimate(p)) is not None] or [roof.ridge]
    first, last = min([*at, roof.ridge]) / 3, max([*at, roof.ridge]) * 3
    places = [(first, first * roof.bytes_per_s), (roof.ridge, roof.flop_per_s), (last, roof.flop_per_s)]
    data = {
        "type": "scatter", "mode": "lines", "name": plain(f"roof {roof.dtype}"), **cell.refs,
        "legendgroup": f"roof {roof.device} {roof.dtype}", "x": [x.shown(a) for a, _ in places],
        "y": [y.shown(b) for _, b in places],
        "line": {"dash": "dash", "width": 1.5}, "hovertemplate": f"{plain(roof.text, 200)}<extra></extra>",
        "meta": {"role": "roof"},
    }  # fmt: skip
    return Trace(data, None, roof.facts)


def _roof_notes(roofs: Sequence[Roof], points: Sequence[Point]) -> Iterator[str]:
    for roof in roofs:
        yield f"Datasheet roof of {roof.text}."
    for device in dict.fromkeys(p.rows[0].device_name for p in points):
        if not any(r.device == device for r in roofs):
            known = "these dtypes on " if device in PEAKS else ""
            yield f"The peak of {known}{device} is not known, so no roof is drawn."
