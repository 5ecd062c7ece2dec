"""Where and with what the records of a run were measured, as the records themselves say."""

from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow.parquet as pq

from llmbench.errors import RunError
from llmbench.store.query import Run, read_run
from llmbench.store.runs import RECORDS


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
    run = read_run(folder)
    path = folder / RECORDS
    try:
        columns = pq.ParquetFile(path).read(columns=_COLUMNS)
        found = {name: set(columns.column(name).to_pylist()) for name in _COLUMNS}
    except (OSError, KeyError, ValueError) as e:
        raise RunError(f"{path}: not readable as records: {e}") from e
    if not run.rows:
        return Evidence(run, _of_header(run))
    for name, values in found.items():
        if len(values) > 1:
            several = ", ".join(sorted(map(str, values)))
            raise RunError(f"{path}: {name} is {several}; a run has one")
    return Evidence(run, Origin(**{name: values.pop() for name, values in found.items()}))


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
