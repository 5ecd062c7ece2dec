"""Baselines: an append-only store of runs that gates judge by, in a folder or at a URL, by suite and device.

`<suite>/<device key>/<utc>-<unique>.parquet` is a run, `.json` an event about one. A file is an entry, written once
under a name of its own and never changed, so that two writers at once lose nothing.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.codec import from_plain, to_plain
from llmbench.errors import RunError
from llmbench.store.entry import Entry, Event, Subject, folder_of, segments, soft_of, when
from llmbench.store.origin import Evidence, evidence_of, read_evidence
from llmbench.store.places import PARTIAL, Place, is_url, place_of
from llmbench.store.record import FAILED
from llmbench.store.runs import RECORDS, Header, Manifest, find_run, read_manifest
from llmbench.store.schema import METADATA_KEY, NAMED, VERSION
from llmbench.store.sentinels import sentinel_levels
from llmbench.store.table import read_records, read_table

MARKER, MARKER_SCHEMA = "llmbench-baselines.json", "llmbench.baselines/1"
SCHEMA, ENTRY_KEY = "llmbench.baseline/1", "llmbench.baseline"
NEITHER = (
    "neither a run nor a store of baselines is there; give a run's folder, latest or latest:SUITE, or a store, which "
    "is made with: llmbench baseline add RUN --store STORE"
)
RAW = ("samples", "sample_t_ns", "sample_block", "sample_calls")
"""Columns that an entry leaves empty: what decides is medians of processes, and a store holds many runs."""


class Store:
    """The entries at a place."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def url(self) -> str:
        """How the user named it."""
        return self.place.url

    def entries(self, suite: str | None = None, device_key: str | None = None) -> list[Entry]:
        """Every entry in the order of writing, or those of a suite on a device. Raises: RunError for a damaged one."""
        under = folder_of(suite, device_key) if suite is not None and device_key is not None else ""
        names = [n for n in self.place.names(under) if n.count("/") == 2 and n.endswith((".parquet", ".json"))]
        return sorted((self._entry(name) for name in names), key=lambda e: e.id)

    def add(self, folder: Path, *, by: str, why: str | None) -> Entry:
        """Adds the run in `folder`. Raises: RunError where it is no run to judge by, or is there already."""
        return self._write_run(folder, "add", by=by, why=why)

    def accept(self, folder: Path, *, by: str, why: str) -> Entry:
        """Starts a new segment with the run in `folder`, which may be in the store. Raises: as `add`."""
        return self._write_run(folder, "accept", by=by, why=why)

    def quarantine(self, name: str, results: Path, *, by: str, why: str) -> Entry:
        """Marks a run as wrong: nothing is judged by it from now on, and if it was accepted, that does not count.

        Nothing is deleted. `name`: the id of a run or of an entry, or the folder of a run. Raises: RunError where it is
        not in the store.
        """
        entries = self.entries()
        found = [e for e in entries if e.event != "quarantine" and name in (e.id, e.run.run_id)]
        if not found:
            run_id, digest = _named(name, results, self.url)
            found = [e for e in entries if e.event != "quarantine" and (e.run.run_id, e.run.digest) == (run_id, digest)]
            if not found:
                raise RunError(f"{self.url}: run {run_id} is not in this store")
        if len({e.run.digest for e in found}) > 1:
            ids = ", ".join(e.id for e in found)
            raise RunError(f"{self.url}: {len(found)} runs are named {name}; name one of the entries {ids}")
        self._refuse_quarantined(entries, found[0].run)
        entry = Entry(_new_id(), "quarantine", found[0].run, by, why)
        body = json.dumps({"schema": SCHEMA, **to_plain(entry)}, indent=1)
        self.place.write(f"{entry.folder}/{entry.id}.json", f"{body}\n".encode())
        return entry

    def evidence(self, entry: Entry) -> Evidence:
        """The run of an entry, without raw samples. Raises: RunError where it is damaged."""
        name = f"{entry.folder}/{entry.id}.parquet"
        content = self.place.read(name)
        header = _header(content, f"{self.url}/{name}")
        table = read_records(pa.BufferReader(content), header, name=f"{self.url}/{name}")
        return evidence_of(Path(name), Manifest(header, True, {}), table, name=f"{self.url}/{name}")

    def _write_run(self, folder: Path, event: Event, *, by: str, why: str | None) -> Entry:
        evidence = read_evidence(folder)
        refuse_unfit(evidence)
        run = _subject(evidence, folder)
        entries = self.entries(run.suite, run.device_key)
        self._refuse_quarantined(entries, run)
        same = [e for e in entries if (e.run.run_id, e.run.digest) == (run.run_id, run.digest)]
        if same and event == "add":
            raise RunError(f"{self.url}: run {run.run_id} is in this store already, as {same[0].id}")
        starts = [s.accepted.run for s in segments(entries) if s.current and s.accepted is not None]
        if event == "accept" and run in starts:
            raise RunError(f"{self.url}: run {run.run_id} is the start of its segment already")
        self._mark()
        rows = evidence.run.rows
        entry = Entry(
            _new_id(), event, run, by, why, len({r.case_id for r in rows}), len({r.process for r in rows}),
            sentinel_levels(evidence.run.manifest.sentinels),
        )  # fmt: skip
        header = evidence.run.manifest.header
        content = _parquet(read_table(folder, header), header, entry)
        self.place.write(f"{entry.folder}/{entry.id}.parquet", content)
        return entry

    def _refuse_quarantined(self, entries: Iterable[Entry], run: Subject) -> None:
        for e in entries:
            if e.event == "quarantine" and (e.run.run_id, e.run.digest) == (run.run_id, run.digest):
                raise RunError(f"{self.url}: run {run.run_id} is in quarantine since {when(e)}: {e.why}")

    def _mark(self) -> None:
        """Says what the place is. A folder that holds something else is left alone."""
        names = self.place.names()
        if MARKER in names:
            return
        if names and MARKER not in self.place.names():  # another writer may have begun it between two looks
            raise RunError(f"{self.url}: no store of baselines, but not empty ({names[0]}); give a folder of its own")
        self.place.write(MARKER, json.dumps({"schema": MARKER_SCHEMA}).encode() + b"\n")

    def _entry(self, name: str) -> Entry:
        path = f"{self.url}/{name}"
        try:
            content = self.place.read(name)
            text = content if name.endswith(".json") else _metadata(content, path)[ENTRY_KEY.encode()]
            body = json.loads(text)
            if body.get("schema") != SCHEMA:
                raise RunError(f"{path}: schema {body.get('schema')!r}, this llmbench reads {SCHEMA!r}")
            return from_plain(Entry, body)
        except (ValueError, KeyError, AttributeError) as e:
            raise RunError(f"{path}: not an entry of a store of baselines: {e}") from e


def open_store(name: str) -> Store:
    """The store of that name, which need not be there yet.

    Raises: RunError for a folder that holds something else; as `place_of`.
    """
    place = place_of(name)
    if not is_url(name) and not _may_be_store(Path(name)):
        raise RunError(f"{name}: no store of baselines, but not empty; give a folder of its own, or the URL of one")
    return Store(place)


def existing_store(name: str) -> Store:
    """The store of that name. Raises: RunError where nothing is there; as `open_store`."""
    store = open_store(name)
    if not store.place.is_there():
        raise RunError(f"{name}: there is no store here; make one with: llmbench baseline add RUN --store {name}")
    return store


def find_baseline(name: str, results: Path) -> Store | Path:
    """What a run is judged by: the store of that name, or the folder of the run. Raises: RunError for neither."""
    return find_store(name) or find_run(name, results, missing=NEITHER)


def find_store(name: str) -> Store | None:
    """The store of that name: a URL, a folder that is one, or an empty folder, which may become one; else None."""
    if is_url(name):
        return Store(place_of(name))
    try:
        folder = Path(name)
        return Store(place_of(name)) if folder.is_dir() and _may_be_store(folder) else None
    except (OSError, ValueError):  # no name of a folder: whoever looks for a run says so
        return None


def refuse_unfit(evidence: Evidence) -> None:
    """Raises: RunError where nothing should be judged by this run, with what to do."""
    run, header = evidence.run, evidence.run.manifest.header
    why = None
    by_case = {(r.case_id, r.impl, r.phase): r for r in run.rows if r.status in FAILED}
    if evidence.origin.quick:
        why = f"a quick run, too short to judge by; measure it in full with: llmbench run {header.suite.name}"
    elif not run.manifest.complete:
        why = f"incomplete; go on with: llmbench run --resume {run.folder}"
    elif by_case:
        first = next(iter(by_case.values()))
        cases = f"{len(by_case)} case{'s' if len(by_case) > 1 else ''}"
        told = f"{first.impl} {first.phase}: {first.status}, {first.why}"
        why = f"{cases} failed ({told}); a baseline holds what works: mend them, or leave them out with --only"
    elif header.load is not None and header.load.heavy:
        busy = f"{header.load.busy_cores:.1f} of {header.load.cores} cores"
        why = f"other programs kept {busy} busy, so its times are off; measure it anew on a quiet machine"
    elif not any(r.status == "ok" and r.metric is not None for r in run.rows):
        why = "no case has a result, so there is nothing to judge by"
    if why is not None:
        raise RunError(f"{run.folder}: {why}")


def digest_of(folder: Path) -> str:
    """What tells a run from any other: a hash of its records. Raises: RunError where they cannot be read."""
    try:
        return hashlib.sha256((folder / RECORDS).read_bytes()).hexdigest()[:16]
    except OSError as e:
        raise RunError(f"{folder / RECORDS}: cannot be read: {e.strerror}") from e


def _may_be_store(folder: Path) -> bool:
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    others = [p for p in folder.iterdir() if p.suffix != PARTIAL]  # what another writer is about to begin it with
    return not others or (folder / MARKER).exists()


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid4().hex[:8]}"


def _named(name: str, results: Path, url: str) -> tuple[str, str]:
    """Id and digest of the run that is measured in a folder of that name."""
    try:
        folder = find_run(name, results)
        return read_manifest(folder).header.run_id, digest_of(folder)
    except RunError as e:
        raise RunError(f"{url}: no run or entry named {name} in this store, and {e}") from e


def _subject(evidence: Evidence, folder: Path) -> Subject:
    header = evidence.run.manifest.header
    return Subject(
        header.run_id, digest_of(folder), header.suite.name, evidence.origin.device_key or header.machine.device_key,
        evidence.origin.device_name or header.machine.device_name, header.suite.op.name, header.suite.op.version,
        soft_of(header), evidence.origin.commit, header.code.dirty, header.started,
    )  # fmt: skip


def _parquet(table: pa.Table, header: Header, entry: Entry) -> bytes:
    for name in RAW:
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.nulls(table.num_rows, table.schema.field(name).type))
    metadata = {"llmbench": json.dumps(to_plain(header)), METADATA_KEY: f"{NAMED}{VERSION}"}
    metadata[ENTRY_KEY] = json.dumps({"schema": SCHEMA, **to_plain(entry)})
    whole = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), whole, compression="zstd")
    return bytes(whole.getvalue().to_pybytes())


def _metadata(content: bytes, path: str) -> dict[bytes, bytes]:
    try:
        return pq.ParquetFile(pa.BufferReader(content)).schema_arrow.metadata or {}
    except (OSError, pa.ArrowException) as e:
        raise RunError(f"{path}: not readable as an entry: {e}") from e


def _header(content: bytes, path: str) -> Header:
    try:
        return from_plain(Header, json.loads(_metadata(content, path)[b"llmbench"]))
    except (ValueError, KeyError) as e:
        raise RunError(f"{path}: its header is damaged: {e}") from e
