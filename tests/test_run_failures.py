"""Whatever a case dies of is data: a status and a reason for it, and a time for every innocent neighbour."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow.parquet as pq
import pytest
from command_line import PROGRAM, environment, llmbench_in

Row = dict[str, Any]

FAILING = """\
op: attention
impls: [naive, toy_segfault, toy_good, toy_raise, toy_hang, toy_hang_in_timing, toy_crash_in_timing, toy_greedy,
        toy_wrong, toy_clobber, toy_late_clobber, toy_tail, toy_memo, toy_in_place, toy_odd_text,
        toy_clobber_raise, tiled]
baseline: {impl: naive}
phases: [infer]
axes: {seq_len: [16]}
fixed: {num_heads: 2, num_kv_heads: 1, head_dim: 16}
measure: {max_s: 0.02, timeout_s: 8, memory_limit: 1 GiB}
probes: [memory]
"""
STATUS = {
    "naive": "ok",
    "toy_segfault": "crashed",
    "toy_good": "ok",
    "toy_raise": "error",
    "toy_hang": "timeout",
    "toy_hang_in_timing": "timeout",
    "toy_crash_in_timing": "crashed",
    "toy_greedy": "oom",
    "toy_wrong": "wrong",
    "toy_clobber": "wrong",
    "toy_late_clobber": "wrong",
    "toy_tail": "wrong",
    "toy_memo": "wrong",
    "toy_in_place": "ok",
    "toy_odd_text": "error",
    "toy_clobber_raise": "error",
    "tiled": "ok",
}
WHY = {
    "toy_segfault": "build: worker killed by SIGSEGV",
    "toy_raise": "ValueError: no such kernel [bold]here[/bold]",
    "toy_hang": "build took longer than 8 s (measure.timeout_s)",
    "toy_hang_in_timing": "took longer than 8 s (measure.timeout_s)",
    "toy_crash_in_timing": "worker killed by SIGABRT",
    "toy_greedy": "can't allocate memory",
    "toy_wrong": "out is off by",
    "toy_clobber": "changed its input 'k'",
    "toy_late_clobber": "after timing: changed its input 'v'",
    "toy_tail": "out ",
    "toy_memo": "after timing: out keeps its old values for new inputs",
    "toy_odd_text": "ValueError: bad path ?",
    "toy_clobber_raise": "ValueError: after the damage (toy_kernels.py:",
}
NARROWED = """\
op: attention
impls: [naive, tiled, sdpa_cudnn]
baseline: {impl: naive}
phases: [infer]
axes: {seq_len: [8, 16, 32]}
fixed: {num_heads: 2, num_kv_heads: 1, head_dim: 16}
skip:
  - {match: {impl: tiled, seq_len: 32}, why: a reason of the suite}
measure: {max_s: 0.01}
"""
SCALE = """\
op: toy_scale
impls: [mul, add]
baseline: {impl: mul}
axes: {size: [10, 11]}
measure: {max_s: 0.3, cache: warm}
"""


class Result(NamedTuple):
    """A run as a user has it."""

    said: dict[str, Any]
    stderr: str
    manifest: dict[str, Any]
    rows: list[Row]


def result(folder: Path, stdout: str, stderr: str) -> Result:
    said = json.loads(stdout)
    run = folder / said["folder"]
    rows = pq.read_table(run / "records.parquet").to_pylist()
    return Result(said, stderr, json.loads((run / "run.json").read_text()), rows)


def run_suite(folder: Path, text: str, *args: str, rc: int = 0, **more: str) -> Result:
    (folder / "suite.yaml").write_text(text)
    done = llmbench_in(folder, "run", "suite.yaml", "--json", *args, rc=rc, **more)
    return result(folder, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def failed(toy_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run_suite(tmp_path_factory.mktemp("failed"), FAILING, rc=6, PYTHONPATH=str(toy_plugin))


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run_suite(tmp_path_factory.mktemp("narrowed"), NARROWED, "--quick", "--processes", "2")


def test_every_way_to_fail_has_its_own_status(failed: Result) -> None:
    assert {row["impl"]: row["status"] for row in failed.rows} == STATUS
    counts = {status: list(STATUS.values()).count(status) for status in set(STATUS.values())}
    assert failed.said["counts"] == counts == failed.manifest["counts"]
    assert failed.said["complete"] and failed.said["cases"] == len(STATUS)


@pytest.mark.parametrize("impl", WHY)
def test_a_failure_says_why_in_one_line(failed: Result, impl: str) -> None:
    reasons = {row["why"] for row in failed.rows if row["impl"] == impl}
    assert len(reasons) == 1, reasons
    (why,) = reasons
    assert WHY[impl] in why and "\n" not in why
    assert f"{STATUS[impl]}: {impl} infer seq_len=16: " in failed.stderr


@pytest.mark.parametrize(("impl", "function"), [("toy_segfault", "string_at"), ("toy_crash_in_timing", "call")])
def test_a_crash_names_the_innermost_line_of_the_thread_that_crashed(failed: Result, impl: str, function: str) -> None:
    why = next(row["why"] for row in failed.rows if row["impl"] == impl)
    assert why.endswith(f" in {function}") and 'in File "' in why, why


def test_what_an_implementation_chose_is_recorded(failed: Result) -> None:
    chosen = {(row["impl"], row["config"]) for row in failed.rows if row["metric"] == "time"}
    assert ("toy_good", "block_q=16") in chosen and ("naive", None) in chosen


def test_the_neighbours_of_a_failure_lose_nothing(failed: Result) -> None:
    timed = {row["impl"] for row in failed.rows if row["metric"] == "time"}
    assert timed == {impl for impl, status in STATUS.items() if status == "ok"}
    remembered = {row["impl"] for row in failed.rows if row["metric"] == "peak_memory"}
    assert timed <= remembered
    assert all(row["why"] is None for row in failed.rows if row["status"] == "ok")


def test_a_failed_case_keeps_only_what_was_measured_before_it_failed(failed: Result) -> None:
    metrics: dict[str, set[str | None]] = {}
    for row in failed.rows:
        metrics.setdefault(row["impl"], set()).add(row["metric"])
    for impl in ("toy_segfault", "toy_raise", "toy_hang", "toy_hang_in_timing", "toy_crash_in_timing", "toy_greedy"):
        assert metrics[impl] == {None}, impl
    assert metrics["toy_wrong"] == metrics["toy_clobber"] == {"max_error", "rel_error"}
    assert "time" not in metrics["toy_late_clobber"]
    for row in failed.rows:
        if row["metric"] is None:
            assert row["value"] is None and not row["samples"] and row["n"] is None, row["impl"]
        assert not (row["metric"] == "time" and row["value"] <= 0)


def test_every_case_of_every_process_has_a_row(failed: Result, narrowed: Result) -> None:
    assert len({(r["case_id"], r["process"]) for r in failed.rows}) == len(STATUS)
    assert len({(r["case_id"], r["process"]) for r in narrowed.rows}) == 2 * 3 * 2


def test_what_is_skipped_or_not_available_has_its_reason_and_is_no_failure(narrowed: Result) -> None:
    assert narrowed.said["counts"] == {"ok": 3, "skipped": 1, "unavailable": 2}
    skipped = [r for r in narrowed.rows if r["status"] == "skipped"]
    assert {(r["impl"], r["p_seq_len"], r["why"]) for r in skipped} == {("tiled", 32, "a reason of the suite")}
    unavailable = [r for r in narrowed.rows if r["status"] == "unavailable"]
    assert {(r["impl"], r["why"]) for r in unavailable} == {("sdpa_cudnn", "needs a CUDA device, this one is cpu")}
    assert all(r["metric"] is None and r["value"] is None for r in skipped + unavailable)


def test_quick_takes_the_ends_of_an_axis_and_processes_repeats_all(narrowed: Result) -> None:
    assert {r["p_seq_len"] for r in narrowed.rows} == {8, 32} and all(r["quick"] for r in narrowed.rows)
    times = [(r["case_id"], r["process"]) for r in narrowed.rows if r["metric"] == "time"]
    assert len(times) == len(set(times)) == 3 * 2 and {p for _, p in times} == {0, 1}
    assert narrowed.manifest["header"]["quick"] is True
    assert narrowed.manifest["header"]["suite"]["measure"]["processes"] == 2


def test_only_leaves_the_cases_that_match(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(NARROWED)

    def plan(*args: str) -> set[tuple[str, int]]:
        document = json.loads(llmbench_in(tmp_path, "plan", "suite.yaml", "--json", *args).stdout)
        return {(c["impl"], c["params"]["seq_len"]) for unit in document["units"] for c in unit["cases"]}

    assert len(plan()) == 9
    assert plan("--only", "impl=naive,tiled", "--only", "seq_len=16") == {("naive", 16), ("tiled", 16)}
    assert plan("--only", "seq_len=8", "--only", "seq_len=32", "--only", "impl=naive") == {("naive", 8), ("naive", 32)}
    refused = llmbench_in(tmp_path, "run", "suite.yaml", "--only", "impl=niave", rc=2).stderr
    assert "did you mean 'naive'" in refused and not (tmp_path / "results").exists()


def test_a_worker_killed_from_outside_is_not_blamed_on_a_case(toy_plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SCALE)
    env = environment(tmp_path, PYTHONPATH=str(toy_plugin), TOY_SLEEP_S="0.05")
    run = subprocess.Popen(
        [*PROGRAM, "run", "suite.yaml", "--json"], cwd=tmp_path, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    journal, deadline = "results/*/*/*/journal.jsonl", time.monotonic() + 60
    while not any('"type":"unit"' in path.read_text() for path in tmp_path.glob(journal)):
        assert time.monotonic() < deadline and run.poll() is None, "no unit was finished"
        time.sleep(0.02)
    time.sleep(0.3)  # into the second unit, which takes two seconds
    (worker,) = psutil.Process(run.pid).children()
    worker.kill()
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    found = result(tmp_path, out, err)
    assert found.said["counts"] == {"ok": 4} and "crashed" not in err
    closed = (tmp_path / found.said["folder"] / "journal.jsonl").read_text().count('"type":"unit"')
    assert closed == 2
    times = [r for r in found.rows if r["metric"] == "time"]
    assert len(times) == 4
    again = {r["order"] for r in times if r["p_size"] == 11}
    assert again == {"apart"}, "the kill did not come while the second point was measured"


def test_a_broken_installed_plugin_is_a_note_and_stops_nobody(toy_plugin: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "broken_thing-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[llmbench.plugins]\nbroken = broken_thing\n")
    (site / "broken_thing.py").write_text("raise RuntimeError('half installed')\n")
    path = f"{toy_plugin}:{site}"
    listed = json.loads(llmbench_in(tmp_path, "list", "ops", "--json", PYTHONPATH=path).stdout)
    scale = next(op for op in listed["ops"] if op["name"] == "toy_scale")
    assert scale["impls"] == ["mul", "add"] and [p["name"] for p in scale["params"]] == ["size"]
    found = run_suite(tmp_path, SCALE.replace("0.3", "0.01"), PYTHONPATH=path)
    assert found.said["counts"] == {"ok": 4}
    note = "plugin 'broken_thing' cannot be loaded: RuntimeError: half installed"
    assert note in found.manifest["notes"] and found.stderr.count(note) == 1


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        ("toy_kernels:nope", "AttributeError"),
        ("raises_here", "ZeroDivisionError"),
        ("not_there", "ModuleNotFoundError"),
    ],
)
def test_a_plugin_that_the_suite_names_must_load(toy_plugin: Path, tmp_path: Path, plugin: str, why: str) -> None:
    (tmp_path / "raises_here.py").write_text("1 / 0\n")
    (tmp_path / "suite.yaml").write_text(f"{SCALE}plugins: [{plugin}]\n")
    done = llmbench_in(tmp_path, "run", "suite.yaml", rc=2, PYTHONPATH=str(toy_plugin))
    assert done.stderr.startswith(f"llmbench: plugin '{plugin}' cannot be loaded: {why}: ")
    assert done.stderr.count("\n") == 1 and not done.stdout and not (tmp_path / "results").exists()
