"""Lines that break where nothing was measured, and speed-ups that are said not to be paired."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from example_runs import make_run
from sized_runs import SIZES, drawn, lines, sized_rows, sized_suite

from llmbench.store.query import Row, Run
from llmbench.suite.suite import Suite


def without(suite: Suite, *sizes: int, impl: str = "naive") -> Run:
    """A run in which that implementation had no memory for these lengths."""
    lost = {"status": "oom", "why": "no room", "metric": None, "value": None}
    rows = [
        replace(r, **lost) if r.impl == impl and r.params["seq_len"] in sizes else r  # type: ignore[arg-type]
        for r in sized_rows(suite)
    ]
    return make_run(rows, suite)


@pytest.mark.parametrize("spec", ["kind: sweep, y: time", "kind: speedup", "kind: complexity, y: time"])
def test_a_line_breaks_at_a_case_that_failed_between_others(spec: str) -> None:
    panel = drawn(f"{spec}, x: seq_len, where: {{heads: gqa}}", [without(sized_suite(), 1024)])
    [naive] = lines(panel, "naive")
    assert naive.data["x"] == list(SIZES) and [i for i, v in enumerate(naive.data["y"]) if v is None] == [1]
    assert None not in lines(panel, "flex")[0].data["y"]
    assert "Lines break where a case has no value." in panel.caption


def test_what_failed_at_an_end_of_a_line_breaks_nothing() -> None:
    panel = drawn("kind: sweep, y: time, x: seq_len, facet: heads", [without(sized_suite(), 512, 4096)])
    assert [t.data["x"] for t in lines(panel, "naive")] == [[1024, 2048]] * 2 and "Lines break" not in panel.caption


def test_a_band_breaks_with_its_line_and_a_point_left_alone_has_bars() -> None:
    panel = drawn("kind: sweep, y: time, x: seq_len, where: {heads: gqa}", [without(sized_suite(), 1024)])
    [band], [line] = lines(panel, "naive", "band"), lines(panel, "naive")
    assert band.data["x"] == [2048, 4096, 4096, 2048] and len(band.data["y"]) == 4
    above = line.data["error_y"]["array"]
    assert above[0] > 0 and above[1:] == [0, 0, 0]


def test_a_case_of_another_line_breaks_none() -> None:
    panel = drawn("kind: sweep, y: time, x: seq_len", [without(sized_suite(), 1024, impl="flex")])
    broken = {t.series for t in lines(panel) if None in t.data["y"]}
    assert broken == {"flex"}


def apart(rows: Sequence[Row], *impls: str) -> list[Row]:
    return [replace(r, order="apart") if r.impl in impls else r for r in rows]


def test_speedups_that_are_not_paired_are_marked_and_the_caption_says_what_theirs_rest_on() -> None:
    suite = sized_suite()
    paired = drawn("kind: speedup, x: seq_len, where: {heads: gqa}", [make_run(sized_rows(suite), suite)])
    assert "CI over pairs of blocks" in paired.caption and "not paired" not in paired.caption
    run = make_run(apart(sized_rows(suite), "naive"), suite)
    some = drawn("kind: speedup, x: seq_len, where: {heads: gqa}", [run])
    assert "CI over pairs of blocks" in some.caption and "~ not paired, so drift between the two" in some.caption
    assert "speed-up ~0.2500" in lines(some, "naive")[0].data["hovertext"][0]
    assert "~" not in lines(some, "flex")[0].data["hovertext"][0]
    assert {row.cells[0]: row.cells[2][:1] for row in some.rows} == {"naive": "~", "flash": "1", "flex": "0"}
    table = drawn("kind: table, columns: [impl, speedup]", [run])
    assert "not paired" in table.caption and "~0.2500" in str(table.rows)
    none = make_run(apart(sized_rows(suite), "naive", "flash", "flex"), suite)
    for spec in ("kind: speedup", "kind: sweep, y: speedup", "kind: bars, y: speedup"):
        all_apart = drawn(f"{spec}, x: seq_len", [none])
        assert "pairs of blocks" not in all_apart.caption and "not paired" in all_apart.caption
