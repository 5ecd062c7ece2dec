"""Rows read back from `records.parquet`: what every analysis and report starts from."""

from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.errors import RunError
from llmbench.store.runs import RECORDS, Manifest, read_manifest
from llmbench.suite.catalog import Scalar


@dataclass(frozen=True)
class Row:
    """One metric of one case in one process; `metric` is None for a case without a result. SI units."""

    run_id: str
    case_id: str
    point_id: str
    suite: str
    op: str
    impl: str
    phase: str
    is_baseline: bool
    cache: str
    process: int
    metric: str | None
    part: str | None
    status: str
    why: str | None
    value: float | None
    low: float | None
    high: float | None
    unit: str | None
    better: str | None
    n: int | None
    samples: list[float] | None
    sample_block: list[int] | None
    sample_flags: list[str] | None
    stop_reason: str | None
    timer: str | None
    order: str | None
    grad: str | None
    check_kind: str | None
    flop: float | None
    bytes: float | None
    tokens: float | None
    device: str
    device_name: str
    params: dict[str, Scalar]
    axes: dict[str, str]


@dataclass(frozen=True)
class Run:
    """A closed run: its manifest and its rows, in the order of the suite."""

    folder: Path
    manifest: Manifest
    rows: list[Row]


_PLAIN = [f.name for f in fields(Row) if f.name not in ("params", "axes")]


def read_run(folder: Path) -> Run:
    """A run with its rows. Raises: RunError when the folder holds no closed run."""
    manifest = read_manifest(folder)
    try:
        table = pq.read_table(folder / RECORDS)
        plain = zip(*(table.column(name).to_pylist() for name in _PLAIN), strict=True)
    except (OSError, KeyError, ValueError) as e:
        raise RunError(f"{folder / RECORDS}: not readable as records: {e}") from e
    params = _prefixed(table, "p_")
    axes = _prefixed(table, "axis_")
    rows = [
        Row(
            **dict(zip(_PLAIN, values, strict=True)),
            params={k: column[i] for k, column in params.items() if column[i] is not None},
            axes={k: str(column[i]) for k, column in axes.items() if column[i] is not None},
        )
        for i, values in enumerate(plain)
    ]
    return Run(folder, manifest, rows)


def _prefixed(table: pa.Table, prefix: str) -> dict[str, list[Scalar]]:
    names = [n for n in table.column_names if n.startswith(prefix)]
    return {n.removeprefix(prefix): table.column(n).to_pylist() for n in names}
