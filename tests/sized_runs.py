"""Runs over four lengths with numbers known by heart, and the panels drawn of them, for the tests of panels."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import plotly.graph_objects as go
from example_runs import HEADS, cases_of, make_row, make_run, make_suite, time_row

from llmbench.report.dashboard import check, parse_dashboard
from llmbench.report.drawn import Drawn, Trace
from llmbench.report.panels.data import page_data
from llmbench.report.panels.draw import draw
from llmbench.store.query import Row, Run
from llmbench.suite.suite import Axis, AxisValue, Suite

SIZES = (512, 1024, 2048, 4096)
POWERS = {"naive": 2, "flash": 1, "flex": 1}  # of peak memory
SPEEDS = {"naive": 4.0, "flash": 1.0, "flex": 2.0}  # times that of flash


def sized_suite(**changes: Any) -> Suite:
    """Four lengths and two kinds of heads."""
    sizes = Axis("seq_len", tuple(AxisValue({"seq_len": n}) for n in SIZES))
    return make_suite(**{"axes": (sizes, HEADS), "probes": ("memory",), **changes})


def sized_rows(suite: Suite, **changes: Any) -> list[Row]:
    """Time 1 ms a 512 tokens for flash, ±1 %, FLOP in proportion to S²; peak memory 1 KiB a token, S² for naive."""
    rows: list[Row] = []
    for case in cases_of(suite):
        n = float(case.params.get("seq_len", 512))
        base = n / 512 * 1e-3 * SPEEDS.get(case.impl, 1.0)
        cost = {"flop": 1e6 * n * n, "bytes": 1e4 * n, "tokens": n, **changes}
        rows.append(time_row(case, samples=[base * (1 + (i - 5) / 500) for i in range(11)], **cost))
        rows.append(make_row(case, metric="peak_memory", value=1024 * n ** POWERS.get(case.impl, 1), **cost))
    return rows


def sized_run(suite: Suite | None = None, **changes: Any) -> Run:
    suite = suite or sized_suite()
    return make_run(sized_rows(suite), suite, **changes)


def drawn(spec: str, runs: Sequence[Run] | None = None) -> Drawn:
    """The panel of these options, its names checked, and its figure validated by plotly."""
    runs = [sized_run()] if runs is None else runs
    dashboard = parse_dashboard(f"title: T\npanels:\n  - {{{spec}}}\n")
    check(dashboard, runs)
    panel = draw(dashboard.panels[0], page_data(runs))
    validate(panel)
    return panel


def validate(panel: Drawn) -> str:
    """The panel as JSON; plotly takes it, tables are rectangular and facts lie beside every point."""
    go.Figure(data=[t.data for t in panel.traces], layout=panel.layout)
    assert all(len(row.cells) == len(panel.columns) for row in panel.rows)
    for t in panel.traces:
        assert t.point_facts is None or len(t.point_facts) == len(t.data["x"])
    assert bool(panel.traces or panel.rows) != bool(panel.why_empty), panel.why_empty
    assert "color" not in json.dumps([t.data for t in panel.traces]).replace("coloraxis", "")
    return json.dumps(asdict(panel), allow_nan=False)


def lines(panel: Drawn, series: str | None = None, role: str | None = None) -> list[Trace]:
    return [
        t for t in panel.traces if (series is None or t.series == series) and t.data.get("meta", {}).get("role") == role
    ]
