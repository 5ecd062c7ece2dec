"""`records.parquet` read back, and what every analysis relies on checked: one run, each number once, SI units."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmbench.errors import RunError
from llmbench.metrics import METRICS
from llmbench.store.runs import RECORDS, Header
from llmbench.store.schema import (
    FIXED,
    KEY,
    METADATA_KEY,
    NAMED,
    NEVER_NULL,
    OF_THE_CASE,
    OPTIONAL,
    PARAM_TYPES,
    VERSION,
)  # fmt: skip

_Ints = npt.NDArray[np.int64]


class _Seen(NamedTuple):
    """What is wrong with a column, or with several, and what is wanted."""

    column: str
    seen: str
    wanted: str


class _Codes(NamedTuple):
    """A column as numbers: equal ones for equal values, null included."""

    of_row: _Ints
    values: list[object]


def read_table(folder: Path, header: Header) -> pa.Table:
    """The records of the run in `folder`, whose manifest has that header. Columns that may be missing are null then.

    Columns that this version does not know are let be.
    Raises: RunError naming file and column, with what was seen and what is wanted.
    """
    return read_records(folder / RECORDS, header, name=str(folder / RECORDS))


def read_records(source: Path | pa.BufferReader, header: Header, *, name: str) -> pa.Table:
    """The records in a file of that name. Raises: as `read_table`.

    Never a file object of Python: a thread of Arrow that still holds one when the interpreter ends aborts the process
    (github.com/apache/arrow/issues/34314; 6 of 400 on a busy machine, 0 of 400 by path or from memory).
    """
    try:
        table = pq.ParquetFile(source).read()  # read_table imports pyarrow.dataset, half a second
        table.validate(full=True)  # text is UTF-8
        wrong = next(_problems(table, header), None)
    except (OSError, ValueError, pa.ArrowException) as e:
        raise RunError(f"{name}: not readable as records: {e}") from e
    if wrong is not None:
        raise RunError(f"{name}: {wrong.column}: {wrong.seen}; wanted: {wrong.wanted}")
    for column in sorted(OPTIONAL - {*table.column_names}):
        table = table.append_column(column, pa.nulls(table.num_rows, FIXED[column]))
    return table


def _problems(table: pa.Table, header: Header) -> Iterator[_Seen]:
    """What does not hold; each may rely on what comes before it."""
    yield from _version(table.schema.metadata or {})
    yield from _columns(table)
    yield from _types(table, header)
    if not table.num_rows:
        return
    yield from _nulls(table)
    yield from _run(table, header)
    yield from _units(table)
    yield from _rows(table)


def _version(metadata: dict[bytes, bytes]) -> Iterator[_Seen]:
    """A file without a version, which other programs write, is of the first."""
    text = metadata.get(METADATA_KEY.encode(), f"{NAMED}1".encode()).decode("utf-8", "replace")
    major = text.removeprefix(NAMED).partition(".")[0]
    if not text.startswith(NAMED) or not major.isdecimal():
        yield _Seen("metadata", f"schema {text!r}", f"{NAMED}{VERSION}")
    elif int(major) > VERSION:
        yield _Seen("metadata", f"schema {text!r} of a newer llmbench", f"{NAMED}{VERSION} or older; update llmbench")


def _columns(table: pa.Table) -> Iterator[_Seen]:
    for name in FIXED:
        if name not in table.column_names and name not in OPTIONAL:
            yield _Seen(f"column {name}", "missing", _type_text(FIXED[name]))
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    for name in sorted(twice):
        yield _Seen(f"column {name}", "there several times", "one column of a name")


def _types(table: pa.Table, header: Header) -> Iterator[_Seen]:
    for name, seen in zip(table.column_names, table.schema.types, strict=True):
        wanted = [FIXED[name]] if name in FIXED else _own_types(name, header)
        nothing = pa.types.is_null(seen) and name not in NEVER_NULL
        if wanted and not nothing and not any(_alike(seen, w) for w in wanted):
            yield _Seen(f"column {name}", _type_text(seen), " or ".join(map(_type_text, wanted)))


def _own_types(name: str, header: Header) -> list[pa.DataType]:
    """The types that a column of a parameter or a bundle may have; empty for a column that nobody reads."""
    if name.startswith("axis_"):
        return [pa.string()]
    if not name.startswith("p_"):
        return []
    known = header.param_types.get(name.removeprefix("p_"), "")
    return [PARAM_TYPES[known]] if known in PARAM_TYPES else list(PARAM_TYPES.values())


def _alike(seen: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether it holds the same kind of values; other programs write other widths."""
    kind = pa.types
    if kind.is_list(wanted):
        return (kind.is_list(seen) or kind.is_large_list(seen)) and _alike(seen.value_type, wanted.value_type)
    if kind.is_string(wanted):
        return bool(kind.is_string(seen) or kind.is_large_string(seen))
    tests = (kind.is_integer, kind.is_floating, kind.is_boolean)
    return any(test(seen) and test(wanted) for test in tests)


def _type_text(kind: pa.DataType) -> str:
    """`double`, `list of double`."""
    return f"list of {kind.value_type}" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else str(kind)


def _nulls(table: pa.Table) -> Iterator[_Seen]:
    """What is missing, and NaN among parameters, which is not even equal to itself."""
    for name in NEVER_NULL:
        if missing := table.column(name).null_count:
            yield _Seen(f"column {name}", f"{_rows_text(missing)} without a value", "a value in every row")
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        column = table.column(name)
        if name in FIXED and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            if missing := pc.list_flatten(column).null_count:
                yield _Seen(f"column {name}", f"{missing} null{'s' if missing > 1 else ''} within its lists", "none")
            continue
        real = name.startswith("p_") and pa.types.is_floating(kind)
        if real and not pc.all(pc.is_finite(column), min_count=0).as_py():
            yield _Seen(f"column {name}", "NaN or infinite", "numbers, and null where an op has no such parameter")


def _run(table: pa.Table, header: Header) -> Iterator[_Seen]:
    seen = sorted(table.column("run_id").unique().to_pylist())
    if seen != [header.run_id]:
        more = f" and {len(seen) - 3} more" if len(seen) > 3 else ""
        yield _Seen("column run_id", f"{', '.join(seen[:3])}{more}", f"{header.run_id} alone, the run of the manifest")


def _units(table: pa.Table) -> Iterator[_Seen]:
    metrics, units = (_codes(table.column(name)) for name in ("metric", "unit"))
    for code in np.unique(metrics.of_row * len(units.values) + units.of_row):
        metric, unit = metrics.values[code // len(units.values)], units.values[code % len(units.values)]
        known = METRICS.get(str(metric))
        if known and unit != known.unit:
            yield _Seen("column unit", f"{metric} in {unit or 'no unit'}", f"{known.unit}, the unit of {metric}")


def _rows(table: pa.Table) -> Iterator[_Seen]:
    """What makes several rows one piece of evidence, or one row several."""
    codes = {name: _codes(table.column(name)) for name in ("status", *KEY, *OF_THE_CASE)}
    case, process = codes["case_id"].of_row, codes["process"].of_row
    for name in OF_THE_CASE:
        if (row := _disagreeing(case, codes[name].of_row)) is not None:
            yield _Seen(f"column {name}", f"several for case {_value(codes, 'case_id', row)}", "one for a case")
    both = _together([case, process])
    if (row := _disagreeing(both, codes["status"].of_row)) is not None:
        yield _Seen("column status", f"several for {_which(codes, row)}", "one for a process of a case")
    keys = _together([codes[name].of_row for name in KEY])
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    if (many := counts > 1).any():
        row, n = int(first[many][0]), int(counts[many][0])
        what = f"{_value(codes, 'metric', row)} {_value(codes, 'part', row)}".replace("None", "").strip() or "no metric"
        yield _Seen(f"columns {', '.join(KEY)}", f"{_which(codes, row)}, {what}: {n} rows", "one row")
    without = np.asarray(table.column("metric").is_null())
    beside = without & (np.bincount(both)[both] > 1)
    if beside.any():
        seen = f"none for {_which(codes, int(np.argmax(beside)))}, which has other rows"
        yield _Seen("column metric", seen, "a row without a metric stands alone")


def _disagreeing(group: _Ints, value: _Ints) -> int | None:
    """A row that has another value than another of its group, or None."""
    of_group = np.zeros(len(group), np.int64)
    of_group[group] = value
    differs = of_group[group] != value
    return int(np.argmax(differs)) if differs.any() else None


def _together(columns: list[_Ints]) -> _Ints:
    """Numbers below the number of rows, equal where all columns are."""
    found = columns[0]
    for column in columns[1:]:
        found = np.unique(found * (int(column.max()) + 1) + column, return_inverse=True)[1]
    return found


def _codes(column: pa.ChunkedArray) -> _Codes:
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    return _Codes(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist())


def _value(codes: dict[str, _Codes], name: str, row: int) -> object:
    return codes[name].values[codes[name].of_row[row]]


def _which(codes: dict[str, _Codes], row: int) -> str:
    return f"case {_value(codes, 'case_id', row)}, process {_value(codes, 'process', row)}"


def _rows_text(n: int) -> str:
    return f"{n} row{'' if n == 1 else 's'}"
