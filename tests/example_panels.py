"""Hand-made panels for the tests of pages: each kind of trace, facets, an empty panel, and texts that mean harm."""

import math
from typing import Any

from llmbench.analyze.facts import Facts
from llmbench.report.drawn import Drawn, TableRow, Trace

IMPLS = ("naive", "tiled", "sdpa_math", "sdpa_flash")
HEADS = ("mha", "gqa", "mqa")
LENGTHS = (512, 1024, 2048, 4096, 8192)
NASTY = "<script>alert(1)</script>\"'&<b>\n</td>\u2028" + "x" * 10_000


def make_facts(**changes: Any) -> Facts:
    """A run on one GPU, with warnings."""
    given: dict[str, Any] = {
        "run_id": "20260509T123305Z-aa3d2fa", "folder": "results/attention/h100/20260509T123305Z-aa3d2fa",
        "suite": "attention", "op": "attention", "device": "cuda:0", "device_name": "NVIDIA H100 80GB HBM3",
        "arch": "sm90", "started": "2026-05-09T12:33:05Z", "wall_s": 734.0, "commit": "aa3d2fa0c1", "dirty": True,
        "quick": False, "complete": True, "versions": {"torch": "2.13.0", "triton": "3.7.0"}, "cache": "cold",
        "order": "interleaved", "processes": 3, "target_ci": 0.01, "baseline": {"impl": "sdpa_flash"},
        "constants": {"batch": 1, "head_dim": 128, "dtype": "bfloat16"}, "told": ("batch", "head_dim", "dtype"),
        "varying": ("seq_len", "heads"),
        "bundles": {"heads": {"mha": {"num_kv_heads": 32}, "gqa": {"num_kv_heads": 8}}},
        "counts": {"ok": 54, "oom": 2, "unavailable": 6}, "warnings": (
            "uncommitted changes were measured: the commit does not name this code",
            "2 cases with samples taken while the device was throttled",
        ), "notes": ("clocks are not locked: times vary with temperature",),
    }  # fmt: skip
    return Facts(**{**given, **changes})


def sweep(*, impls: tuple[str, ...] = IMPLS, anchor: str = "rate") -> Drawn:
    """Lines with bands: one facet a kind of heads, one row a phase."""
    traces, rows, layout = [], [], _grid(3, 2)
    for i, impl in enumerate(impls):
        for c, heads in enumerate(HEADS):
            for r, phase in enumerate(("fwd", "bwd")):
                facts = {"impl": impl, "heads": heads, "phase": phase}
                y = [(i + 1) * 4e13 * (1 - math.exp(-s / 2000)) / (r + 1) / (1 + c / 5) for s in LENGTHS]
                axes = _axes(3 * r + c)
                traces += _line(impl, y, facts, axes, shown=(r, c) == (0, 0))
                for s, value in zip(LENGTHS, y, strict=True):
                    rows.append(TableRow((impl, heads, phase, str(s), f"{value / 1e12:.1f}"), facts))
    caption = "Rate of the arithmetic that the mask leaves, median of a call; the band is its 95 % CI over processes."
    columns = ("impl", "heads", "phase", "seq_len", "TFLOP/s")
    return Drawn(
        anchor, "sweep", "FLOP/s over seq_len", caption, None, tuple(traces), layout, 560, columns, tuple(rows)
    )


def bars() -> Drawn:
    """One trace of bars over implementations, whose points differ in their facts."""
    facts = [{"impl": impl, "heads": "mha"} for impl in IMPLS]
    data = {"type": "bar", "x": list(IMPLS), "y": [4.0, 3.0, 2.0, 1.0], "customdata": [[i] for i in range(4)]}
    rows = tuple(TableRow((impl, str(4 - i)), facts[i]) for i, impl in enumerate(IMPLS))
    trace = Trace({**data, "hovertemplate": "%{x}<br><b>%{y}</b><extra></extra>"}, None, {}, facts)  # type: ignore[arg-type]
    layout, columns = {"yaxis": {"title": {"text": "GiB"}}}, ("impl", "GiB")
    return Drawn("memory", "bars", "Peak memory", "Largest sequence.", None, (trace,), layout, 320, columns, rows)


def heat() -> Drawn:
    """A heat map, of one implementation."""
    data = {"type": "heatmap", "x": ["512", "1024"], "y": list(HEADS), "z": [[1.0, 2.0], [2.0, math.nan], [3.0, 4.0]]}
    facts = {"impl": "tiled"}
    rows = (TableRow(("mha", "1", "2"), facts),)  # type: ignore[arg-type]
    return Drawn(
        "heat", "heatmap", "Speed-up of tiled", "", None, (Trace(data, None, facts),),  # type: ignore[arg-type]
        {"xaxis": {"type": "category"}}, 320, ("heads", "512", "1024"), rows,
    )  # fmt: skip


def empty() -> Drawn:
    """A panel without data."""
    why = "The datasheet of this device is not known: no roof to draw."
    return Drawn("roofline", "roofline", "Roofline", why_empty=why)


def status() -> Drawn:
    """A table alone, with a name and a reason that mean harm."""
    rows = (
        TableRow(("naive", "oom", "Tried to allocate 32.00 GiB."), {"impl": "naive"}),
        TableRow((NASTY, "error", NASTY), {"impl": "sdpa_math"}),
    )
    return Drawn("status", "status", "Without a result", columns=("impl", "status", "why"), rows=rows)


def nasty() -> Drawn:
    """Every text of a panel means harm."""
    facts: dict[str, Any] = {"impl": NASTY}
    data = {"x": [1, 2], "y": [2, 1], "name": NASTY, "text": [NASTY, NASTY], "mode": "lines+markers"}
    layout = {"xaxis": {"title": {"text": NASTY}}, "annotations": [{"text": NASTY, "x": 1, "y": 1}]}
    trace, rows = Trace(data, NASTY, facts), (TableRow((NASTY, NASTY), facts),)
    return Drawn("nasty", "sweep", NASTY, NASTY, None, (trace,), layout, 300, (NASTY, NASTY), rows)


def all_panels() -> list[Drawn]:
    """One of each, without those that mean harm in a plot."""
    many = tuple(f"implementation_{i}" for i in range(8))
    return [sweep(), bars(), heat(), empty(), sweep(impls=(*IMPLS, *many), anchor="many"), status()]


def _line(impl: str, y: list[float], facts: Any, axes: dict[str, str], *, shown: bool) -> list[Trace]:
    x = list(LENGTHS)
    band = {
        "x": [*x, *x[::-1]], "y": [*(v * 1.04 for v in y), *(v * 0.96 for v in y[::-1])], "fill": "toself",
        "mode": "lines", "hoverinfo": "skip", "showlegend": False, "legendgroup": impl, **axes,
    }  # fmt: skip
    line = {"x": x, "y": y, "mode": "lines+markers", "name": impl, "legendgroup": impl, "showlegend": shown, **axes}
    return [Trace(band, impl, facts), Trace(line, impl, facts)]


def _axes(k: int) -> dict[str, str]:
    return {"xaxis": f"x{k + 1 if k else ''}", "yaxis": f"y{k + 1 if k else ''}"}


def _grid(columns: int, rows: int) -> dict[str, Any]:
    layout: dict[str, Any] = {"meta": {"facets": columns, "rows": rows}, "annotations": []}
    for r in range(rows):
        for c in range(columns):
            k = r * columns + c
            number, names = str(k + 1) if k else "", _axes(k)
            left, top = c * 0.345, 1 - r * 0.53
            layout[f"xaxis{number}"] = {"domain": [left, left + 0.31], "anchor": names["yaxis"], "type": "log"}
            layout[f"yaxis{number}"] = {"domain": [top - 0.43, top], "anchor": names["xaxis"]}
            layout[f"xaxis{number}"] |= {"tickvals": list(LENGTHS), "ticktext": [str(s) for s in LENGTHS]}
            if c == 0:
                layout[f"yaxis{number}"]["title"] = {"text": "FLOP/s"}
            if r == rows - 1:
                layout[f"xaxis{number}"]["title"] = {"text": "seq_len"}
            text = f"heads={HEADS[c]} {('fwd', 'bwd')[r]}"
            place = {"x": 0.5, "y": 1.0, "xref": f"{names['xaxis']} domain", "yref": f"{names['yaxis']} domain"}
            layout["annotations"].append({**place, "text": text, "xanchor": "center", "yanchor": "bottom"})
            if k:
                layout[f"xaxis{number}"]["matches"], layout[f"yaxis{number}"]["matches"] = "x", "y"
    return layout
