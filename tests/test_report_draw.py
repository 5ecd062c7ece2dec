"""Panels of a whole run and of whole dashboards: samples, statuses, several runs, and texts that mean harm."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_runs import H100, OP, cases_of, make_row, make_run, make_suite, time_row
from sized_runs import drawn, lines, sized_rows, sized_run, sized_suite, validate
from suite_catalog import SHIPPED

from llmbench.machine.fingerprint import Machine
from llmbench.metrics import METRICS
from llmbench.report.dashboard import PanelSpec, load_dashboard, parse_dashboard, read_dashboard
from llmbench.report.drawn import Drawn
from llmbench.report.panels.data import page_data, run_labels
from llmbench.report.panels.distribution import extremes_kept
from llmbench.report.panels.draw import DRAW, draw, draw_all
from llmbench.report.panels.label import plain
from llmbench.report.panels.quantity import short
from llmbench.store.schema import TELEMETRY
from llmbench.suite.bundled import names
from llmbench.suite.load import load, read


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
    assert "matches" not in panel.layout["yaxis2"] | panel.layout["yaxis"]
    assert drawn("kind: distribution, cases: 1").layout["yaxis2"]["matches"] == "y"


def test_one_sample_far_away_leaves_the_modes_of_the_others_apart() -> None:
    samples = [1.000e-3 + (i % 3) * 1e-7 if i % 2 else 1.004e-3 + (i % 3) * 1e-7 for i in range(400)]
    samples[200] = 0.5
    suite = make_suite()
    panel = drawn("kind: distribution", [make_run([time_row(cases_of(suite)[0], samples=samples)], suite)])
    bars = panel.traces[1].data
    full = sorted(y for x, y in zip(bars["x"], bars["y"], strict=True) if x)
    assert sum(bars["x"]) == 400 and len(set(bars["y"])) == len(bars["y"])
    assert full[0] == pytest.approx(1.0, rel=1e-3) and full[-2] == pytest.approx(1.004, rel=1e-3) and len(full) < 10
    assert bars["x"][-1] == 1 and bars["hovertext"][-1].startswith("1 samples above 1.004")
    assert "1 sample lies far from the rest: a histogram has them in a bin at its end" in panel.caption


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


def timeline_of(tmp_path: Path, throttled: list[bool]) -> Drawn:
    """A run read every 0.1 s."""
    rows = [
        {"run_id": "r1", "process": 0, "t_ns": int(i * 1e8), "power_w": 300.0, "throttle_reasons": 4 * hot,
         "throttle_names": "sw_power_cap" if hot else ""}
        for i, hot in enumerate(throttled)
    ]  # fmt: skip
    columns = {f.name: pa.array([r.get(f.name) for r in rows], f.type) for f in TELEMETRY}
    pq.write_table(pa.table(columns, schema=TELEMETRY), tmp_path / "telemetry.parquet")
    return drawn("kind: timeline", [replace(sized_run(), folder=tmp_path)])


def test_a_last_reading_that_was_throttled_is_as_wide_as_the_others(tmp_path: Path) -> None:
    shade = timeline_of(tmp_path, [False, True, False, True]).traces[0].data
    assert shade["x"] == pytest.approx([0.1, 0.1, 0.2, 0.2, None, 0.3, 0.3, 0.4, 0.4, None])


def test_every_stretch_is_shaded_however_many_there_are(tmp_path: Path) -> None:
    panel = timeline_of(tmp_path, [i % 4 == 0 for i in range(2000)])
    assert len(panel.traces[0].data["x"]) == 5 * 500 and "as one" not in panel.caption
    many = timeline_of(tmp_path, [i % 2 == 0 for i in range(5000)])
    assert many.traces[0].data["x"][0] == 0 and many.traces[0].data["x"][-2] == pytest.approx(499.9)
    assert "Stretches less than 0.25 s apart are shaded as one." in many.caption


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
    warm = [make_run([replace(r, cache="warm") for r in sized_rows(sized_suite())], sized_suite())]
    assert str(drawn("kind: sweep, y: bytes_peak_fraction", warm).why_empty).startswith("The cache was warm")
    assert drawn("kind: sweep, y: flop_peak_fraction", warm).why_empty is None, "a warm cache takes nothing from FLOP"
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


@pytest.mark.parametrize("name", [n for n in names() if SHIPPED.op(read(n).spec.op)])
def test_each_shipped_suite_has_a_dashboard_that_draws_all_its_panels(name: str) -> None:
    suite = load(name, SHIPPED)
    rows = sized_rows(suite)
    asked = {n for panel in read_dashboard(name).panels for n in (panel.x, panel.y, panel.z) if n in METRICS}
    made_of = {"hardware_flop_per_s": "recomputed_flop", "energy_per_token": "energy"}  # derived -> what it needs
    asked |= {needed for panel in read_dashboard(name).panels if (needed := made_of.get(panel.y or ""))}
    for metric in asked - {r.metric for r in rows}:
        rows += [make_row(c, metric=metric, value=2.0 + i / 100) for i, c in enumerate(cases_of(suite))]
    parts = {(panel.y, part) for panel in read_dashboard(name).panels for part in panel.part}
    for metric, part in sorted(parts):
        rows += [make_row(c, metric=metric, part=part, value=1.0 + i / 100) for i, c in enumerate(cases_of(suite))]
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


def test_a_panel_without_its_x_says_what_would_bring_it() -> None:
    suite = load("optimizers", SHIPPED)
    rows = [replace(r, device_name="a laptop") for r in sized_rows(suite)]
    panels = draw_all(read_dashboard("optimizers"), page_data([make_run(rows, suite)]))
    first = panels[0]
    assert first.kind == "sweep" and "llmbench doctor --ceilings" in str(first.why_empty)
