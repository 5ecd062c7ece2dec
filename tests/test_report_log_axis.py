"""Logarithmic axes: few ticks, and ratios whose axis the points and 1 decide."""

from dataclasses import replace
from typing import Any

import pytest
from chromium import Open
from example_runs import cases_of, make_run, make_suite, time_row
from sized_runs import drawn

from llmbench.report.log_axis import decades, log_ticks, ratio_span
from llmbench.store.query import Run


def test_the_points_and_one_decide_how_far_an_axis_of_ratios_reaches() -> None:
    assert ratio_span([]) == ratio_span([1.0, 1.0]) == (1 / 1.3, 1.3)
    assert ratio_span([1.1]) == pytest.approx((1 / 1.3, 1.1 * 1.3))
    assert ratio_span([8.0, float("inf"), 0.0]) == pytest.approx((0.5, 16))


def test_intervals_that_go_on_beyond_it_are_counted() -> None:
    span = ratio_span([1.0])
    assert span.cut([None, (0.9, 1.2)]) == ""
    assert span.cut([(0.9, 1.2), (0.9, 2.0)]) == "1 interval goes on beyond the axis."
    assert span.cut([(0.1, 1.2), (0.9, 2.0)]) == "2 intervals go on beyond the axis."


@pytest.mark.parametrize(("values", "count"), [([], 5), ([1, 5], 5), ([1, 10], 3), ([3, 300], 5), ([1, 1e9], 8)])
def test_a_tick_stands_for_about_half_a_decade(values: list[float], count: int) -> None:
    assert log_ticks(decades(values)) == {"nticks": count, "tickformat": ".6~g"}


def shaky_run() -> Run:
    """naive takes twice as long as flash; in its second process one block in three takes a thousand times as long."""
    suite = make_suite(impls=("naive", "flash"))
    rows = []
    for case in cases_of(suite):
        for process in range(2):
            bad = case.impl == "naive" and process == 1 and case.axes["heads"] == "gqa"
            times = [(2e-3 if case.impl == "naive" else 1e-3) * (1000 if bad and i % 5 < 2 else 1) for i in range(10)]
            rows.append(time_row(case, samples=times, process=process))
    return make_run(rows, suite)


def test_one_long_whisker_does_not_stretch_the_axis_of_speed_ups() -> None:
    panel = drawn("kind: speedup, x: heads", [shaky_run()])
    axis = panel.layout["yaxis"]
    assert axis["type"] == "log" and "rangemode" not in axis
    assert axis["autorangeoptions"] == pytest.approx({"clipmin": 0.5 / 1.3, "clipmax": 1.3})
    low = min(
        y - below
        for t in panel.traces
        if "error_y" in t.data
        for y, below in zip(t.data["y"], t.data["error_y"]["arrayminus"], strict=True)
    )
    assert low < 0.05 and "1 interval goes on beyond the axis." in panel.caption


def test_a_dashboard_may_ask_for_speed_ups_on_a_linear_axis_which_ends_there_too() -> None:
    axis = drawn("kind: speedup, x: heads, log: [x]", [shaky_run()]).layout["yaxis"]
    assert (axis["type"], axis["rangemode"]) == ("linear", "tozero")
    assert axis["autorangeoptions"] == {"clipmax": pytest.approx(1.3)}


def test_the_page_cuts_the_whisker_and_widens_an_axis_on_which_all_is_one(show: Open, browser: Any) -> None:
    shaky = drawn("kind: speedup, x: heads", [shaky_run()])
    still = drawn("kind: speedup, x: heads, where: {impl: flash}", [shaky_run()])
    bars = drawn("kind: bars, y: speedup, x: heads", [shaky_run()])
    show([shaky, replace(still, anchor="still"), bars])
    found = "return document.querySelector(arguments[0] + ' .plot')._fullLayout.yaxis.range.map(v => 10 ** v)"
    assert browser.execute_script(found, "#speedup-heads") == pytest.approx([0.5 / 1.3, 1.3], rel=0.3)
    linear = found.replace("10 ** v", "v")
    assert browser.execute_script(linear, "#bars-speedup-heads") == pytest.approx([0, 1.1], abs=0.2)
    assert browser.execute_script(found, "#still") == pytest.approx([1 / 1.3, 1.3], rel=0.01)
