"""The journal of a run: `journal.jsonl`, one line an event, each on disk before the next thing happens.

The first line is the header. A unit counts only with its closing `unit` line: records of a unit that was cut short are
dropped on reading, so that what is compared was measured together.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbench.codec import from_plain, to_plain
from llmbench.errors import MachineError, RunError
from llmbench.store.record import Record
from llmbench.store.runs import JOURNAL, Header
from llmbench.store.sentinels import Look, Visit

UnitKey = tuple[str, int]  # unit_id, process
Rows = Sequence[dict[str, float | int | str | None]]


@dataclass
class Journaled:
    """What a journal holds."""

    header: Header
    units: dict[UnitKey, list[Record]] = field(default_factory=dict)
    wall_s: dict[UnitKey, float] = field(default_factory=dict)
    ledger_s: dict[str, float] = field(default_factory=dict)
    telemetry: list[dict[str, Any]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)  # at the sentinels, those beside a unit that was cut short too
    notes: list[str] = field(default_factory=list)


class Journal:
    """Appends to the journal of a run; every line is fsynced."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / JOURNAL).open("ab", buffering=0)

    def header(self, header: Header) -> None:
        """The first line."""
        self._write({"type": "run", **to_plain(header)})

    def record(self, key: UnitKey, record: Record) -> None:
        """A finished case."""
        self._write({"type": "record", "unit_id": key[0], "process": key[1], "record": to_plain(record)})

    def telemetry(self, process: int, rows: Rows) -> None:
        """Rows of power and clocks."""
        self._write({"type": "telemetry", "process": process, "rows": list(rows)})

    def sentinels(self, look: Look) -> None:
        """What the sentinels took."""
        visits = [to_plain(v) for v in look.visits]
        self._write({"type": "sentinels", "process": look.process, "unix_s": look.unix_s, "visits": visits})

    def unit(self, key: UnitKey, wall_s: float, ledger_s: dict[str, float]) -> None:
        """Every case of the unit has its record."""
        self._write({"type": "unit", "unit_id": key[0], "process": key[1], "wall_s": wall_s, "ledger_s": ledger_s})

    def note(self, text: str) -> None:
        """Something that a reader of the run should know."""
        self._write({"type": "note", "text": text})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, body: dict[str, Any]) -> None:
        line = memoryview(json.dumps(body, separators=(",", ":")).encode() + b"\n")
        whole = self._file.tell()
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
            os.fsync(self._file.fileno())
        except OSError as e:
            with suppress(OSError):
                self._file.truncate(whole)  # no half line in the middle, should there be room again later
            raise MachineError(f"{self._file.name}: cannot be written: {e.strerror}") from e


def read_journal(folder: Path, *, mend: bool = False) -> Journaled:
    """What the journal of a run holds; `mend` cuts a half-written last line off, so that it can be appended to.

    Raises: RunError when there is none, or its first line was never finished.
    """
    path = folder / JOURNAL
    try:
        data = path.read_bytes()
    except OSError as e:
        raise RunError(f"{folder}: no run to resume here: {JOURNAL}: {e.strerror}") from e
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.splitlines()
    if not lines:
        raise RunError(f"{path}: no case was started; run the suite anew")
    try:
        events = [json.loads(line) for line in lines]
        if events[0].get("type") != "run":
            raise ValueError("the first line is no header")
        found = Journaled(from_plain(Header, events[0]))
        _replay(events[1:], found)
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise RunError(f"{path}: damaged: {e}") from e
    if mend and len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
            os.fsync(file.fileno())
    return found


def _replay(events: Sequence[dict[str, Any]], found: Journaled) -> None:
    open_units: dict[UnitKey, dict[str, Record]] = {}
    for event in events:
        kind = event["type"]
        if kind == "note":
            found.notes.append(event["text"])
        elif kind == "telemetry":
            found.telemetry.extend({"process": event["process"], **row} for row in event["rows"])
        elif kind == "sentinels":
            visits = tuple(from_plain(Visit, visit) for visit in event["visits"])
            found.looks.append(Look(event["process"], event["unix_s"], visits))
        elif kind == "record":
            record = from_plain(Record, event["record"])
            open_units.setdefault((event["unit_id"], event["process"]), {})[record.case_id] = record
        elif kind == "unit":
            key = (event["unit_id"], event["process"])
            found.units[key] = list(open_units.pop(key, {}).values())
            found.wall_s[key] = event["wall_s"]
            for stage, seconds in event["ledger_s"].items():
                found.ledger_s[stage] = found.ledger_s.get(stage, 0.0) + seconds
