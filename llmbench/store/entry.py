"""What a store of baselines knows of a run: an entry about it, and the segment of runs that it may be compared with."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from urllib.parse import quote

from llmbench.store.runs import Header
from llmbench.store.sentinels import SentinelLevel

SOFT = ("torch", "triton", "cudnn")
"""Software of which another version starts a segment of its own: a change may be its doing, and is no one's fault."""

Event = Literal["add", "accept", "quarantine"]


@dataclass(frozen=True)
class Subject:
    """The run that an entry is about. `soft`: what is there of the software that starts a segment."""

    run_id: str
    digest: str  # of its records: two machines may name two runs alike
    suite: str
    device_key: str
    device_name: str
    op: str
    op_version: int
    soft: dict[str, str]
    commit: str | None
    dirty: bool
    started: str  # UTC, ISO 8601


@dataclass(frozen=True)
class Entry:
    """One file of a store: `add` a run, `accept` one as the start of a new segment, or `quarantine` a wrong one."""

    id: str  # begins with when it was written, UTC
    event: Event
    run: Subject
    by: str
    why: str | None
    cases: int = 0
    processes: int = 0
    sentinels: tuple[SentinelLevel, ...] = ()  # how fast the machine was

    @property
    def folder(self) -> str:
        """Where in the store it lies."""
        return folder_of(self.run.suite, self.run.device_key)


class Segment(NamedTuple):
    """Runs that may be compared: of one op version and the same software, since the last that was accepted.

    An acceptance whose run is in quarantine does not count. `runs`: by their start, the accepted one first, without
    those in quarantine. `current`: no newer one replaced it.
    """

    op_version: int
    soft: dict[str, str]
    accepted: Entry | None
    runs: tuple[Entry, ...]
    current: bool


def segments(entries: Iterable[Entry]) -> list[Segment]:
    """The segments of the entries of one suite on one device, in the order of their beginning."""
    entries = list(entries)
    wrong, void = _wrong(entries), void_acceptances(entries)
    found: list[tuple[Entry | None, list[Entry]]] = []
    current: dict[str, int] = {}
    for entry in (e for e in entries if e.event != "quarantine"):
        key = f"{entry.run.op_version} {json.dumps(entry.run.soft, sort_keys=True)}"
        starts = entry.event == "accept" and entry not in void
        if starts or key not in current:
            current[key] = len(found)
            found.append((entry if starts else None, []))
        found[current[key]][1].append(entry)
    return [
        Segment(own[0].run.op_version, own[0].run.soft, accepted, tuple(_sound(own, wrong)), i in current.values())
        for i, (accepted, own) in enumerate(found)
    ]


def void_acceptances(entries: Iterable[Entry]) -> list[Entry]:
    """The acceptances that do not count, as their runs are in quarantine: no segment starts there, the one before
    goes on."""
    entries = list(entries)
    wrong = _wrong(entries)
    return [e for e in entries if e.event == "accept" and (e.run.run_id, e.run.digest) in wrong]


def soft_of(header: Header) -> dict[str, str]:
    """The versions of which another one starts a new segment."""
    return {name: header.versions[name] for name in SOFT if name in header.versions}


def folder_of(suite: str, device_key: str) -> str:
    """Where the entries of a suite on a device lie: any text is one name of a folder, and no two texts the same."""
    return "/".join(quote(text, safe=" ").replace(".", "%2E") for text in (suite, device_key))


def when(entry: Entry) -> str:
    """`2026-05-09 12:33 UTC`: when the entry was written."""
    return f"{datetime.strptime(entry.id[:15], '%Y%m%dT%H%M%S'):%Y-%m-%d %H:%M} UTC"


def _wrong(entries: Iterable[Entry]) -> set[tuple[str, str]]:
    """The runs in quarantine, by id and digest."""
    return {(e.run.run_id, e.run.digest) for e in entries if e.event == "quarantine"}


def _sound(own: Sequence[Entry], wrong: set[tuple[str, str]]) -> Iterator[Entry]:
    """Each run once, by its start, the accepted one first."""
    once: dict[tuple[str, str], Entry] = {}
    for entry in own:
        once.setdefault((entry.run.run_id, entry.run.digest), entry)
    ordered = sorted(once.items(), key=lambda found: (found[1].event != "accept", found[1].run.started, found[1].id))
    return (entry for key, entry in ordered if key not in wrong)
