"""The past of a run: what a store of baselines holds of its suite, on its device, with its software."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.errors import RunError
from llmbench.store.baselines import Store, digest_of
from llmbench.store.entry import Entry, Segment, segments, soft_of
from llmbench.store.origin import Evidence
from llmbench.store.query import Row

FIRST, LATEST = 5, 60
"""Runs of a segment that are read: those at its start, which creep is measured from, and the latest, which tell how
runs differ and what is usual; years of nightly runs in between would change nothing."""

_COLUMNS = ("case_id", "process", "metric", "part", "status", "value")

Levels = Mapping[tuple[str, str], tuple[float, ...]]
"""(case, metric) -> the value of each process, of cases that are ok in all processes; NaN left out."""


class Past(NamedTuple):
    """The runs of a segment, by their start.

    `last`: the latest, and beside its own cases those of the run that an earlier one alone has; `first`: the first.
    """

    segment: Segment
    runs: tuple[Entry, ...]
    levels: tuple[Levels, ...]
    first: Evidence
    last: Evidence


def read_past(store: Store, head: Evidence) -> Past | str:
    """The past of a run, which is itself left out; or why there is none. Raises: RunError for a damaged entry."""
    header = head.run.manifest.header
    suite, key = header.suite.name, head.origin.device_key or header.machine.device_key
    entries = store.entries(suite, key)
    known = [s for s in segments(entries) if s.current]
    mine = (header.run_id, digest_of(head.run.folder))
    soft, version = soft_of(header), header.suite.op.version
    for segment in known:
        runs = tuple(e for e in segment.runs if (e.run.run_id, e.run.digest) != mine)
        if runs and (segment.soft, segment.op_version) == (soft, version):
            return _read(store, segment, runs, head)
    return _why_none(store, head, known, key)


def levels_of(rows: Iterable[Row]) -> Levels:
    """The levels of a run."""
    return _levels((r.case_id, r.process, r.metric, r.part, r.status, r.value) for r in rows)


def versions_text(soft: Mapping[str, str]) -> str:
    """`torch 2.13.0, triton 3.9.0`."""
    return ", ".join(f"{name} {version}" for name, version in soft.items()) or "unknown software"


def _read(store: Store, segment: Segment, runs: tuple[Entry, ...], head: Evidence) -> Past:
    if len(runs) > FIRST + LATEST:
        runs = (*runs[:FIRST], *runs[-LATEST:])
    levels = tuple(_levels_in(store, entry) for entry in runs)
    first, last = store.evidence(runs[0]), store.evidence(runs[-1])
    rows = list(last.run.rows)
    wanted = {r.case_id for r in head.run.rows} - {r.case_id for r in rows}
    for entry, known in zip(reversed(runs[:-1]), reversed(levels[:-1]), strict=True):
        if found := wanted & {case for case, _ in known}:
            rows += [r for r in store.evidence(entry).run.rows if r.case_id in found]
            wanted -= found
    return Past(segment, runs, levels, first, replace(last, run=replace(last.run, rows=rows)))


def _levels_in(store: Store, entry: Entry) -> Levels:
    name = f"{entry.folder}/{entry.id}.parquet"
    try:
        table = pq.ParquetFile(pa.BufferReader(store.place.read(name))).read(columns=list(_COLUMNS))
        return _levels(zip(*(table.column(c).to_pylist() for c in _COLUMNS), strict=True))
    except (OSError, KeyError, pa.ArrowException) as e:
        raise RunError(f"{store.url}/{name}: not readable as records: {e}") from e


def _levels(rows: Iterable[tuple[str, int, str | None, str | None, str, float | None]]) -> Levels:
    found: dict[tuple[str, str], list[float]] = {}
    failed: set[str] = set()
    for case_id, _, metric, part, status, value in rows:
        if status != "ok":
            failed.add(case_id)
        elif metric is not None and part is None and value is not None and value == value:
            found.setdefault((case_id, metric), []).append(value)
    return {key: tuple(values) for key, values in found.items() if key[0] not in failed}


def _why_none(store: Store, head: Evidence, known: list[Segment], key: str) -> str:
    """Why there is nothing to judge by, and what to do."""
    header = head.run.manifest.header
    how = f"add the first with: llmbench baseline add RUN --store {store.url}"
    on = f"{store.url} has no run of suite {header.suite.name} on {head.origin.device_name} ({key})"
    if not known:
        others = {e.run.suite: e.run.device_name for e in store.entries()}
        there = ", ".join(sorted({f"{suite} on {device}" for suite, device in others.items()}))
        return f"{on}; there is: {there or 'nothing yet'}; {how}"
    mine = f"op {header.suite.op.name} {header.suite.op.version}, {versions_text(soft_of(header))}"
    theirs = [f"{len(s.runs)} of op {header.suite.op.name} {s.op_version}, {versions_text(s.soft)}" for s in known]
    return f"{on} beside this one with {mine}; there is: {'; '.join(theirs)}; {how}"
