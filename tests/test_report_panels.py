"""Panels over axes, from hand-made runs: the numbers in the traces, the facts beside them, why one is empty."""

from dataclasses import replace

import pytest
from example_runs import H100, cases_of, make_row, make_run, make_suite, time_row
from sized_runs import SIZES, drawn, lines, sized_rows, sized_run, sized_suite

from llmbench.analyze.slope import loglog_slope
from llmbench.machine.fingerprint import Machine
from llmbench.report.panels import bars, listing


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


def test_what_has_no_neighbour_has_bars_since_a_band_would_have_no_width() -> None:
    suite = sized_suite()
    rows = [r for r in sized_rows(suite) if r.impl != "naive" or r.params["seq_len"] == 512]
    panel = drawn("kind: sweep, x: seq_len, y: time, facet: heads", [make_run(rows, suite)])
    assert [t.data["error_y"]["array"] for t in lines(panel, "naive")] == [[pytest.approx(0.032)]] * 2
    assert not lines(panel, "naive", "band")
    assert not any("error_y" in t.data for t in lines(panel, "flash")) and len(lines(panel, "flash", "band")) == 2
    assert not any("error_y" in t.data for t in drawn("kind: sweep, x: heads, y: time, band: none").traces)


@pytest.mark.parametrize("x", ["heads", "peak_memory"])
def test_points_that_no_line_joins_have_bars(x: str) -> None:
    panel = drawn(f"kind: sweep, x: {x}, y: time, facet: seq_len")
    assert all(min(t.data["error_y"]["array"]) > 0 for t in lines(panel)) and "Intervals: " in panel.caption


def test_a_speedup_stands_against_its_baseline_at_one() -> None:
    panel = drawn("kind: speedup, x: seq_len, facet: heads")
    assert lines(panel, "naive")[0].data["y"] == pytest.approx([0.25] * 4)
    error = lines(panel, "naive")[0].data["error_y"]
    assert len(error["array"]) == 4 and min(error["arrayminus"]) >= 0
    base = lines(panel, "flash", "baseline")
    assert [t.data["y"] for t in base] == [[1, 1], [1, 1]] and base[0].data["x"] == [512, 4096]
    assert "impl" not in base[0].facts
    [alone, _] = lines(drawn("kind: speedup, x: seq_len, facet: heads, where: {seq_len: 512}"), "flash", "baseline")
    assert (alone.data["x"], alone.data["y"], alone.data["mode"]) == ([512], [1], "markers")


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


def test_bars_reach_from_the_value_up_to_the_upper_end_and_down_to_the_lower() -> None:
    suite = sized_suite()
    rows = [time_row(c, samples=[1e-3] * 4 + [1.001e-3] + [1.5e-3] * 6) for c in cases_of(suite) if c.impl == "flash"]
    low, value, high = (1e3 * (getattr(rows[0], name) or 0) for name in ("low", "value", "high"))
    assert high - value < value - low
    error = lines(drawn("kind: bars, x: seq_len, y: time", [make_run(rows, suite)]), "flash")[0].data["error_y"]
    assert error["array"][0] == pytest.approx(high - value, rel=1e-3)
    assert error["arrayminus"][0] == pytest.approx(value - low, rel=1e-3)


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


def test_the_best_of_a_subplot_are_named_among_those_that_do_as_much_work_a_token() -> None:
    panel = drawn("kind: pareto, x: tokens_per_s, y: peak_memory, front: subplot, where: {heads: gqa, seq_len: 512}")
    letters = {row.cells[-1]: row.cells for row in panel.rows if row.cells[-1]}
    assert list(letters) == ["A"] and letters["A"][0] == "flash"
    assert "A: flash, 512.0 k/s at 512.0 KiB." in panel.caption
    assert [t.data["text"] for t in lines(panel, "flash")] == [["A"]]
    slower = drawn("kind: pareto, x: time, y: peak_memory, front: subplot, where: {heads: gqa}, color: heads")
    symbols = [t.data["marker"]["symbol"] for t in lines(slower)]
    assert all(s == sorted(s) for s in symbols) and {"circle", "circle-open"} == set(symbols[0]), "filled ones first"
    sides = drawn("kind: pareto, x: time, y: peak_memory, front: subplot, facet: heads, where: {seq_len: 512}")
    assert [row.cells[-1] for row in sides.rows if row.cells[-1]] == ["A", "B"], "one in each subplot"
    lengths = drawn("kind: pareto, x: tokens_per_s, y: peak_memory, front: subplot, where: {heads: gqa}")
    assert [row.cells[-1] for row in lengths.rows if row.cells[-1]] == ["A", "B", "C", "D"], "one at each length"
    runs = [sized_run(), make_run(sized_rows(sized_suite()), sized_suite(), started="2026-01-02T03:04:05Z")]
    both = drawn("kind: pareto, x: time, y: peak_memory, front: subplot, where: {heads: gqa, seq_len: 512}", runs)
    assert [row.cells[-1] for row in both.rows if row.cells[-1]] == ["A", "B"], "no run beats another"


def test_known_values_are_lines_along_the_axis() -> None:
    panel = drawn("kind: sweep, y: overhead, where: {heads: gqa}, reference: {textbook: 0.3, law: 1}")
    known = {t.data["name"]: t.data for t in lines(panel, role="baseline")}
    assert {name: line["y"] for name, line in known.items()} == {"textbook": [30, 30], "law": [100, 100]}
    assert known["law"]["x"] == [512, 4096]
    assert lines(panel, "naive")[0].data["y"] == pytest.approx([300] * 4), "four times the time is 300 % more"
    assert "Time of the case over that of the baseline" in panel.caption
    alone = drawn("kind: sweep, y: overhead, x: batch, where: {heads: gqa, seq_len: 512}, reference: {law: 1}")
    assert lines(alone, role="baseline")[0].data["x"] == [1]
    suite = sized_suite()
    rows = [r for r in sized_rows(suite) if (r.impl, r.axes["heads"]) != ("flex", "mha")]
    drawn("kind: sweep, y: time, facet: heads, row: impl, reference: {law: 1}", [make_run(rows, suite)])


def test_a_note_of_the_dashboard_ends_the_caption() -> None:
    assert drawn("kind: speedup, note: Mind the gap.").caption.endswith("Mind the gap.")


def test_parts_are_stacked_or_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(bars, "MAX_ROWS", 4)
    monkeypatch.setattr(listing, "MAX_ROWS", 4)
    cut = drawn("kind: stacked, y: time", [make_run(rows, suite)])
    assert len(cut.rows) == 4 and "The table has 4 of 6 rows." in cut.caption
    only = drawn("kind: stacked, y: time, part: [backward]", [make_run(rows, suite)])
    assert [t.series for t in only.traces] == ["backward"]
    lost = [replace(r, status="oom") if r.part == "backward" else r for r in rows]
    none = drawn("kind: stacked, y: time, part: [backward]", [make_run(lost, suite)])
    assert none.why_empty == "No part of these names was recorded for time."


def test_launches_are_bars_as_a_whole_and_stacked_by_kernel() -> None:
    suite = make_suite(axes=(make_suite().axes[0],), fixed={"num_heads": 8, "num_kv_heads": 8}, probes=("kernels",))
    names = {"aten::bmm": 2.0, "reduce_kernel<512, 1, ReduceOp<float>>": 3.0}
    rows = []
    for case in cases_of(suite):
        parts: dict[str | None, float] = {None: 5.0, **names}
        rows.append(time_row(case, samples=[3e-3] * 6))
        rows += [make_row(case, metric="launches", part=p, value=v, n=0, unit="1") for p, v in parts.items()]
    run = make_run(rows, suite)
    whole = drawn("kind: bars, x: impl, y: launches", [run])
    assert [t.data["y"] for t in whole.traces] == [[5]] * 3 and whole.layout["yaxis"]["title"]["text"] == "launches"
    stacked = drawn("kind: stacked, y: launches", [run])
    assert [(t.series, t.data["y"]) for t in stacked.traces] == [(n, [v] * 3) for n, v in names.items()]
    for name in names:
        only = drawn(f'kind: stacked, y: launches, part: ["{name}"]', [run])
        assert [t.series for t in only.traces] == [name]
    assert drawn("kind: bars, y: launches").why_empty == (
        "No case has launches: the suite does not ask for the probe kernels."
    )


def test_a_diagonal_says_what_is_possible() -> None:
    suite = sized_suite()
    rows = sized_rows(suite)
    rows += [make_row(c, metric="ideal_speedup", value=2.0 + i) for i, c in enumerate(cases_of(suite))]
    spec = "kind: sweep, x: ideal_speedup, y: speedup, log: [x, y]"
    plain = drawn(spec, [make_run(rows, suite)])
    panel = drawn(f"{spec}, diagonal: true", [make_run(rows, suite)])
    lines = [t.data for t in panel.traces if t.data["mode"] == "lines"]
    assert len(panel.traces) == len(plain.traces) + 1 and len(lines) == 1
    assert lines[0]["x"] == lines[0]["y"] == [min(lines[0]["x"]), max(lines[0]["x"])]
    assert lines[0]["name"] == "speed-up = ideal speed-up"
