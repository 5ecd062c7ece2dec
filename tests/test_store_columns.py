"""A folder of runs is one table: for pandas, DuckDB and polars alike, with one plain glob and no options."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import duckdb
import pandas as pd
import polars as pl
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from command_line import llmbench_in

from llmbench.errors import UsageError
from llmbench.machine.fingerprint import Machine
from llmbench.ops import OPS, Op, register
from llmbench.ops.registry import param_types
from llmbench.store.query import Row
from llmbench.store.schema import FIXED

HEADS = """\
op: attention
impls: [naive, sdpa_flash, sdpa_cudnn]
baseline: {impl: sdpa_flash}
phases: [infer]
axes: {heads: {mha: {num_heads: 2, num_kv_heads: 2}, gqa: {num_heads: 2, num_kv_heads: 1}}}
fixed: {seq_len: 16, head_dim: 16}
measure: {max_s: 0.01}
"""
SCALE = """\
op: toy_scale
impls: [mul, add]
baseline: {impl: mul}
axes: {shape: {small: {size: 10}, large: {size: 20}}}
measure: {max_s: 0.01, cache: warm, processes: 2}
"""
DOCUMENTED = [
    "run_id", "case_id", "point_id", "suite", "op", "impl", "phase", "process", "metric", "part", "status", "why",
    "value", "low", "high", "unit", "better", "n", "samples",
]  # fmt: skip
TEXT = [
    "run_id", "case_id", "point_id", "suite", "op", "impl", "phase", "metric", "part", "status", "why", "unit",
    "better", "stop_reason", "timer", "p_dtype", "axis_heads", "axis_shape",
]  # fmt: skip


class Runs(NamedTuple):
    """Two runs of different suites, and the glob that finds both."""

    results: Path
    pattern: str
    files: list[Path]
    rows: int


@pytest.fixture(scope="module")
def runs(toy_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("columns")
    for name, text in (("heads", HEADS), ("scale", SCALE)):
        (folder / f"{name}.yaml").write_text(text)
        llmbench_in(folder, "run", f"{name}.yaml", PYTHONPATH=str(toy_plugin))
    files = sorted((folder / "results").glob("*/*/*/records.parquet"))
    assert len(files) == 2
    pattern = str(folder / "results" / "**" / "records.parquet")
    return Runs(folder / "results", pattern, files, sum(pq.read_metadata(f).num_rows for f in files))


def test_every_file_has_the_same_columns_in_the_same_order(runs: Runs) -> None:
    one, other = (pq.read_schema(f) for f in runs.files)
    assert one.names == other.names and one.types == other.types
    assert {"p_size", "p_seq_len", "axis_heads", "axis_shape"} <= set(one.names)


def test_documented_columns_come_first_and_in_order(runs: Runs) -> None:
    names = pq.read_schema(runs.files[0]).names
    assert [n for n in names if n in DOCUMENTED] == DOCUMENTED
    assert names[: len(FIXED)] == list(FIXED)
    assert [n for n in names[len(FIXED) :] if not n.startswith(("p_", "axis_"))] == []
    assert {f.name for f in fields(Row)} - {"params", "axes"} <= set(FIXED)


def test_strings_are_plain_and_part_is_null(runs: Runs) -> None:
    for file in runs.files:
        schema = pq.read_schema(file)
        assert {name: schema.field(name).type for name in TEXT} == dict.fromkeys(TEXT, pa.string())
        assert not [f.name for f in schema if pa.types.is_dictionary(f.type) or pa.types.is_null(f.type)]
        group = pq.read_metadata(file).row_group(0)
        encodings = {e for i in range(group.num_columns) for e in group.column(i).encodings}
        assert not {e for e in encodings if "DICT" in e}
        assert pq.read_table(file).column("part").null_count == pq.read_metadata(file).num_rows


def test_pandas_reads_each_file_and_the_folder(runs: Runs) -> None:
    frames = [pd.read_parquet(f) for f in runs.files]
    assert list(frames[0].dtypes.index) == list(frames[1].dtypes.index)
    assert sum(map(len, frames)) == runs.rows
    assert not any(isinstance(t, pd.CategoricalDtype) for frame in frames for t in frame.dtypes)
    assert all(pd.api.types.is_float_dtype(frame["value"]) for frame in frames)
    assert all(pd.api.types.is_string_dtype(frame["impl"]) for frame in frames)
    folder = ds.dataset([str(f) for f in runs.files], format="parquet").to_table().to_pandas()
    assert len(folder) == runs.rows and set(folder["suite"]) == {"heads", "scale"}


def test_duckdb_reads_all_with_one_plain_glob(runs: Runs) -> None:
    with duckdb.connect() as db:
        assert db.execute(f"SELECT count(*) FROM read_parquet('{runs.pattern}')").fetchall() == [(runs.rows,)]
        described = db.execute(f"DESCRIBE SELECT * FROM read_parquet('{runs.pattern}')").fetchall()
        types = {row[0]: row[1] for row in described}
        assert {types[name] for name in TEXT} == {"VARCHAR"} and types["samples"] == "DOUBLE[]"
        assert (types["p_size"], types["p_seq_len"], types["is_baseline"]) == ("BIGINT", "BIGINT", "BOOLEAN")
        times = db.execute(
            f"SELECT suite, count(*), count(part), min(len(samples) = n) FROM '{runs.pattern}' "
            "WHERE metric = 'time' GROUP BY suite ORDER BY suite"
        ).fetchall()
        assert times == [("heads", 4, 0, True), ("scale", 8, 0, True)]
        heads = db.execute(f"SELECT DISTINCT axis_heads, p_num_kv_heads FROM '{runs.pattern}' WHERE op = 'attention'")
        assert sorted(heads.fetchall()) == [("gqa", 1), ("mha", 2)]


def test_polars_reads_all_with_one_plain_glob(runs: Runs) -> None:
    read = pl.read_parquet(runs.pattern)
    assert read.height == runs.rows
    assert {name: read.schema[name] for name in TEXT} == dict.fromkeys(TEXT, pl.String())
    assert read.schema["samples"] == pl.List(pl.Float64()) and read["part"].null_count() == runs.rows
    lazy = pl.scan_parquet(runs.pattern).filter(pl.col("metric") == "time").group_by("suite").len().collect()
    assert dict(lazy.iter_rows()) == {"heads": 4, "scale": 8}


def test_a_case_without_a_result_is_one_row_with_nulls(runs: Runs) -> None:
    rows = [r for r in pq.read_table(runs.files[0]).to_pylist() if r["impl"] == "sdpa_cudnn"]
    assert len(rows) == 2 and {r["status"] for r in rows} == {"unavailable"}
    empty = ["metric", "part", "value", "low", "high", "unit", "better", "n", "samples"]
    assert all(row[name] is None for row in rows for name in empty)


def test_units_and_directions_are_stored_with_each_metric(runs: Runs) -> None:
    found = {(r["metric"], r["unit"], r["better"]) for f in runs.files for r in pq.read_table(f).to_pylist()}
    assert {("time", "s", "lower"), ("max_error", "1", "lower"), (None, None, None)} <= found


def test_the_file_holds_the_whole_fingerprint(runs: Runs) -> None:
    for file in runs.files:
        metadata = pq.read_schema(file).metadata
        header = json.loads(metadata[b"llmbench"])
        assert {f.name for f in fields(Machine)} == set(header["machine"])
        assert header["machine"]["key"] and header["machine"]["device"] == "cpu"
        assert header["load"]["cores"] == psutil.cpu_count() and header["load"]["busy_cores"] >= 0
        assert metadata[b"llmbench.schema"] == b"llmbench.records/1"
        assert header == json.loads((file.parent / "run.json").read_text())["header"]
        stored = pq.read_table(file, columns=["run_id", "device_name", "torch"]).to_pylist()[0]
        assert stored["run_id"] == header["run_id"] == "/".join(file.parent.parts[-3:])
        assert (stored["device_name"], stored["torch"]) == (
            header["machine"]["device_name"],
            header["versions"]["torch"],
        )


def test_telemetry_is_a_table_too(runs: Runs) -> None:
    pattern = runs.pattern.replace("records", "telemetry")
    assert pl.read_parquet(pattern).height == 0
    with duckdb.connect() as db:
        assert db.execute(f"SELECT count(power_w) FROM '{pattern}'").fetchall() == [(0,)]
    assert pq.read_schema(runs.files[0].parent / "telemetry.parquet").field("t_ns").type == pa.int64()


@dataclass(frozen=True)
class FloatSeqLen:
    """A parameter with the name of another op's, and another type."""

    seq_len: float


def test_one_parameter_name_has_one_type_in_the_whole_package() -> None:
    before = dict(OPS)
    op = Op("clashing", version=1, params=FloatSeqLen, phases=("infer",), inputs=lambda p, generator: [])
    with pytest.raises(UsageError, match="parameter 'seq_len' is float, but int in another op; one name has one type"):
        register(op)
    assert before == OPS
    seen: dict[str, set[str]] = {}
    for known in OPS.values():
        for spec in known.spec("cpu").params:
            seen.setdefault(spec.name, set()).add(spec.type)
    assert {name: {kind} for name, kind in param_types().items()} == seen
