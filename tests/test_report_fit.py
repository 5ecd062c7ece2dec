"""Straight lines through the points of a series, and how much they explain."""

import math
from dataclasses import replace

import numpy as np
import pytest
from example_runs import make_run
from sized_runs import SIZES, drawn, lines, sized_rows, sized_suite

from llmbench.analyze.line import straight_line


def test_a_line_in_the_root_explains_what_grows_with_the_root_and_no_line_in_x_does() -> None:
    xs = [4.0, 9, 16, 25, 36, 64]
    ys = [10 + 3 * math.sqrt(x) for x in xs]
    right, wrong = straight_line(xs, ys, power=0.5), straight_line(xs, ys)
    assert right is not None and wrong is not None
    assert (right.intercept, right.slope, right.r2) == (pytest.approx(10), pytest.approx(3), pytest.approx(1))
    assert wrong.r2 == pytest.approx(float(np.corrcoef(xs, ys)[0, 1]) ** 2)
    assert right.at(100) == pytest.approx(40)


def test_two_points_explain_nothing_and_one_has_no_line() -> None:
    two = straight_line([1, 2], [1, 5])
    assert two is not None and (two.slope, two.r2) == (4, None)
    assert straight_line([3, 3], [1, 5]) is None
    level = straight_line([1, 2, 3], [7, 7, 7])
    assert level is not None and level.r2 is None


def test_each_series_is_fitted_in_its_own_power() -> None:
    panel = drawn("kind: fit, y: peak_memory, where: {heads: mha}, theory: {naive: 2, flash: 1}")
    assert panel.columns == (
        "impl", "line in", "slope (MiB)", "at 0 (MiB)", "R² in seq_len", "R² in seq_len^2", "points",
    )  # fmt: skip
    rows = {row.cells[0]: dict(zip(panel.columns, row.cells, strict=True)) for row in panel.rows}
    assert (rows["naive"]["line in"], rows["naive"]["R² in seq_len^2"]) == ("power 2", "1.0000")
    assert float(rows["naive"]["R² in seq_len"]) < 0.97
    assert (rows["flash"]["line in"], rows["flash"]["R² in seq_len"]) == ("power 1", "1.0000")
    [line] = lines(panel, "naive", "theory")
    measured = lines(panel, "naive")[0].data
    assert line.data["y"][-1] == pytest.approx(measured["y"][-1], rel=1e-4)
    assert measured["name"] == "naive, R² 1.0000 in seq_len^2"


def test_the_sum_of_some_parts_is_fitted() -> None:
    suite = sized_suite()
    rows = sized_rows(suite)
    parts = [
        replace(r, part=part, value=share * r.params["seq_len"])
        for r in rows
        if r.metric == "peak_memory"
        for part, share in (("activations", 2.0**20), ("other", 2.0**19), ("parameters", 2.0**30))
    ]
    runs = [make_run([*rows, *parts], suite)]
    panel = drawn("kind: fit, part: [activations, other], where: {impl: naive, heads: mha}", runs)
    slope = dict(zip(panel.columns, panel.rows[0].cells, strict=True))["slope (GiB)"]
    assert float(slope) == pytest.approx(1.5 / 1024, rel=1e-2)
    assert lines(panel, "naive")[0].data["x"] == list(SIZES)
    nothing = drawn("kind: fit, part: [activations]")
    assert nothing.why_empty == "No case has these parts of peak_memory: activations."


def test_a_line_needs_two_values() -> None:
    assert "at least two values of a parameter; batch has 1" in str(drawn("kind: fit, x: batch").why_empty)
