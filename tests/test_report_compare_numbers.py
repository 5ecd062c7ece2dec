"""The numbers of a comparison: what a mean leaves out is said, and no interval is a row of digits."""

from pathlib import Path
from typing import Any

import pytest
from example_runs import STEADY, stored_run

from llmbench.analyze.compare import Comparison, compare
from llmbench.report import compare_table
from llmbench.store.origin import read_evidence

TIMES = {"naive": STEADY, "flash": STEADY, "flex": STEADY}


def compared(folder: Path, a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    sides = [stored_run(folder / name, **{"times": TIMES, **given}) for name, given in (("a", a), ("b", b))]
    return compare(*map(read_evidence, sides))


def test_a_mean_says_which_cases_it_is_of(tmp_path: Path) -> None:
    found = compared(tmp_path, {"memory": {"flash": [0] * 3}}, {"memory": {"naive": [0] * 3, "flex": [2 << 20] * 3}})
    assert compare_table.tally(found, "peak_memory") == (
        "2 worse, 1 better; geometric mean of B/A over 1 of them 2; "
        "2 without a ratio, as a side has no value above zero"
    )
    assert compare_table.tally(found, "time") == "3 same; geometric mean of B/A 1"
    rows = compare_table.rows_of(found, "peak_memory", everything=True)
    assert [(row.pair.facts["impl"], row.cells["ratio"], row.cells["effect"]) for row in rows] == [
        ("flash", "–", "+1.00 MiB"), ("flex", "2.000", "+1.00 MiB"), ("naive", "–", "-1.00 MiB"),
    ]  # fmt: skip


def test_a_mean_of_nothing_is_none(tmp_path: Path) -> None:
    zero = {"memory": dict.fromkeys(TIMES, [0] * 3)}
    found = compared(tmp_path, zero, {})
    assert compare_table.tally(found, "peak_memory") == (
        "3 worse; 3 without a ratio, as a side has no value above zero"
    )  # fmt: skip


def test_negative_memory_is_shown_without_a_ratio(tmp_path: Path) -> None:
    found = compared(tmp_path, {}, {"memory": {"flash": [-5] * 3}})
    row = compare_table.rows_of(found, "peak_memory", everything=False)[0]
    assert (row.cells["ratio"], row.cells["effect"], row.kind) == ("–", "–", "unclear")
    assert compare_table.render(found) and compare_table.document(found)


@pytest.mark.parametrize(
    ("times", "interval", "effect"),
    [
        ((1e-3, 1e-2), "[1.4e-06, 7.12e+06]", "+216.2%"), ((1.29e-3, 1.31e-3), "[1.250, 1.352]", "+30.0%"),
        ((1e2, 1e2), "[9.75e+04, 1.03e+05]", "×1e+05"), ((1e-9, 1e-9), "[9.75e-07, 1.03e-06]", "-100.0%"),
    ],
)  # fmt: skip
def test_an_interval_is_no_row_of_digits(tmp_path: Path, times: tuple[float, ...], interval: str, effect: str) -> None:
    found = compared(tmp_path, {}, {"times": {"flash": times}})
    cells = compare_table.rows_of(found, "time", everything=True)[0].cells
    assert (cells["interval"], cells["effect"]) == (interval, effect)
