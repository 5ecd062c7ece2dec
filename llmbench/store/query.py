"""Rows read back from `records.parquet`: what every analysis and report starts from."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from llmbench.store.runs import Manifest, read_manifest
from llmbench.store.table import read_table
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
    config: str | None
    impl_hash: str | None
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
    """A run with its rows. Raises: RunError when the folder holds no closed run, or its records are not sound."""
    manifest = read_manifest(folder)
    return Run(folder, manifest, rows_of(read_table(folder, manifest.header)))


def rows_of(table: pa.Table) -> list[Row]:
    """The rows of a table that was read by `read_table`."""
    plain = zip(*(_values(table.column(name)) for name in _PLAIN), strict=True)
    params, axes = _prefixed(table, "p_"), _prefixed(table, "axis_")
    labels = [{k: str(v) for k, v in found.items()} for found in axes.known]
    return [
        Row(*(*values, params.known[i], labels[j])) for values, i, j in zip(plain, params.rows, axes.rows, strict=True)
    ]


class _Prefixed(NamedTuple):
    """What the columns of a prefix say: each combination of values once, and which of them a row has."""

    known: list[dict[str, Scalar]]
    rows: list[int]


def _prefixed(table: pa.Table, prefix: str) -> _Prefixed:
    """Rows share their combination: a large run has a thousand times fewer of them than rows."""
    names = [n.removeprefix(prefix) for n in table.column_names if n.startswith(prefix)]
    columns = [table.column(prefix + n).to_pylist() for n in names]
    if not columns:
        return _Prefixed([{}], [0] * table.num_rows)
    found: dict[tuple[Scalar | None, ...], int] = {}
    rows = [found.setdefault(values, len(found)) for values in zip(*columns, strict=True)]
    known = [{n: v for n, v in zip(names, values, strict=True) if v is not None} for values in found]
    return _Prefixed(known, rows)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The column as Python values; lists by slicing their flat values, which is several times faster."""
    if not pa.types.is_list(column.type):
        return list(column.to_pylist())
    found: list[Any] = []
    for chunk in column.chunks:
        flat, ends = chunk.values.to_pylist(), chunk.offsets.to_pylist()
        missing = chunk.is_null().to_pylist()
        found += [
            None if gone else flat[start:end]
            for gone, start, end in zip(missing, ends[:-1], ends[1:], strict=True)
        ]  # fmt: skip
    return found
