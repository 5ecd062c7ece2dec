"""Panels from hand-made runs: the numbers in the traces, the facts beside them, and the sentence of an empty panel."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_runs import H100, HEADS, OP, cases_of, make_row, make_run, make_suite, time_row
from suite_catalog import CPU

from llmbench.analyze.slope import loglog_slope
from llmbench.machine.fingerprint import Machine
from llmbench.report.dashboard import PanelSpec, check, load_dashboard, parse_dashboard
from llmbench.report.drawn import Drawn, Trace
from llmbench.report.panels.data import page_data, run_labels
from llmbench.report.panels.distribution import extremes_kept
from llmbench.report.panels.draw import DRAW, draw, draw_all
from llmbench.report.panels.label import plain
from llmbench.report.panels.quantity import short
from llmbench.store.query import Row, Run
from llmbench.store.schema import TELEMETRY
from llmbench.suite.bundled import names
from llmbench.suite.load import load
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
        n = float(case.params["seq_len"])
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


def test_a_sweep_has_a_line_a_series_with_its_interval_in_one_unit() -> None:
    panel = drawn("kind: sweep, x: seq_len, y: time, facet: heads")
    [line] = [t for t in lines(panel, "flash") if t.facts["heads"] == "gqa"]
    assert line.data["x"] == list(SIZES)
    assert line.data["y"] == [1, 2, 4, 8]
    assert line.facts == {"run": H100, "impl": "flash", "heads": "gqa", "phase": "fwd", "dtype": "bfloat16"}
    [band] = [t for t in lines(panel, "flash", "band") if t.facts["heads"] == "gqa"]
    assert band.data["x"] == [*SIZES, *reversed(SIZES)]
    assert band.data["y"][0] == pytest.approx(0.992) and band.data["y"][-1] == pytest.approx(1.008)
    assert panel.layout["yaxis"]["title"]["text"] == "time (ms)"
    assert (panel.layout["xaxis"]["type"], panel.layout["xaxis"]["ticktext"]) == ("log", ["512", "1k", "2k", "4k"])
    assert panel.layout["xaxis2"]["matches"] == "x"
    assert [a["text"] for a in panel.layout["annotations"]] == ["heads=mha", "heads=gqa"]
    assert panel.layout["meta"] == {"facets": 2, "rows": 1}
    assert panel.anchor == "sweep-time-seq_len-heads"
    assert "1.000 ms [0.992" in line.data["hovertext"][0]


def test_what_tells_lines_apart_beyond_the_colour_is_a_dash() -> None:
    panel = drawn("kind: sweep, y: flop_per_s, band: none")
    assert [t.data["line"]["dash"] for t in lines(panel, "flash")] == ["solid", "dash"]
    assert "Dash: solid heads=mha, dash heads=gqa." in panel.caption
    assert lines(panel, "flash")[0].data["y"][0] == pytest.approx(1e6 * 512**2 / 1e-3 / 1e12, rel=1e-4)
    assert sum(t.data["showlegend"] for t in panel.traces) == 3
    assert not lines(panel, role="band")


def test_the_table_under_a_panel_has_the_same_numbers() -> None:
    panel = drawn("kind: sweep, x: seq_len, y: time, where: {impl: flex, heads: gqa}")
    assert panel.columns == ("impl", "seq_len", "time (ms)", "interval (ms)")
    assert panel.rows[1].cells == ("flex", "1024", "4.000", "[3.968, 4.032]")
    assert panel.rows[1].facts["heads"] == "gqa"


def test_a_metric_as_x_makes_points_and_a_parameter_may_be_y() -> None:
    panel = drawn("kind: sweep, x: peak_memory, y: seq_len, facet: heads")
    trace = lines(panel, "naive")[0]
    assert trace.data["mode"] == "markers"
    assert trace.data["y"] == list(SIZES)
    assert panel.layout["xaxis"]["title"]["text"].startswith("peak memory (")


def test_log_axes_are_as_the_dashboard_says() -> None:
    assert drawn("kind: sweep, y: peak_memory, log: []").layout["xaxis"]["type"] == "linear"
    both = drawn("kind: sweep, y: flop_per_s, log: [x, y]").layout
    assert (both["xaxis"]["type"], both["yaxis"]["type"]) == ("log", "log")


def test_a_speedup_stands_against_its_baseline_at_one() -> None:
    panel = drawn("kind: speedup, x: seq_len, facet: heads")
    assert lines(panel, "naive")[0].data["y"] == pytest.approx([0.25] * 4)
    error = lines(panel, "naive")[0].data["error_y"]
    assert len(error["array"]) == 4 and min(error["arrayminus"]) >= 0
    base = lines(panel, "flash", "baseline")
    assert [t.data["y"] for t in base] == [[1, 1], [1, 1]] and base[0].data["x"] == [512, 4096]
    assert "impl" not in base[0].facts


def test_without_a_baseline_the_speedup_says_why_it_is_empty() -> None:
    panel = drawn("kind: speedup", [sized_run(sized_suite(baseline={}))])
    assert panel.why_empty == "No case has a speed-up: no baseline in this point."


def test_bars_carry_their_intervals_and_patterns() -> None:
    panel = drawn("kind: bars, x: seq_len, y: time, where: {impl: [naive, flash]}")
    assert panel.layout["xaxis"]["type"] == "category" and panel.layout["barmode"] == "group"
    flash = lines(panel, "flash")
    assert flash[0].data["x"] == ["512", "1024", "2048", "4096"]
    assert flash[0].data["error_y"]["array"][0] == pytest.approx(0.008)
    assert [t.data["marker"]["pattern"]["shape"] for t in flash] == ["", "/"]


def test_the_roofline_has_the_roofs_of_the_datasheet() -> None:
    panel = drawn("kind: roofline")
    [roof] = lines(panel, role="roof")
    ridge = 989e12 / 3.35e12
    assert roof.data["x"][1] == pytest.approx(ridge, rel=1e-4)
    assert roof.data["y"][1] == roof.data["y"][2] == pytest.approx(989, rel=1e-4)
    assert roof.data["y"][0] / roof.data["x"][0] == pytest.approx(3.35, rel=1e-3)
    assert f"Datasheet roof of {H100}: 989 TFLOP/s in bfloat16, 3350 GB/s, ridge at 295 FLOP/B." in panel.caption
    points = lines(panel, "flash")[0]
    assert points.data["x"][0] == pytest.approx(1e6 * 512 / 1e4, rel=1e-4)
    assert [f["heads"] for f in points.point_facts or []] == ["mha", "gqa"] * 4
    assert panel.layout["xaxis"]["type"] == panel.layout["yaxis"]["type"] == "log"


def test_an_unknown_device_has_points_and_no_roof() -> None:
    suite = sized_suite()
    run = make_run(
        sized_rows(suite, device_name="AMD EPYC, 2 cores"), suite,
        machine=Machine("cpu", "AMD EPYC, 2 cores", "cpu", 0, 0),
    )  # fmt: skip
    panel = drawn("kind: roofline", [run])
    assert not lines(panel, role="roof") and lines(panel, "flash")
    assert "The peak of AMD EPYC, 2 cores is not known, so no roof is drawn." in panel.caption


def test_without_flop_counts_the_roofline_says_so() -> None:
    suite = sized_suite()
    panel = drawn("kind: roofline", [make_run(sized_rows(suite, flop=None), suite)])
    assert panel.why_empty == "No case has FLOP counts."


def test_complexity_measures_the_slope_and_draws_the_law() -> None:
    panel = drawn("kind: complexity, x: seq_len, y: peak_memory, where: {heads: mha}, theory: {naive: 2, flash: 1}")
    assert lines(panel, "naive")[0].data["name"] == "naive: slope 2.00"
    law = lines(panel, "naive", "theory")[0]
    measured = lines(panel, "naive")[0]
    assert law.data["y"] == pytest.approx(measured.data["y"], rel=1e-4)
    assert not lines(panel, "flex", "theory")
    assert panel.columns[:5] == ("impl", "slope", "95 % CI", "expected", "points")
    assert panel.rows[0].cells[:5] == ("naive", "2.00", "[2.00, 2.00]", "2", "4")


def test_complexity_needs_two_sizes() -> None:
    panel = drawn("kind: complexity, x: batch", [sized_run()])
    assert panel.why_empty == "A slope needs at least two values of a parameter; batch has 1."


def test_a_slope_has_the_interval_of_least_squares() -> None:
    found = loglog_slope([1, 2, 4, 8], [1.0, 2.1, 3.9, 8.0])
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(0.98931, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.88939, 1.08923), abs=2e-3)
    assert loglog_slope([1, 2], [1, 4]) == (pytest.approx(2), None, None, pytest.approx(1), 2)
    assert loglog_slope([1, 1], [1, 4]) is None
    assert loglog_slope([1, 2, 4], [0, 1, 2]) == (pytest.approx(1), None, None, pytest.approx(0.5), 2)


def test_a_heatmap_is_split_by_what_the_page_filters() -> None:
    panel = drawn("kind: heatmap, x: seq_len, y: impl, z: time, facet: heads")
    assert len(panel.traces) == 6
    trace = next(t for t in panel.traces if t.facts["impl"] == "naive" and t.facts["heads"] == "gqa")
    assert (trace.data["x"], trace.data["y"], trace.data["z"]) == ([0, 1, 2, 3], [0], [[4, 8, 16, 32]])
    assert panel.layout["xaxis"]["ticktext"] == ["512", "1024", "2048", "4096"]
    assert panel.layout["yaxis"]["ticktext"] == ["naive", "flash", "flex"]
    gap = drawn("kind: heatmap, x: seq_len, y: impl, z: time, where: {heads: gqa, seq_len: [512, 2048]}")
    assert gap.traces[0].data["x"] == [0, 1]
    assert trace.data["coloraxis"] == "coloraxis" and "time (ms)" in str(panel.layout["coloraxis"])


def test_the_front_is_what_nothing_of_its_point_beats() -> None:
    panel = drawn("kind: pareto, x: time, y: peak_memory, where: {heads: gqa, seq_len: 512}")
    on_front = {row.cells[0] for row in panel.rows if row.cells[-1] == "front"}
    assert on_front == {"flash"}
    suite = sized_suite()
    rows = [replace(r, value=1.0) if r.impl == "flex" and r.metric == "peak_memory" else r for r in sized_rows(suite)]
    panel = drawn("kind: pareto, where: {heads: gqa}", [make_run(rows, suite)])
    assert {row.cells[0] for row in panel.rows if row.cells[-1] == "front"} == {"flash", "flex"}
    fronts = lines(panel, role="front")
    assert len(fronts) == 4 and fronts[0].data["x"] == [1, 2]
    marks = {t.series: set(t.data["marker"]["symbol"]) for t in lines(panel)}
    assert marks == {"naive": {"circle-open"}, "flash": {"circle"}, "flex": {"circle"}}
    faster = drawn("kind: pareto, x: flop_per_s, where: {heads: gqa, seq_len: 512}")
    assert {row.cells[0] for row in faster.rows if row.cells[-1] == "front"} == {"flash"}


def test_parts_are_stacked_or_said_to_be_missing() -> None:
    assert drawn("kind: stacked").why_empty == "No parts were recorded for time."
    suite = make_suite(axes=(make_suite().axes[0],), fixed={"num_heads": 8, "num_kv_heads": 8})
    rows = []
    for case in cases_of(suite):
        rows.append(time_row(case, samples=[3e-3] * 6))
        rows += [make_row(case, metric="time", part=p, value=v) for p, v in (("forward", 1e-3), ("backward", 2e-3))]
    panel = drawn("kind: stacked, y: time", [make_run(rows, suite)])
    assert [(t.series, t.data["y"]) for t in panel.traces] == [("forward", [1] * 3), ("backward", [2] * 3)]
    assert panel.layout["barmode"] == "stack"
    assert [f["impl"] for f in panel.traces[0].point_facts or []] == ["naive", "flash", "flex"]
    only = drawn("kind: stacked, y: time, part: [backward]", [make_run(rows, suite)])
    assert [t.series for t in only.traces] == ["backward"]
    none = drawn("kind: stacked, y: time, part: [optimizer]", [make_run(rows, suite)])
    assert none.why_empty == "No part of these names was recorded for time."


def test_a_distribution_keeps_the_order_and_the_extremes() -> None:
    suite = make_suite()
    samples = [1e-3 + (i % 7) * 1e-5 for i in range(5000)]
    samples[1234], samples[4321] = 9e-3, 1e-4
    rows = [time_row(cases_of(suite)[0], samples=samples, sample_flags=["", "throttled"] * 2500)]
    panel = drawn("kind: distribution", [make_run(rows, suite)])
    points, bars = panel.traces
    assert len(points.data["x"]) <= 2000 and points.data["x"] == sorted(points.data["x"])
    assert {max(points.data["y"]), min(points.data["y"])} == {9, 0.1}
    assert set(points.data["marker"]["symbol"]) == {"circle", "x"}
    assert sum(bars.data["x"]) == 5000 and bars.data["orientation"] == "h"
    assert f"{len(points.data['x']):,} of 5,000 samples are drawn" in panel.caption
    assert panel.layout["yaxis2"]["matches"] == "y" and "matches" not in panel.layout.get("yaxis", {})


def test_a_distribution_shows_few_cases_and_says_how_many_are_left_out() -> None:
    panel = drawn("kind: distribution, cases: 2")
    assert len(panel.rows) == 2 and panel.layout["meta"] == {"facets": 2, "rows": 2}
    assert "The 2 of 24 cases" in panel.caption
    assert drawn("kind: distribution, metric: peak_memory").why_empty == "No samples of peak_memory were kept."


def test_extremes_survive_thinning() -> None:
    values = [0.0] * 10_000
    values[777] = 5.0
    kept = extremes_kept(values, 100)
    assert len(kept) <= 100 and 777 in kept and kept == sorted(kept)
    assert extremes_kept([1.0, 2.0], 100) == [0, 1]


def test_the_timeline_shades_what_was_throttled(tmp_path: Path) -> None:
    rows = [
        {"run_id": "r1", "process": 0, "t_ns": int(i * 1e8), "power_w": 300.0 + i, "sm_clock_hz": 1.5e9,
         "temperature_degc": None, "throttle_reasons": 4 if 10 <= i < 20 else 1,
         "throttle_names": "sw_power_cap" if 10 <= i < 20 else "gpu_idle"}
        for i in range(100)
    ]  # fmt: skip
    columns = {f.name: pa.array([r.get(f.name) for r in rows], f.type) for f in TELEMETRY}
    pq.write_table(pa.table(columns, schema=TELEMETRY), tmp_path / "telemetry.parquet")
    panel = drawn("kind: timeline", [replace(sized_run(), folder=tmp_path)])
    assert [t.series for t in panel.traces] == ["throttled", "SM clock", "throttled", "power"]
    assert panel.traces[1].data["y"][0] == 1500 and panel.traces[3].data["x"][-1] == 9.9
    assert panel.traces[0].data["x"][:5] == [1, 1, 2, 2, None]
    assert "Throttled in 10.0% of the readings, shaded (sw_power_cap)." in panel.caption
    assert [row.cells[0] for row in panel.rows] == ["SM clock", "power"]


def test_the_timeline_says_why_it_is_empty(tmp_path: Path) -> None:
    run = replace(sized_run(), folder=tmp_path)
    assert (
        drawn("kind: timeline", [run]).why_empty == "Nothing was recorded: the suite does not ask for the probe power."
    )
    told = replace(
        run, manifest=replace(run.manifest, notes=("power and clocks are not recorded: device cpu has no NVML",))
    )
    assert drawn("kind: timeline", [told]).why_empty == "Power and clocks are not recorded: device cpu has no NVML."


def test_every_status_is_marked_and_every_reason_named_once() -> None:
    suite = sized_suite()
    rows = sized_rows(suite)
    lost = {"naive": ("oom", "CUDA out of memory"), "flex": ("unavailable", "needs triton")}
    rows = [
        replace(r, status=lost[r.impl][0], why=lost[r.impl][1], metric=None, value=None)
        if r.impl == "flex" or (r.impl == "naive" and r.params["seq_len"] == 4096) else r
        for r in rows
    ]  # fmt: skip
    panel = drawn("kind: status", [make_run(rows, suite)])
    assert {t.series for t in panel.traces} == {"ok", "oom", "unavailable"}
    assert lines(panel, "oom", "status")[0].data["x"] == ["4096"]
    assert panel.columns == ("name", "status", "where", "reason")
    assert [r.cells for r in panel.rows] == [
        ("flex", "unavailable", "everywhere", "needs triton"), ("naive", "oom", "seq_len=4096", "CUDA out of memory"),
    ]  # fmt: skip
    assert panel.rows[1].facts["impl"] == "naive"
    assert panel.caption == "14 ok, 8 unavailable, 2 oom."
    sweep = drawn("kind: sweep, y: time", [make_run(rows, suite)])
    assert "10 of 24 cases are not drawn (8 unavailable, 2 oom)." in sweep.caption
    table = drawn("kind: table", [make_run(rows, suite)])
    assert "needs triton" in str(table.rows) and not table.traces


def test_the_table_has_the_columns_that_are_asked_for() -> None:
    panel = drawn("kind: table, columns: [impl, seq_len, time, status], where: {heads: gqa, impl: flash}")
    assert panel.columns == ("impl", "seq_len", "time (ms)", "interval (ms)", "status")
    assert panel.rows[0].cells == ("flash", "512", "1.000", "[0.9920, 1.008]", "ok")


def test_several_runs_are_told_apart_by_what_differs() -> None:
    runs = [sized_run(), sized_run(started="2026-05-10T00:00:00Z")]
    assert run_labels(runs) == ("2026-05-09 12:33:05", "2026-05-10 00:00:00")
    device = Machine("cuda:0", "NVIDIA L4", "sm89", 0, 0)
    assert run_labels([runs[0], sized_run(machine=device)]) == (H100, "NVIDIA L4")
    assert run_labels([runs[0], runs[0]]) == (f"{H100} #1", f"{H100} #2")
    assert run_labels([runs[0]]) == (H100,)
    panel = drawn("kind: sweep, x: seq_len, y: time, facet: heads", runs)
    assert {t.facts["run"] for t in panel.traces} == set(run_labels(runs))
    assert [t.data["line"]["dash"] for t in lines(panel, "flash")] == ["solid", "dash"] * 2
    assert panel.columns[:3] == ("heads", "impl", "run")
    crossed = drawn("kind: sweep, x: seq_len, y: time, facet: heads, row: run", runs)
    assert crossed.layout["meta"] == {"facets": 2, "rows": 2}


def test_processes_can_be_an_axis() -> None:
    suite = make_suite()
    rows = [
        time_row(c, samples=[1e-3 * (1 + p)] * 6, process=p) for c in cases_of(suite) for p in range(3)
    ]  # fmt: skip
    panel = drawn("kind: sweep, x: process, y: time, facet: heads", [make_run(rows, suite)])
    assert lines(panel, "flash")[0].data["x"] == [0, 1, 2] and lines(panel, "flash")[0].data["y"] == [1, 2, 3]
    whole = drawn("kind: sweep, y: time", [make_run(rows, suite)])
    assert "range of the CIs" in whole.caption


def test_an_empty_run_and_a_match_of_nothing_are_said() -> None:
    for kind in DRAW:
        options = {"sweep": "y: time", "bars": "y: time", "heatmap": "z: time"}.get(kind, "")
        panel = drawn(f"kind: {kind}, {options}", [make_run([])])
        assert panel.why_empty and panel.why_empty.endswith(".")
    assert drawn("kind: sweep, y: time, where: {batch: 99}").why_empty == "No case of the run matches where."
    assert drawn("kind: sweep, y: compile_time").why_empty == "No case was compiled."
    assert drawn("kind: sweep, y: power").why_empty == "No case has power: the suite does not ask for the probe power."
    lost = [make_row(c, status="oom", why="no room") for c in cases_of(sized_suite())]
    assert drawn("kind: sweep, y: time", [make_run(lost, sized_suite())]).why_empty == "No case has a result: 24 oom."


def test_hostile_names_are_shown_as_text() -> None:
    evil = '<script>alert("1")</script>\n%{x} $x$ ' + "A" * 10_000
    suite = sized_suite(impls=(evil, "flash"), op=replace(OP, impls=(replace(OP.impls[0], name=evil), OP.impls[1])))
    rows = [replace(r, why=evil) for r in sized_rows(suite)]
    data = page_data([make_run(rows, suite)])
    for kind in DRAW:
        panel = draw(
            PanelSpec(kind, y="time" if kind in ("sweep", "bars") else None, z="time" if kind == "heatmap" else None),
            data,
        )
        validate(panel)
        texts = json.dumps([t.data | {"legendgroup": ""} for t in panel.traces]) + json.dumps(panel.layout)
        assert "<script" not in texts and "%{x} $" not in texts and "A" * 300 not in texts
    assert plain(evil).startswith('&lt;script&gt;alert("1")&lt;/script&gt; &#37;{x} &#36;x&#36;')


def test_anchors_are_permanent_and_different() -> None:
    text = (
        "title: T\npanels:\n  - {kind: sweep, y: time}\n  - {kind: sweep, y: time, title: Again}\n"
        "  - {kind: sweep, y: time, where: {phase: fwd}}\n  - {kind: sweep, y: time, log: [x]}\n"
    )
    found = draw_all(parse_dashboard(text), page_data([sized_run()]))
    assert [d.anchor for d in found] == ["sweep-time", "sweep-time--2", "sweep-time-phase-fwd", "sweep-time--3"]
    assert [d.anchor for d in draw_all(parse_dashboard(text), page_data([make_run([])]))] == [d.anchor for d in found]


def test_numbers_are_short() -> None:
    assert (short(1 / 3), short(123456.7), short(5.0)) == (0.33333, 123460, 5)
    assert isinstance(short(5.0), int)


@pytest.mark.parametrize("name", names())
def test_each_shipped_suite_has_a_dashboard_that_draws_all_its_panels(name: str) -> None:
    suite = load(name, CPU)
    rows = sized_rows(suite)
    rows += [make_row(c, metric="compile_time", value=2.0) for c in cases_of(suite) if c.impl == suite.impls[0]]
    run = make_run(rows, suite)
    dashboard = load_dashboard(None, [run])
    assert Path(dashboard.path).stem == name
    for panel in draw_all(dashboard, page_data([run])):
        validate(panel)
        assert panel.kind == "timeline" or not panel.why_empty, (panel.anchor, panel.why_empty)


def test_the_default_dashboard_draws_a_run_of_any_op() -> None:
    run = sized_run(sized_suite(name="mine"))
    dashboard = load_dashboard(None, [run])
    assert Path(dashboard.path).stem == "default"
    empty = {p.kind for p in draw_all(dashboard, page_data([run])) if validate(p) and p.why_empty}
    assert empty == {"bars", "stacked", "timeline"}


def test_a_run_of_100_000_rows_is_drawn_quickly_and_stays_small() -> None:
    suite = load("attention", CPU)
    rows = sized_rows(suite)
    many = [
        replace(r, case_id=f"{r.case_id}-{i}", point_id=f"{r.point_id}-{i}")
        for i in range(100_000 // len(rows) + 1)
        for r in rows
    ][:100_000]
    run = make_run(many, suite)
    dashboard = load_dashboard(None, [run])
    start = time.perf_counter()
    data = page_data([run])
    found = draw_all(dashboard, data)
    assert time.perf_counter() - start < 30  # 6 s alone on two cores; CI machines are slower and busy
    assert sum(len(validate(p)) for p in found) < 3_000_000
    sweep = found[0]
    assert "points are drawn, evenly taken." in sweep.caption and "The table has 500 of" in sweep.caption
