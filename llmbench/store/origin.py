"""Where and with what the records of a run were measured, as the records themselves say."""

from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa

from llmbench.errors import RunError
from llmbench.store.query import Run, rows_of
from llmbench.store.runs import RECORDS, Manifest, read_manifest
from llmbench.store.table import read_table


@dataclass(frozen=True)
class Origin:
    """What every record of a run shares; None where the records do not know it."""

    device_key: str | None
    device_name: str | None
    torch: str | None
    triton: str | None
    driver: str | None
    commit: str | None
    quick: bool


@dataclass(frozen=True)
class Evidence:
    """A closed run, and where its records come from."""

    run: Run
    origin: Origin


_COLUMNS = [f.name for f in fields(Origin)]


def read_evidence(folder: Path) -> Evidence:
    """The run in `folder`, judged by `records.parquet`. Raises: RunError when it holds no run, or several mixed."""
    manifest = read_manifest(folder)
    return evidence_of(folder, manifest, read_table(folder, manifest.header), name=str(folder / RECORDS))


def evidence_of(folder: Path, manifest: Manifest, table: pa.Table, *, name: str) -> Evidence:
    """The run of that manifest and those records, which are a file of that name. Raises: as `read_evidence`."""
    run = Run(folder, manifest, rows_of(table))
    if not run.rows:
        return Evidence(run, _of_header(run))
    found = {column: set(table.column(column).unique().to_pylist()) for column in _COLUMNS}
    for column, values in found.items():
        if len(values) > 1:
            several = ", ".join(sorted(map(str, values)))
            raise RunError(f"{name}: column {column}: {several}; wanted: one, since a run has one")
    return Evidence(run, Origin(**{column: values.pop() for column, values in found.items()}))


def _of_header(run: Run) -> Origin:
    """Of a run without a record, which happens when it was stopped at once."""
    header = run.manifest.header
    return Origin(
        device_key=header.machine.device_key,
        device_name=header.machine.device_name,
        torch=header.versions.get("torch"),
        triton=header.versions.get("triton"),
        driver=header.versions.get("driver"),
        commit=header.code.commit,
        quick=header.quick,
    )
