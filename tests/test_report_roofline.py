"""Roofs that were measured, beside the datasheet's or alone."""

from dataclasses import replace
from typing import Any

import pytest
from example_ceilings import EPYC, ceilings, rate
from example_runs import H100, make_run
from sized_runs import drawn, lines, sized_rows, sized_run, sized_suite

from llmbench.machine.fingerprint import Machine
from llmbench.store.query import Run
from llmbench.suite.suite import Axis, AxisValue


def on_a_cpu(**changes: Any) -> Run:
    """A run on a device that no datasheet knows."""
    suite = sized_suite()
    machine = Machine("cpu", EPYC, "cpu", 0, 0)
    return make_run(sized_rows(suite, device_name=EPYC), suite, **{"machine": machine, **changes})


def test_an_unknown_device_without_ceilings_has_points_and_no_roof() -> None:
    panel = drawn("kind: roofline", [on_a_cpu()])
    assert not lines(panel, role="roof") and lines(panel, "flash")
    assert "The peak of AMD EPYC, 2 cores is not known, so no roof is drawn." in panel.caption
    assert f"Measured on {EPYC}: nothing yet; llmbench doctor --ceilings does, for later runs." in panel.caption


def test_the_measured_roof_stands_beside_the_datasheets_and_fractions_stay_the_datasheets() -> None:
    reached = ceilings(device_name=H100, flop_per_s={"bfloat16": rate(700e12)}, copy=rate(2.8e12))
    panel = drawn("kind: roofline", [sized_run(ceilings=reached)])
    sheet, measured = lines(panel, role="roof")
    assert (sheet.data["name"], sheet.data["line"]["dash"]) == ("roof bfloat16", "dash")
    assert (measured.data["name"], measured.data["line"]["dash"]) == ("measured roof bfloat16", "dot")
    assert measured.data["x"][1] == pytest.approx(250) and measured.data["y"][1] == pytest.approx(700)
    assert measured.data["y"][0] / measured.data["x"][0] == pytest.approx(2.8, rel=1e-3)
    text = f"{H100}: 700 TFLOP/s in bfloat16, 2800 GB/s copied, ridge at 250 FLOP/B (measured 2026-11-24)"
    assert f"Measured roof of {text}." in panel.caption
    assert panel.rows == drawn("kind: roofline").rows
    assert "nothing yet" not in panel.caption


def test_without_a_datasheet_the_measured_roof_is_drawn_alone() -> None:
    busy = "other programs keep 2.0 of 2 cores busy"
    reached = ceilings(flop_per_s={"bfloat16": rate(200e9)}, busy=busy)
    panel = drawn("kind: roofline", [on_a_cpu(ceilings=reached)])
    [roof] = lines(panel, role="roof")
    assert roof.data["name"] == "measured roof bfloat16"
    assert f"(measured 2026-11-24 while {busy})" in panel.caption
    assert f"The peak of {EPYC} is not known, so the measured roof alone is drawn." in panel.caption


def test_a_dtype_that_was_not_measured_has_no_measured_roof() -> None:
    panel = drawn("kind: roofline", [on_a_cpu(ceilings=ceilings())])
    assert not lines(panel, role="roof")
    assert f"Measured on {EPYC}: no ceiling of these dtypes." in panel.caption


def test_a_roof_that_runs_share_outlives_a_filter_that_hides_one_of_them() -> None:
    reached = ceilings(flop_per_s={"bfloat16": rate(200e9)})
    older, newer = (on_a_cpu(run_id=r, started=f"2026-05-0{r}T00:00:00Z", ceilings=reached) for r in "12")
    [roof] = lines(drawn("kind: roofline", [older, newer]), role="roof")
    assert roof.facts == {"dtype": "bfloat16"}
    again = on_a_cpu(run_id="2", ceilings=replace(reached, measured="2026-12-01T00:00:00Z"))
    assert len(lines(drawn("kind: roofline", [older, again]), role="roof")) == 2


def test_a_subplot_has_the_roofs_of_its_own_points_alone() -> None:
    axis = Axis("dtype", tuple(AxisValue({"dtype": d}) for d in ("bfloat16", "float32")))
    suite = sized_suite(axes=(*sized_suite().axes, axis))
    run = make_run(sized_rows(suite), suite)
    names = {t.data["name"] for t in lines(drawn("kind: roofline", [run]), role="roof")}
    assert len(names) == 2
    roofs = lines(drawn("kind: roofline, facet: dtype", [run]), role="roof")
    assert [(t.data["xaxis"], t.facts["dtype"]) for t in roofs] == [("x", "bfloat16"), ("x2", "float32")]
