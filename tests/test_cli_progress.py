"""The time that is left, and what is said to be on."""

from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmbench.cli import progress
from llmbench.store.record import Record, Status

CASE = cast("Any", SimpleNamespace(label="eager step layers=4"))


def lines(monkeypatch: pytest.MonkeyPatch, *, cases: int, estimate_s: float, after_s: float) -> progress.Lines:
    """A listener whose run began so many seconds ago."""
    began = monotonic()
    monkeypatch.setattr(progress, "monotonic", lambda: began)
    heard = progress.Lines()
    heard.begins(cases=cases, done=0, estimate_s=estimate_s)
    monkeypatch.setattr(progress, "monotonic", lambda: began + after_s)
    return heard


def tell(heard: progress.Lines, status: Status, many: int = 1, why: str | None = None) -> None:
    for _ in range(many):
        heard.found(CASE, Record("c", 0, status, why=why))


def test_time_left_goes_over_from_the_estimate_to_the_pace_and_never_stands_at_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = lines(monkeypatch, cases=30, estimate_s=60.0, after_s=120.0)
    assert heard.left_s == pytest.approx(60)
    tell(heard, "ok")
    assert 60 * 29 / 30 < heard.left_s < 120 * 29
    tell(heard, "wrong", 2)
    assert heard.left_s == pytest.approx(120 / 3 * 27) and heard.failures == ", 2 failed"


def test_cases_that_are_not_tried_are_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = lines(monkeypatch, cases=30, estimate_s=360.0, after_s=0.01)
    tell(heard, "skipped", 3)
    tell(heard, "inferred", 2)
    assert heard.left_s == pytest.approx(360)


def test_a_line_names_the_case_that_is_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    heard = lines(monkeypatch, cases=30, estimate_s=60.0, after_s=11.0)
    tell(heard, "ok")
    heard.stage("inputs", None)
    assert "now" not in capsys.readouterr().err
    heard.stage("time", CASE)
    heard.stage("time", CASE)
    said = capsys.readouterr().err
    assert said.count("1/30 cases") == 1 and said.endswith(" left; now eager step layers=4\n")


def test_a_failure_of_every_process_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = lines(monkeypatch, cases=30, estimate_s=60.0, after_s=1.0)
    tell(heard, "wrong", why="out is off by 2.1")
    tell(heard, "wrong", why="out is off by 2.2")
    tell(heard, "error", 2, why="check: ValueError: one")
    tell(heard, "error", 2, why="check: ValueError: another")
    tell(heard, "oom")
    tell(heard, "ok")
    told = [line for line in capsys.readouterr().err.splitlines() if CASE.label in line]
    assert [line.split(":")[1].strip() for line in told] == ["wrong", "error", "error", "oom"]
    assert heard.failures == ", 6 failed"
