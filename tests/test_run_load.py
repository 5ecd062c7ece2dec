"""The load of other programs: looked at before a run, told where it matters."""

import psutil
import pytest

from llmbench.run.load import load_note, load_now
from llmbench.store.runs import Load


def test_a_look_counts_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: 75.0)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 8)
    assert load_now() == Load(6.0, 8)


def test_a_busy_machine_is_told_and_a_quiet_one_is_not() -> None:
    assert (load_note(Load(2.0, 2)) or "").startswith("other programs keep 2.0 of 2 cores busy: times and speed-ups on")
    assert load_note(Load(0.25, 2)) is None
    assert "verdicts hold" in (load_note(Load(2.0, 2), in_turns=True) or "")
    assert load_note(Load(0.3, 64)) is not None  # told, though no reason to decide nothing
