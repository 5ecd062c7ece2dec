"""Subplots that no dashboard names: as many lines share one as can be told apart, and the caption says why."""

from collections import Counter
from typing import Any

import pytest
from example_runs import HEADS, make_suite
from sized_runs import SIZES, drawn, lines, sized_run, sized_suite

from llmbench.report.drawn import Drawn
from llmbench.report.panels.data import page_data
from llmbench.report.panels.grid import grid_of
from llmbench.suite.suite import Axis, AxisValue, Suite


def axis(name: str, *values: Any) -> Axis:
    return Axis(name, tuple(AxisValue({name: v}) for v in values))


def wide_suite(**changes: Any) -> Suite:
    """Three implementations at three batches, two kinds of heads and two phases: 36 lines over the length."""
    given = {"axes": (axis("seq_len", *SIZES), axis("batch", 1, 2, 4), HEADS), "phases": ("fwd", "bwd")}
    return make_suite(**{**given, "fixed": {}, "probes": ("memory",), **changes})


def titles(panel: Drawn) -> list[str]:
    return [a["text"] for a in panel.layout["annotations"]]


def looks(panel: Drawn) -> Counter[tuple[str, str, str]]:
    """How often a subplot has a line of that colour and dash."""
    return Counter((t.data["xaxis"], t.series or "", t.data["line"].get("dash", "")) for t in lines(panel))


def test_six_lines_share_a_plot() -> None:
    panel = drawn("kind: sweep, y: time")
    assert panel.layout["meta"] == {"facets": 1, "rows": 1} and "subplot" not in panel.caption


def test_more_lines_get_a_subplot_for_each_value_of_what_splits_them_best() -> None:
    panel = drawn("kind: sweep, y: time", [sized_run(sized_suite(phases=("fwd", "bwd")))])
    assert titles(panel) == ["fwd", "bwd"]
    assert "A subplot for each phase: 12 lines in one cannot be told apart." in panel.caption
    assert "Dash: solid heads=mha, dash heads=gqa." in panel.caption
    assert panel.anchor == "sweep-time" and panel.columns[:3] == ("phase", "impl", "heads")


def test_two_facts_split_the_lines_where_one_leaves_too_many() -> None:
    panel = drawn("kind: sweep, y: time", [sized_run(wide_suite())])
    assert panel.layout["meta"] == {"facets": 3, "rows": 2}
    assert titles(panel) == [f"batch={b} {phase}" for phase in ("fwd", "bwd") for b in (1, 2, 4)]
    assert set(looks(panel).values()) == {1} and len(looks(panel)) == 36
    assert "A subplot for each batch and phase: 36 lines in one" in panel.caption


@pytest.mark.parametrize("options", ["kind: speedup", "kind: bars, y: time", "kind: complexity, y: time"])
def test_every_panel_of_lines_or_bars_is_split_alike(options: str) -> None:
    panel = drawn(options, [sized_run(wide_suite())])
    assert titles(panel)[0] == "batch=1 fwd" and "A subplot for each batch and phase" in panel.caption


def test_a_dashboard_that_names_a_facet_or_a_row_is_left_as_it_is() -> None:
    for option in ("facet", "row"):
        panel = drawn(f"kind: sweep, y: time, {option}: heads", [sized_run(wide_suite())])
        assert titles(panel) == ["heads=mha", "heads=gqa"] and "A subplot for each" not in panel.caption


def test_many_values_go_below_each_other_and_few_side_by_side() -> None:
    suite = wide_suite(axes=(axis("seq_len", *SIZES), axis("batch", *range(1, 9)), HEADS))
    panel = drawn("kind: sweep, y: time, x: seq_len", [sized_run(suite)])
    assert panel.layout["meta"] == {"facets": 2, "rows": 8} and titles(panel)[:2] == ["fwd batch=1", "bwd batch=1"]


def test_dashes_that_repeat_even_so_are_told() -> None:
    suite = wide_suite(axes=(axis("seq_len", *SIZES), *(axis(n, *range(1, 8)) for n in ("batch", "num_heads"))))
    panel = drawn("kind: sweep, y: time, x: seq_len", [sized_run(suite)])
    assert "Dashes repeat even so; where, facet and row of a dashboard leave fewer lines." in panel.caption


def test_runs_share_a_subplot_until_their_dashes_would_repeat() -> None:
    def runs(count: int, **changes: Any) -> Drawn:
        found = [sized_run(sized_suite(**changes), started=f"2026-05-0{i + 1}T00:00:00Z") for i in range(count)]
        return drawn("kind: sweep, y: time", found)

    assert titles(runs(2)) == ["heads=mha", "heads=gqa"]
    alone = {"axes": (axis("seq_len", *SIZES),), "fixed": {"num_heads": 8, "num_kv_heads": 8}}
    assert titles(runs(6, **alone)) == []
    assert len(titles(runs(7, **alone))) == 7


def test_a_title_too_long_for_a_subplot_takes_two_lines() -> None:
    points = page_data([sized_run()]).points
    short = grid_of(points, facet="heads").cells[0].label
    assert short == "heads=mha"
    names = ("heads", "seq_len", "dtype", "device")
    labels = {c.label for c in grid_of(points, rest=names).cells}
    assert "heads=mha seq_len=512<br>dtype=bfloat16 NVIDIA H100 80GB HBM3" in labels
