"""Slopes of series: what they are fitted to, how the legend says them, and the law beside them."""

from dataclasses import replace

import pytest
from example_runs import make_run
from sized_runs import SIZES, drawn, lines, sized_rows, sized_suite

from llmbench.report.panels import complexity
from llmbench.report.panels.split import thinned


def test_a_slope_is_that_of_all_points_however_few_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = sized_suite()
    bent = [
        replace(r, value=8 * r.value) if r.metric == "peak_memory" and r.params["seq_len"] == 1024 and r.value else r
        for r in sized_rows(suite)
    ]
    spec, runs = "kind: complexity, y: peak_memory, where: {impl: naive, heads: mha}", [make_run(bent, suite)]
    whole = drawn(spec, runs)
    monkeypatch.setattr(complexity, "thinned", lambda points: thinned(points, limit=2))
    few = drawn(spec, runs)
    assert lines(few, "naive")[0].data["x"] == [512, 4096] and "2 of 4 points are drawn" in few.caption
    assert few.rows == whole.rows and few.rows[0].cells[4] == "4"
    assert lines(few, "naive")[0].data["name"] == lines(whole, "naive")[0].data["name"]


def test_slopes_of_several_lines_are_told_from_the_least_to_the_largest() -> None:
    suite = sized_suite()
    powers = {"mha": 10.0, "gqa": 9.0}
    rows = [
        replace(r, value=float(r.params["seq_len"]) ** powers[r.axes["heads"]]) if r.metric == "peak_memory" else r
        for r in sized_rows(suite)
    ]
    panel = drawn("kind: complexity, y: peak_memory", [make_run(rows, suite)])
    assert lines(panel, "naive")[0].data["name"] == "naive: slope 9.00 to 10.0"


def test_the_law_goes_through_the_last_point_with_the_exponent_that_is_given() -> None:
    panel = drawn("kind: complexity, y: peak_memory, where: {heads: mha}, theory: {naive: 1}")
    [law] = lines(panel, "naive", "theory")
    last = lines(panel, "naive")[0].data["y"][-1]
    assert law.data["y"] == pytest.approx([last * n / SIZES[-1] for n in SIZES], rel=1e-4)
