"""The journal: what a crash leaves of it is read as far as it goes, and nothing that was cut short counts."""

import json
from pathlib import Path

import pytest

from llmbench.errors import RunError
from llmbench.machine.fingerprint import Machine
from llmbench.run.journal import Journal, read_journal
from llmbench.store.record import Record
from llmbench.store.runs import Code, Header
from llmbench.suite.catalog import OpSpec
from llmbench.suite.suite import Suite

SUITE = Suite("s", OpSpec("toy", 1, "", (), ("infer",), ()), "cpu", ("mul",), ("infer",), (), {})
HEADER = Header(
    "s/cpu/now", SUITE, "s.yaml", {"impl": ("mul",)}, False, Machine("cpu", "EPYC", "cpu", 1, 1), {"torch": "2.6"},
    Code(None, False, "f" * 40), "2026-01-01T00:00:00Z", {"size": "int"},
)  # fmt: skip
UNIT, OTHER = ("p1", 0), ("p2", 0)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path)
    journal.header(HEADER)
    return journal


def record(case: str, why: str | None = None) -> Record:
    return Record(case, 0, "error" if why else "ok", why=why)


def test_what_was_written_is_read(journal: Journal, tmp_path: Path) -> None:
    journal.record(UNIT, record("a"))
    journal.telemetry(0, [{"t_ns": 1, "power_w": 2.0}])
    journal.record(UNIT, record("b", "no\nreason"))
    journal.unit(UNIT, 1.5, {"time": 1.0})
    journal.note("a note")
    journal.unit(OTHER, 0.5, {"time": 2.0, "check": 0.25})
    journal.close()
    found = read_journal(tmp_path)
    assert found.header == HEADER
    assert found.units == {UNIT: [record("a"), record("b", "no\nreason")], OTHER: []}
    assert (found.wall_s, found.ledger_s) == ({UNIT: 1.5, OTHER: 0.5}, {"time": 3.0, "check": 0.25})
    assert found.telemetry == [{"process": 0, "t_ns": 1, "power_w": 2.0}] and found.notes == ["a note"]


def test_every_line_is_on_disk_at_once(journal: Journal, tmp_path: Path) -> None:
    journal.record(UNIT, record("a"))
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 2 and lines[-1].endswith(b"\n")
    journal.close()


def test_records_of_a_unit_that_was_not_closed_are_dropped(journal: Journal, tmp_path: Path) -> None:
    journal.record(UNIT, record("a"))
    journal.unit(UNIT, 1.0, {})
    journal.record(OTHER, record("b"))
    journal.record((UNIT[0], 1), record("a"))
    journal.close()
    assert read_journal(tmp_path).units == {UNIT: [record("a")]}


def test_the_last_record_of_a_case_wins(journal: Journal, tmp_path: Path) -> None:
    for one in (record("a", "killed"), record("b"), record("a")):
        journal.record(UNIT, one)
    journal.unit(UNIT, 1.0, {})
    journal.close()
    assert read_journal(tmp_path).units[UNIT] == [record("a"), record("b")]


@pytest.mark.parametrize(
    "half", [b"{", b'{"type":"unit","unit_id":"p1","process":0,"wall_s":1,"ledger_s":{}}', b"\xff\xfe"]
)
def test_a_half_written_last_line_does_not_count_and_is_mended(journal: Journal, tmp_path: Path, half: bytes) -> None:
    journal.record(UNIT, record("a"))
    journal.close()
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + half)
    assert read_journal(tmp_path).units == {} and path.read_bytes() == whole + half
    assert read_journal(tmp_path, mend=True).units == {} and path.read_bytes() == whole
    again = Journal(tmp_path)
    again.record(UNIT, record("a"))
    again.unit(UNIT, 1.0, {})
    again.close()
    assert read_journal(tmp_path).units == {UNIT: [record("a")]}


@pytest.mark.parametrize(
    "line",
    ["{half", "[]", "3", "null", '{"no":"type"}', '{"type":"record","unit_id":"p1","process":0}',
     '{"type":"record","unit_id":"p1","process":0,"record":{"case_id":1}}', '{"type":"unit","unit_id":"p1"}',
     '{"type":"telemetry","process":0,"rows":[3]}'],
)  # fmt: skip
def test_a_damaged_line_in_the_middle_is_told(journal: Journal, tmp_path: Path, line: str) -> None:
    journal.close()
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text() + line + "\n" + '{"type":"note","text":"later"}\n')
    with pytest.raises(RunError, match=r"journal\.jsonl: damaged: "):
        read_journal(tmp_path)


@pytest.mark.parametrize("first", ['{"type":"note","text":"x"}', "[]", "{}", '{"type":"run"}'])
def test_a_first_line_that_is_no_header_is_told(tmp_path: Path, first: str) -> None:
    (tmp_path / "journal.jsonl").write_text(first + "\n")
    with pytest.raises(RunError, match="damaged"):
        read_journal(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"type":"ru'])
def test_a_journal_without_a_first_line_says_to_run_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(content)
    with pytest.raises(RunError, match="no case was started; run the suite anew"):
        read_journal(tmp_path)


def test_a_folder_without_a_journal_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume here"):
        read_journal(tmp_path)


def test_the_header_is_the_first_line_and_names_its_type(journal: Journal, tmp_path: Path) -> None:
    journal.close()
    first = json.loads((tmp_path / "journal.jsonl").read_text())
    assert first["type"] == "run" and first["suite"]["name"] == "s"
