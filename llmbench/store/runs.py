"""Runs on disk: `results/<suite>/<device>/<utc>-<sha7>/` with `run.json`, `records.parquet` and `telemetry.parquet`.

`run.json` is written last: a folder without it is a run that was not closed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.codec import from_plain, to_plain
from llmbench.errors import RunError, nearest
from llmbench.files import write_whole
from llmbench.machine.ceilings import Ceilings
from llmbench.machine.fingerprint import Machine
from llmbench.metrics import METRICS
from llmbench.store.record import Measurement, Record
from llmbench.store.schema import METADATA_KEY, NAMED, TELEMETRY, VERSION, records_schema
from llmbench.store.sentinels import Sentinel
from llmbench.suite.case import Case
from llmbench.suite.suite import Match, Suite

MANIFEST, RECORDS, TELEMETRY_FILE, JOURNAL = "run.json", "records.parquet", "telemetry.parquet", "journal.jsonl"
SCHEMA = "llmbench.manifest/1"
BUSY_CORES = 0.25  # above it a parallel kernel of all cores waits for the one that is taken
BUSY_SHARE = 0.1  # of the cores: what the daemons of a large server take is no reason to decide nothing
SHOWN = 200  # characters of a name in a message
MISSING = "no such run; give a folder, latest or latest:SUITE"


@dataclass(frozen=True)
class Code:
    """Which code was measured: the commit of the working directory, and a hash over llmbench and the plugins."""

    commit: str | None
    dirty: bool
    source_hash: str


@dataclass(frozen=True)
class Load:
    """What other programs did when the run began: how many of the cores they kept busy."""

    busy_cores: float
    cores: int

    @property
    def heavy(self) -> bool:
        """Whether times that were measured beside it decide nothing."""
        return self.busy_cores > max(BUSY_CORES, BUSY_SHARE * self.cores)


@dataclass(frozen=True)
class Header:
    """What a run is, known before its first case: the first line of its journal."""

    run_id: str
    suite: Suite
    suite_path: str
    only: Match
    quick: bool
    machine: Machine
    versions: dict[str, str]
    code: Code
    started: str  # UTC, ISO 8601
    param_types: dict[str, str]
    campaign_id: str | None = None
    notes: tuple[str, ...] = ()
    ceilings: Ceilings | None = None  # of this device key, where they were measured before the run
    ignore_prediction: bool = False  # cases were run though their memory was predicted not to fit
    load: Load | None = None  # of the CPU, where it is the device; older runs have their notes alone


@dataclass(frozen=True)
class Manifest:
    """`run.json`: the header again, and how the run ended."""

    header: Header
    complete: bool
    counts: dict[str, int]  # cases by status; a case with several processes counts once, by its worst
    notes: tuple[str, ...] = ()
    wall_s: float = 0.0  # of all units, over every session of the run
    unit_wall_s: dict[str, float] = field(default_factory=dict)  # by point or case, mean over processes
    ledger_s: dict[str, float] = field(default_factory=dict)  # seconds of the workers by stage
    sentinels: tuple[Sentinel, ...] = ()  # how fast the machine was; older runs have none


def write_run(
    folder: Path, manifest: Manifest, found: Sequence[tuple[Case, Record]], telemetry: Sequence[Mapping[str, object]]
) -> None:
    """Writes the parquet files, then `run.json`; each whole or not at all."""
    header = manifest.header
    schema = records_schema(header.param_types, [a.name for a in header.suite.axes if a.values[0].label is not None])
    rows = [row for case, record in found for row in _rows(header, case, record)]
    metadata = {"llmbench": json.dumps(to_plain(header)), METADATA_KEY: f"{NAMED}{VERSION}"}
    _write_parquet(folder / RECORDS, rows, schema.with_metadata(metadata))
    _write_parquet(folder / TELEMETRY_FILE, [{"run_id": header.run_id, **r} for r in telemetry], TELEMETRY)
    body = json.dumps({"schema": SCHEMA, **to_plain(manifest)}, indent=1)
    write_whole(folder / MANIFEST, body + "\n", sync=True)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a closed run. Raises: RunError saying what to do, when the folder holds none."""
    path = folder / MANIFEST
    try:
        body = json.loads(path.read_text())
        if body.get("schema") != SCHEMA:
            raise RunError(f"{path}: schema {body.get('schema')!r}, this llmbench reads {SCHEMA!r}")
        return from_plain(Manifest, body)
    except FileNotFoundError:
        if (folder / JOURNAL).exists():
            raise RunError(f"{folder}: the run was not closed; close it with: llmbench run --resume {folder}") from None
        raise RunError(f"{folder}: no run here, {MANIFEST} is missing") from None
    except NotADirectoryError:
        raise RunError(f"{folder}: a run is a folder, this is a file") from None
    except OSError as e:
        raise RunError(f"{path}: cannot be read: {e.strerror}") from e
    except (ValueError, AttributeError, RecursionError) as e:
        raise RunError(f"{path}: not a manifest: {e}") from e


def find_run(name: str, results: Path, *, closed: bool = True, missing: str = MISSING) -> Path:
    """The folder that RUN stands for: a path, `latest`, or `latest:SUITE` under `results`.

    `closed`: only runs with a `run.json` count as latest; otherwise those with a journal. `missing`: what is said of a
    folder that is not there.
    Raises: RunError with what there is.
    """
    if name != "latest" and not name.startswith("latest:"):
        return _existing(name, missing)
    suite = name.partition(":")[2]
    marker = MANIFEST if closed else JOURNAL
    try:
        found = {path.parent: path.relative_to(results).parts[0] for path in results.glob(f"*/*/*/{marker}")}
    except OSError as e:
        raise RunError(f"--results {_short(str(results))}: cannot be searched: {e.strerror}") from None
    suites = {*found.values()} - {"reference"}
    runs = sorted((r for r, s in found.items() if s in suites and suite in ("", s)), key=lambda r: r.name)
    if runs:
        return runs[-1]
    if suite and suites:
        raise RunError(
            f"{_short(name)}: no run of suite '{_short(suite)}' under {results}{nearest(suite, sorted(suites))}"
        )
    raise RunError(f"{_short(name)}: no run under {results}; measure one with: llmbench run attention")


def _existing(name: str, missing: str) -> Path:
    try:
        Path(name).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{_short(name)}: {missing}") from None
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else str(e)
        raise RunError(f"{_short(name)}: no run can be there: {why}; give a folder, latest or latest:SUITE") from None
    return Path(name)


def _short(name: str) -> str:
    """The name in a message: printable, and its beginning alone where it is long."""
    seen = name if name.isprintable() else ascii(name)[1:-1]
    return seen if len(seen) <= SHOWN else f"{seen[:SHOWN]}…"


def _rows(header: Header, case: Case, record: Record) -> list[dict[str, object]]:
    """One row a metric; one with a null metric for a case without a result."""
    machine, versions = header.machine, header.versions
    check = record.check
    common: dict[str, object] = {
        "run_id": header.run_id, "case_id": case.case_id, "point_id": case.point_id, "suite": header.suite.name,
        "op": case.op, "op_version": case.op_version, "impl": case.impl, "phase": case.phase,
        "is_baseline": case.is_baseline, "cache": case.cache, "process": record.process, "status": record.status,
        "why": record.why, "order": record.order, "grad": record.grad, "cold_by": record.cold_by,
        "config": record.config, "impl_hash": record.impl_hash,
        "check_kind": check and check.kind, "check_why": check and check.why, "check_allowed": check and check.allowed,
        "flop": record.flop, "bytes": record.bytes, "tokens": record.tokens,
        "device": machine.device, "device_name": machine.device_name, "device_key": machine.device_key,
        "arch": machine.arch, "host": machine.facts.get("host"), "torch": versions.get("torch"),
        "triton": versions.get("triton"), "driver": versions.get("driver"), "commit": header.code.commit,
        "started": header.started, "quick": header.quick, "campaign_id": header.campaign_id, "world_size": 1, "rank": 0,
    }  # fmt: skip
    common |= {f"p_{k}": v for k, v in case.params.items()} | {f"axis_{k}": v for k, v in case.axes.items()}
    return [common | _metric_columns(m) for m in record.measurements] or [common]


def _metric_columns(m: Measurement) -> dict[str, object]:
    known = METRICS.get(m.metric)
    return {
        "metric": m.metric, "part": m.part, "value": m.value, "low": m.low, "high": m.high,
        "unit": known and known.unit, "better": known and known.better, "n": len(m.samples) or 1,
        "samples": m.samples, "sample_t_ns": m.sample_t_ns, "sample_block": m.sample_block,
        "sample_calls": m.sample_calls, "sample_flags": m.sample_flags, "stop_reason": m.stop_reason, "timer": m.timer,
    }  # fmt: skip


def _write_parquet(path: Path, rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> None:
    columns = {f.name: pa.array([_valid(r.get(f.name)) for r in rows], f.type) for f in schema}
    whole = pa.BufferOutputStream()
    # no dictionary encoding: other readers would see categories, and `part` would change its type when empty
    pq.write_table(pa.table(columns, schema=schema), whole, use_dictionary=False, compression="zstd")
    write_whole(path, whole.getvalue().to_pybytes())


def _valid(value: object) -> object:
    """Text that UTF-8 can hold: a message of a library may have broken characters."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value
