"""Records that cannot be evidence are refused, each with file and column, what was seen and what is wanted."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_runs import STEADY, make_row, stored_run

from llmbench.analyze.compare import compare
from llmbench.analyze.summary import summarise
from llmbench.errors import RunError
from llmbench.report import document
from llmbench.store.origin import read_evidence
from llmbench.store.query import read_run
from llmbench.store.schema import FIXED, NEVER_NULL, OPTIONAL

TIMES = {"flash": STEADY, "naive": STEADY}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return stored_run(tmp_path / "run", TIMES, failed={"flex": ("oom", "80 GiB")})


def table_of(run: Path) -> pa.Table:
    return pq.ParquetFile(run / "records.parquet").read()


def stored(run: Path, table: pa.Table) -> Path:
    pq.write_table(table, run / "records.parquet")
    return run


def with_column(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def changed(table: pa.Table, name: str, change: Callable[[Mapping[str, Any]], object]) -> pa.Table:
    """The table with values of that column by row."""
    values = pa.array([change(row) for row in table.to_pylist()], table.schema.field(name).type)
    return with_column(table, name, values)


def text_of(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def refusal(run: Path, table: pa.Table) -> str:
    """What both readers say of it, without the name of the file."""
    stored(run, table)
    with pytest.raises(RunError) as told:
        read_run(run)
    with pytest.raises(RunError, match=r"records\.parquet"):
        read_evidence(run)
    start = f"{run / 'records.parquet'}: "
    assert str(told.value).startswith(start) and "\n" not in str(told.value)
    return str(told.value).removeprefix(start)


def test_a_file_repeated_is_not_three_processes(run: Path) -> None:
    said = refusal(run, pa.concat_tables([table_of(run)] * 3))
    case = next(r.case_id for r in read_run(stored_run(run.parent / "x", TIMES)).rows)
    assert said == f"columns case_id, process, metric, part: case {case}, process 0, time: 3 rows; wanted: one row"


def test_a_part_is_a_row_of_its_own(run: Path) -> None:
    table = table_of(run)
    parts = [changed(table, "metric", lambda row: row["metric"] and f"of_{row['metric']}")]
    parts += [changed(parts[0], "part", lambda row, name=name: row["metric"] and name) for name in "ab"]
    timed = pa.concat_tables([table, *(p.filter(pa.compute.is_valid(p["metric"])) for p in parts)])
    assert len(read_run(stored(run, timed)).rows) == table.num_rows + 3 * (table.num_rows - 1)
    assert "time of_time" not in refusal(run, pa.concat_tables([timed, parts[1].slice(0, 1)]))
    assert ", of_time a: 2 rows; wanted: one row" in refusal(run, pa.concat_tables([timed, parts[1].slice(0, 1)]))


def test_records_of_another_run_are_not_this_runs(run: Path, tmp_path: Path) -> None:
    own, other = table_of(run), table_of(stored_run(tmp_path / "other", {"flex": STEADY}))
    assert refusal(run, other) == "column run_id: other; wanted: run alone, the run of the manifest"
    assert (
        refusal(run, pa.concat_tables([own, other]))
        == "column run_id: other, run; wanted: run alone, the run of the manifest"
    )


@pytest.mark.parametrize("unit", ["ms", None])
def test_a_metric_has_its_unit(run: Path, unit: str | None) -> None:
    table = changed(table_of(run), "unit", lambda row: unit if row["metric"] == "time" else row["unit"])
    assert refusal(run, table) == f"column unit: time in {unit or 'no unit'}; wanted: s, the unit of time"


def test_a_metric_of_a_later_version_may_have_any_unit(run: Path) -> None:
    table = changed(table_of(run), "metric", lambda row: row["metric"] and row["metric"].replace("time", "bananas"))
    assert {r.metric for r in read_run(stored(run, table)).rows} == {"bananas", "peak_memory", None}


@pytest.mark.parametrize("name", NEVER_NULL)
def test_what_a_row_is_about_is_never_missing(run: Path, name: str) -> None:
    seen = iter(range(99))
    table = changed(table_of(run), name, lambda row: row[name] if next(seen) else None)
    assert refusal(run, table) == f"column {name}: 1 row without a value; wanted: a value in every row"


@pytest.mark.parametrize("name", sorted(FIXED))
def test_a_column_has_its_type(run: Path, name: str) -> None:
    table = table_of(run)
    n, wanted = table.num_rows, text_of(FIXED[name])
    for other in (["x"] * n, [1.5] * n, [["x"]] * n):
        if (seen := text_of(pa.array(other).type)) != wanted:
            said = refusal(run, with_column(table, name, pa.array(other)))
            assert said == f"column {name}: {seen}; wanted: {wanted}"


def test_a_parameter_has_the_type_that_the_op_gives_it(run: Path) -> None:
    table = table_of(run)
    text = pa.array(["512"] * table.num_rows)
    assert refusal(run, with_column(table, "p_seq_len", text)) == (
        "column p_seq_len: string; wanted: int64"
    )  # fmt: skip
    lists = table.append_column("p_later", pa.array([[1]] * table.num_rows))
    assert refusal(run, lists).startswith("column p_later: list of int64; wanted: int64 or ")
    assert "p_later" not in {k for r in read_run(stored(run, table)).rows for k in r.params}
    assert read_run(stored(run, table.append_column("p_later", text))).rows[0].params["later"] == "512"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_parameter_that_is_not_even_equal_to_itself_names_no_case(run: Path, value: float) -> None:
    table = with_column(table_of(run), "p_scale", pa.array([value] * table_of(run).num_rows))
    assert refusal(run, table) == (
        "column p_scale: NaN or infinite; wanted: numbers, and null where an op has no such parameter"
    )


def test_lists_have_no_gaps(run: Path) -> None:
    table = changed(table_of(run), "samples", lambda row: row["samples"] and [None, *row["samples"][1:]])
    assert refusal(run, table) == "column samples: 6 nulls within its lists; wanted: none"


def test_a_process_has_one_status_and_a_case_one_name(run: Path) -> None:
    table = table_of(run)
    seen = iter(range(99))
    status = changed(table, "status", lambda row: row["status"] if next(seen) else "error")
    assert ", process 0; wanted: one for a process of a case" in refusal(run, status)
    seen = iter(range(99))
    impl = changed(table, "impl", lambda row: row["impl"] if next(seen) else "other")
    assert refusal(run, impl).startswith("column impl: several for case ")
    both = changed(table, "metric", lambda row: row["metric"] if row["metric"] != "time" else None)
    assert refusal(run, both).endswith(", which has other rows; wanted: a row without a metric stands alone")


@pytest.mark.parametrize("name", sorted({*FIXED} - OPTIONAL))
def test_a_column_that_everything_rests_on_is_there(run: Path, name: str) -> None:
    assert refusal(run, table_of(run).drop_columns([name])) == (
        f"column {name}: missing; wanted: {text_of(FIXED[name])}"
    )


def test_evidence_that_another_version_did_not_store_is_unknown(run: Path) -> None:
    whole = read_run(run).rows
    evidence = read_evidence(stored(run, table_of(run).drop_columns(sorted(OPTIONAL))))
    assert [r.value for r in evidence.run.rows] == [r.value for r in whole]
    assert {(r.order, r.flop, r.impl_hash) for r in evidence.run.rows} == {(None, None, None)}
    assert (evidence.origin.torch, evidence.origin.commit) == (None, None)
    assert [p.kind for p in compare(evidence, evidence).pairs] == ["no result", "same", "same"]


def test_columns_of_a_later_version_are_let_be(run: Path) -> None:
    table = table_of(run)
    later = table.append_column("colour", pa.array([{"r": 1}] * table.num_rows))
    assert read_run(stored(run, later)).rows == read_run(stored(run, table)).rows


def test_other_writers_widths_are_no_other_types(run: Path) -> None:
    table = table_of(run)
    whole = read_run(run).rows
    table = with_column(table, "impl", table["impl"].cast(pa.large_string()))
    table = with_column(table, "process", table["process"].cast(pa.int8()))
    table = with_column(table, "samples", table["samples"].cast(pa.large_list(pa.float64())))
    table = with_column(table, "part", pa.nulls(table.num_rows))
    assert read_run(stored(run, table)).rows == whole


def test_text_that_is_no_text_is_refused(run: Path) -> None:
    raw = pa.array([b"\xff"] * table_of(run).num_rows)
    broken = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    assert "not readable as records: " in refusal(run, with_column(table_of(run), "why", broken))


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            "llmbench.records/2",
            "schema 'llmbench.records/2' of a newer llmbench; wanted: llmbench.records/1 or older; ",
        ),
        ("llmbench.records/17.3", "of a newer llmbench"),
        ("bananas", "metadata: schema 'bananas'; wanted: llmbench.records/1"),
    ],
)
def test_a_file_of_a_newer_schema_is_refused(run: Path, version: str, said: str) -> None:
    table = table_of(run)
    assert said in refusal(run, table.replace_schema_metadata({"llmbench.schema": version}))


def test_the_version_of_the_schema_is_written_and_a_file_without_is_the_first(run: Path) -> None:
    table = table_of(run)
    assert table.schema.metadata[b"llmbench.schema"] == b"llmbench.records/1"
    whole = read_run(run).rows
    for metadata in ({}, {"llmbench.schema": "llmbench.records/1.9"}):
        assert read_run(stored(run, table.replace_schema_metadata(metadata))).rows == whole


def test_a_run_without_a_record_is_one(tmp_path: Path) -> None:
    assert read_evidence(stored_run(tmp_path / "none", {})).run.rows == []


def test_extreme_numbers_end_in_no_traceback(run: Path, tmp_path: Path) -> None:
    """Values are what was measured, however odd: they are shown, not refused."""
    base = read_evidence(stored_run(tmp_path / "base", TIMES))
    table = table_of(run)
    for name in ("value", "low", "high", "flop", "bytes", "tokens"):
        for value in (math.nan, math.inf, -1.0, 0.0, 1e308, 5e-324):
            seen = iter(range(99))
            odd = read_evidence(
                stored(run, changed(table, name, lambda row, n=name, v=value, s=seen: v if next(s) % 4 else row[n]))
            )
            document.render(summarise(odd.run))
            compare(base, odd), compare(odd, base)


def test_the_checks_take_whole_columns(tmp_path: Path) -> None:
    """100,000 rows that differ in their process alone; a loop over them would be felt."""
    table = table_of(stored_run(tmp_path / "one", {"flash": STEADY[:1]})).slice(0, 1)
    many = pa.concat_tables([table] * 100_000).combine_chunks()
    many = with_column(many, "process", pa.array(np.arange(100_000)))
    many = many.drop_columns(["samples"]).append_column("samples", pa.nulls(100_000, FIXED["samples"]))
    rows = read_run(stored(tmp_path / "one", many)).rows
    assert (len(rows), rows[99_999].process) == (100_000, 99_999)
    assert type(rows[0]) is type(make_row())
