"""A run of very many rows on disk: the records of one repeated, each time as other cases."""

from dataclasses import replace
from pathlib import Path

from example_runs import cases_of, make_run
from suite_catalog import CPU

from llmbench.orderstat import median_interval
from llmbench.store.record import Check, Measurement, Record
from llmbench.store.runs import Manifest, write_run
from llmbench.suite.case import Case
from llmbench.suite.load import load

SAMPLES, BLOCK = 24, 4  # of each case, and of each of its blocks


def large_run(folder: Path, *, rows: int = 100_000) -> Path:
    """A closed run of the suite `attention` with that many rows, as a CPU's records have them: time, peak memory and
    the two errors of the check."""
    suite = load("attention", CPU)
    cases = cases_of(suite)
    found = [_record(cases[i % len(cases)], i) for i in range(rows // 4)]
    folder.mkdir(parents=True)
    header = make_run([], suite, param_types={p.name: p.type for p in suite.op.params}).manifest.header
    write_run(folder, Manifest(header, True, {"ok": len(found)}), found, [])
    return folder


def _record(case: Case, number: int) -> tuple[Case, Record]:
    again = replace(case, case_id=f"{number:016x}", point_id=f"{number // 10:016x}")
    length = int(case.params["seq_len"])
    samples = [1e-6 * length * (1 + (number * 7919 + i * 104_729) % 1000 / 1e5) for i in range(SAMPLES)]
    value, low, high = median_interval(samples)
    time = Measurement(
        "time", value, low=low, high=high, samples=samples, sample_block=[i // BLOCK for i in range(SAMPLES)],
        timer="wall", stop_reason="target_ci",
    )  # fmt: skip
    memory = Measurement("peak_memory", 1024 * length)
    errors = [Measurement("max_error", 1e-6 + number * 1e-12), Measurement("rel_error", 1e-7 + number * 1e-13)]
    return again, Record(
        again.case_id, 0, "ok", measurements=[time, memory, *errors], order="interleaved", check=Check("oracle", True),
        flop=1e9, bytes=1e6,
    )  # fmt: skip
