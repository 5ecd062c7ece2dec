"""Forest plots of a comparison, as panels and on the page that `compare --html` writes."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from example_runs import OP, STEADY, make_suite, stored_run

from llmbench.analyze.compare import compare, forest
from llmbench.report.forest import panels_of
from llmbench.report.payload import layout_of
from llmbench.report.whiskers import MOST
from llmbench.store.origin import read_evidence
from llmbench.suite.catalog import ImplSpec

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SLOW = [1.3 * t for t in STEADY]
HOSTILE = "<script>alert(1)</script>\"'&|\n\x1b[31m" + "x" * 10_000


def test_a_forest_plot_has_a_row_a_case_and_its_numbers_below(tmp_path: Path) -> None:
    a = stored_run(tmp_path / "a", {"flash": STEADY, "naive": STEADY, "flex": STEADY})
    b = stored_run(tmp_path / "b", {"flash": SLOW, "naive": STEADY})
    status, time, memory = panels_of(compare(read_evidence(a), read_evidence(b)))
    assert (status.anchor, status.rows[0].cells) == ("status", ("only in A", "flex fwd", "ok → absent"))
    assert [t.data["name"] for t in time.traces] == ["worse", "same"] and time.why_empty is None
    assert time.layout["yaxis"]["ticktext"] == ["flash fwd", "naive fwd"]
    bar = time.traces[0].data
    assert bar["x"][0] - bar["error_x"]["arrayminus"][0] == pytest.approx(1.2708, abs=1e-4)
    assert len(time.rows) == len(memory.rows) == 2 and time.rows[0].facts["impl"] == "flash"


def test_the_axis_is_as_wide_as_its_ratios_and_one_whatever_the_intervals_are(tmp_path: Path) -> None:
    wild = [STEADY[0], 50 * STEADY[0]]
    a = stored_run(tmp_path / "a", {"flash": STEADY, "naive": STEADY})
    b = stored_run(tmp_path / "b", {"flash": SLOW, "naive": wild})
    time, memory = panels_of(compare(read_evidence(a), read_evidence(b)))
    ratios = [x for t in time.traces for x in t.data["x"]]
    room = max(ratios) ** (1 / 3)
    assert time.layout["xaxis"]["autorangeoptions"] == pytest.approx(
        {"clipmin": 1 / room, "clipmax": max(ratios) * room}
    )
    assert max(max(t.data["error_x"]["array"]) for t in time.traces) > 100
    assert "1 interval goes on beyond the axis." in time.caption
    assert memory.layout["xaxis"]["autorangeoptions"] == pytest.approx({"clipmin": 1 / 1.3, "clipmax": 1.3})


def test_of_very_many_cases_the_worst_are_drawn_and_all_listed(tmp_path: Path) -> None:
    names = tuple(f"i{k}" for k in range(MOST + 5))
    suite = make_suite(op=replace(OP, impls=tuple(map(ImplSpec, names))), impls=names)
    a = stored_run(tmp_path / "a", dict.fromkeys(names, STEADY), suite=suite)
    b = stored_run(tmp_path / "b", {**dict.fromkeys(names, STEADY), names[-1]: SLOW}, suite=suite)
    time = panels_of(compare(read_evidence(a), read_evidence(b)))[0]
    assert time.layout["yaxis"]["ticktext"][0] == f"{names[-1]} fwd"
    assert sum(len(t.data["x"]) for t in time.traces) == MOST and len(time.rows) == MOST + 5
    assert f"The {MOST} worst of {MOST + 5} cases are drawn" in time.caption
    assert len(layout_of(time)["yaxis"]["ticktext"]) == MOST and time.height_px >= 18 * MOST


def test_the_ends_of_an_interval_stand_where_they_are(tmp_path: Path) -> None:
    uneven = [1.3 * STEADY[0], 1.3 * STEADY[0], 2.6 * STEADY[0]]
    found = compare(
        read_evidence(stored_run(tmp_path / "a", {"flash": STEADY})),
        read_evidence(stored_run(tmp_path / "b", {"flash": uneven})),
    )
    [row] = forest(found)
    assert row.low is not None and row.high is not None and row.high - row.ratio > 1.5 * (row.ratio - row.low) > 0
    bar = panels_of(found)[0].traces[0].data
    assert bar["error_x"]["array"] == [pytest.approx(row.high - row.ratio)]
    assert bar["error_x"]["arrayminus"] == [pytest.approx(row.ratio - row.low)]
    assert f"[{row.low:.4f}, {row.high:.4f}]" in bar["text"][0]


def test_the_page_says_what_weakens_the_comparison_and_what_its_intervals_rest_on(
    llmbench: Command, tmp_path: Path
) -> None:
    stored_run(tmp_path / "a", {"flash": STEADY[:1], "naive": STEADY[:1]}, key="one", hashes={"flash": "1"})
    stored_run(tmp_path / "b", {"flash": SLOW[:1], "naive": STEADY[:1]}, key="two", hashes={"flash": "2"})
    llmbench("compare", "a", "b", "--html", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert '<li class="warning"><strong>warning</strong> different devices: A on ' in page
    assert '<li class="warning"><strong>warning</strong> one process on a side' in page
    assert "<h2>A</h2>" in page and "<h2>B</h2>" in page
    found = compare(read_evidence(tmp_path / "a"), read_evidence(tmp_path / "b"))
    time = panels_of(found)[0]
    assert "~ CI within one process, blind to what differs between processes" in time.caption
    assert "Code changed: flash (the file" in time.caption
    assert ["~[" in text for t in time.traces for text in t.data["text"]] == [True, True]


def test_the_table_has_the_notes_of_its_cases(tmp_path: Path) -> None:
    runs = [stored_run(tmp_path / name, {"flash": STEADY, "naive": STEADY}) for name in "ab"]
    found = compare(*(read_evidence(run) for run in runs))
    assert "notes" not in panels_of(found)[0].columns
    noted = replace(found, pairs=(replace(found.pairs[0], notes=("timer event in A, wall in B",)), *found.pairs[1:]))
    table = panels_of(noted)[0]
    assert table.columns[-1] == "notes" and [row.cells[-1] for row in table.rows] == ["timer event in A, wall in B", ""]


def test_the_page_shows_hostile_names_as_text(llmbench: Command, tmp_path: Path) -> None:
    suite = make_suite(op=replace(OP, impls=(ImplSpec(HOSTILE), ImplSpec("b"))), impls=(HOSTILE, "b"))
    stored_run(tmp_path / "a", {HOSTILE: STEADY, "b": STEADY}, suite=suite)
    stored_run(tmp_path / "b", {HOSTILE: SLOW}, failed={"b": ("error", HOSTILE)}, suite=suite)
    llmbench("compare", "a", "b", "--html", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in page and "alert(1)" in page and 'id="forest-time"' in page
    assert "--html no/p.html: cannot be written" in llmbench("compare", "a", "a", "--html", "no/p.html", rc=2).stderr
