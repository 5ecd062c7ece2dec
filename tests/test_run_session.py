"""Runs through the real command line: what is stored, and that whatever kills a run leaves one that can go on."""

import errno
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from llmbench.errors import Interrupted, RunError
from llmbench.run import session
from llmbench.run.listener import Listener
from llmbench.suite.catalog import DeviceSpec

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]

SLOW = """\
op: toy_scale
impls: [mul, add]
baseline: {impl: mul}
plugins: [toy_kernels]
axes: {size: [10, 11, 12, 13, 14, 15, 16, 17]}
measure: {max_s: 0.01, cache: warm, processes: 2}
"""


def start(suite: Path, env: dict[str, str], cwd: Path, *args: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "llmbench", "run", str(suite), "--results", "results", "--json", *args]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def only_run(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "results").glob("*/*/*")
    return folder


def wait_until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def workers_of(run: str) -> list[psutil.Process]:
    """Living workers whose environment has this test's state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            is_worker = "--serve" in process.cmdline()
            if is_worker and process.environ().get("XDG_STATE_HOME") == run and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_suite_chooses_its_threads(llmbench: Llmbench, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(tiny.read_text().replace("max_s:", "threads: 2, max_s:"))
    llmbench("run", tiny)
    manifest = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert manifest["header"]["machine"]["key"]["threads"] == 2, "whatever OMP_NUM_THREADS says"
    plan = tmp_path / "plan.json"
    plan.write_text(llmbench("plan", tiny, "--json").stdout)
    llmbench("worker", "--cases", plan, "--out", tmp_path / "out.jsonl")
    hello = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert '"threads": 2' in json.dumps(hello)


def test_a_run_stores_samples_evidence_and_a_manifest(llmbench: Llmbench, tiny: Path, tmp_path: Path) -> None:
    done = llmbench("run", tiny, "--json", "--processes", "2")
    said = json.loads(done.stdout)
    assert said["schema"] == "llmbench.run/1"
    assert (said["complete"], said["cases"], said["counts"]) == (True, 6, {"ok": 6})
    folder = tmp_path / said["folder"]
    assert folder == only_run(tmp_path)
    manifest = json.loads((folder / "run.json").read_text())
    assert manifest["complete"] and manifest["header"]["suite"]["name"] == "tiny"
    rows = pq.read_table(folder / "records.parquet").to_pylist()
    times = [r for r in rows if r["metric"] == "time"]
    assert len(times) == 6 * 2
    for row in times:
        assert row["status"] == "ok" and row["timer"] == "perf_counter" and row["unit"] == "s"
        assert row["n"] >= 6 and row["low"] <= row["value"] <= row["high"]
        lists = [row[k] for k in ("samples", "sample_t_ns", "sample_block", "sample_calls", "sample_flags")]
        assert {len(values) for values in lists} == {row["n"]}
        assert row["sample_t_ns"] == sorted(row["sample_t_ns"])
        assert row["check_kind"] == "oracle" and row["order"] == "interleaved"
    assert {r["impl"] for r in times if r["is_baseline"]} == {"sdpa_flash"}


def test_a_run_says_once_why_there_is_no_telemetry(llmbench: Llmbench, tiny: Path, tmp_path: Path) -> None:
    done = llmbench("run", tiny, "--only", "impl=naive")
    assert done.stderr.count("power and clocks are not recorded") == 1
    notes = json.loads((only_run(tmp_path) / "run.json").read_text())["notes"]
    assert sum("power and clocks are not recorded" in note for note in notes) == 1
    assert pq.read_table(only_run(tmp_path) / "telemetry.parquet").num_rows == 0


def test_max_minutes_stops_cleanly_and_resume_completes(llmbench: Llmbench, tiny: Path, tmp_path: Path) -> None:
    first = json.loads(llmbench("run", tiny, "--json", "--max-minutes", "0").stdout)
    assert (first["complete"], first["interrupted"], first["counts"]) == (False, False, {})
    second = json.loads(llmbench("run", "--resume", "latest", "--json").stdout)
    assert second["folder"].endswith(first["folder"]) and second["complete"] and second["counts"] == {"ok": 6}
    again = json.loads(llmbench("run", "--resume", "latest:tiny", "--json").stdout)
    assert again["complete"] and again["counts"] == {"ok": 6}


def test_where_each_case_has_its_worker_a_stopped_run_keeps_each_that_is_done(
    env: dict[str, str], tmp_path: Path, llmbench: Llmbench
) -> None:
    suite = tmp_path / "steps.yaml"
    suite.write_text(
        "op: train_step\nimpls: [eager]\nbaseline: {checkpointing: none}\nphases: [step]\n"
        "axes: {checkpointing: [none, full, sqrt]}\nfixed: {seq_len: 16, layers: 1}\n"
        "measure: {max_s: 0.05, cache: warm}\nprobes: []\n"
    )
    run = start(suite, env, tmp_path)
    wait_until(lambda: any(e["type"] == "unit" for f in tmp_path.glob("results/*/*/*") for e in _lines(f)))
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    kept = json.loads(out)["counts"]["ok"]
    assert kept in (1, 2)
    told = llmbench("run", "--resume", "latest", "--json")
    assert f"3 cases, {kept} done already" in told.stderr
    done = json.loads(told.stdout)
    assert done["counts"] == {"ok": 3} and done["complete"]
    rows = pq.read_table(only_run(tmp_path) / "records.parquet").to_pylist()
    blocks = [set(r["sample_block"]) for r in rows if r["metric"] == "time" and r["part"] is None]
    assert len(blocks) == 3 and not any(a & b for a, b in itertools.combinations(blocks, 2)), "none beside another"


def test_ctrl_c_closes_the_run_and_exits_130(
    toy_plugin: Path, env: dict[str, str], tmp_path: Path, llmbench: Llmbench
) -> None:
    suite = tmp_path / "slow.yaml"
    suite.write_text(SLOW)
    env = {**env, "PYTHONPATH": str(toy_plugin), "TOY_SLEEP_S": "0.02"}
    run = start(suite, env, tmp_path)
    wait_until(lambda: any(e["type"] == "unit" for f in tmp_path.glob("results/*/*/*") for e in _lines(f)))
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    said = json.loads(out)
    assert said["interrupted"] and not said["complete"] and said["counts"]["ok"] >= 2
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["complete"] is False
    done = llmbench("run", "--resume", "latest", "--json", PYTHONPATH=str(toy_plugin))
    assert json.loads(done.stdout)["counts"] == {"ok": 16}


def test_ctrl_c_before_the_first_case_is_told_and_leaves_nothing(
    toy_plugin: Path, env: dict[str, str], tmp_path: Path
) -> None:
    suite = tmp_path / "slow.yaml"
    suite.write_text(SLOW)
    run = start(suite, {**env, "PYTHONPATH": str(toy_plugin)}, tmp_path)
    wait_until(lambda: list(tmp_path.glob("results/*/*/*")))  # now its worker starts
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, "llmbench: interrupted before a case was measured; nothing is kept\n")
    assert not list(tmp_path.glob("results/*"))


def test_ctrl_c_while_tables_are_written_says_how_to_go_on(
    env: dict[str, str], tmp_path: Path, llmbench: Llmbench, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", env["XDG_STATE_HOME"])
    llmbench("run", tiny, "--json")
    folder = only_run(tmp_path)
    before = json.loads((folder / "run.json").read_text())
    (folder / "run.json").unlink()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session, "write_run", interrupt)
        with pytest.raises(Interrupted, match=f"nothing is lost: llmbench run --resume {re.escape(str(folder))}$"):
            session.resume(folder, Listener())
    assert not (folder / "run.json").exists()
    assert json.loads(llmbench("run", "--resume", folder, "--json").stdout)["complete"]
    assert json.loads((folder / "run.json").read_text())["counts"] == before["counts"]


def test_runs_of_one_suite_may_begin_and_be_taken_back_at_once(tmp_path: Path) -> None:
    device = DeviceSpec("cuda:0", "sm90", "one of two alike")

    def begin(code: str) -> None:
        for _ in range(200):
            session._take_back(session.new_folder(tmp_path / "results", "s", device, code=code))

    with ThreadPoolExecutor(3) as runs:
        assert list(runs.map(begin, ("a" * 7, "b" * 7, "c" * 7))) == [None] * 3
    assert not list(tmp_path.glob("results/*"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOENT])
def test_what_keeps_a_folder_from_being_made_is_told(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=f": cannot write results here: {os.strerror(number)}; choose another folder"):
        session.new_folder(tmp_path / "results", "s", DeviceSpec("cpu", "cpu", "some cpu"), code="a" * 7)


def test_a_second_run_on_the_same_device_exits_3_and_names_the_first(
    toy_plugin: Path, env: dict[str, str], tmp_path: Path, llmbench: Llmbench, tiny: Path
) -> None:
    suite = tmp_path / "slow.yaml"
    suite.write_text(SLOW)
    first = start(suite, {**env, "PYTHONPATH": str(toy_plugin), "TOY_SLEEP_S": "0.05"}, tmp_path)
    wait_until(lambda: list(tmp_path.glob("results/*/*/*/journal.jsonl")))
    second = llmbench("run", tiny, "--results", "other", rc=3)
    assert f"device cpu is in use by the run slow (pid {first.pid})" in second.stderr
    assert not (tmp_path / "other").exists()
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 130


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments_loses_nothing(
    toy_plugin: Path, env: dict[str, str], tmp_path: Path, llmbench: Llmbench
) -> None:
    """Parent and worker in turn; the journal's last line is cut in half besides."""
    suite = tmp_path / "slow.yaml"
    suite.write_text(SLOW)
    env = {**env, "PYTHONPATH": str(toy_plugin), "TOY_SLEEP_S": "0.03"}
    state, dice = env["XDG_STATE_HOME"], random.Random(7)
    run = start(suite, env, tmp_path)
    kills = 0
    while kills < 20:
        wait_until(lambda now=run: _is_measuring(tmp_path, now) or now.poll() is not None)
        time.sleep(dice.uniform(0, 0.6))
        workers = workers_of(state)
        if kills % 2:
            for worker in workers:
                worker.kill()
        elif run.poll() is None:
            run.kill()
        kills += 1
        if run.poll() is None and kills % 2 == 0:
            continue  # the parent lives on and starts another worker
        run.communicate(timeout=60)
        wait_until(lambda: not workers_of(state), seconds=5)
        _cut_last_line(only_run(tmp_path), dice)
        run = start_resume(env, tmp_path)
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, err
    said = json.loads(out)
    assert said["complete"] and said["counts"] == {"ok": 16}, said
    rows = pq.read_table(only_run(tmp_path) / "records.parquet").to_pylist()
    times = [(r["case_id"], r["process"]) for r in rows if r["metric"] == "time"]
    assert len(times) == len(set(times)) == 32
    whole = json.loads(llmbench("run", suite, "--results", "whole", "--json", PYTHONPATH=str(toy_plugin)).stdout)
    uninterrupted = pq.read_table(tmp_path / whole["folder"] / "records.parquet").to_pylist()
    assert {r["case_id"] for r in rows} == {r["case_id"] for r in uninterrupted}


def start_resume(env: dict[str, str], cwd: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "llmbench", "run", "--resume", "latest", "--json"]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _is_measuring(tmp_path: Path, run: "subprocess.Popen[str]") -> bool:
    """Whether this run has its worker up and a journal to lose."""
    journals = list(tmp_path.glob("results/*/*/*/journal.jsonl"))
    children = psutil.Process(run.pid).children() if run.poll() is None else []
    return bool(journals and journals[0].stat().st_size and children)


def _cut_last_line(folder: Path, dice: random.Random) -> None:
    """A crash in the middle of a write: the last line of the journal ends early, unless it is the only one."""
    path = folder / "journal.jsonl"
    data = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"type":"record","unit_id":"' + bytes(dice.randrange(97, 122) for _ in range(dice.randrange(9))))
    assert path.stat().st_size > len(data)


def _lines(folder: Path) -> list[dict[str, object]]:
    """The whole lines of a run's journal."""
    path = folder / "journal.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def test_resume_refuses_another_torch_code_or_suite_and_force_records_it(
    llmbench: Llmbench, tiny: Path, tmp_path: Path
) -> None:
    llmbench("run", tiny, "--max-minutes", "0")
    folder = only_run(tmp_path)
    path = folder / "journal.jsonl"
    header = json.loads(path.read_text().splitlines()[0])
    header["versions"]["torch"] = "1.0"
    header["code"]["source_hash"] = "f" * 40
    path.write_text(json.dumps(header) + "\n")
    tiny.write_text(tiny.read_text().replace("[16, 32]", "[16, 48]"))
    refused = llmbench("run", "--resume", folder, rc=3).stderr
    assert "torch was 1.0, is" in refused and "code was ffffffffffff, is" in refused
    assert f"suite {tiny}: axes changed" in refused and "--force" in refused
    said = json.loads(llmbench("run", "--resume", folder, "--force", "--json").stdout)
    assert said["complete"] and said["counts"] == {"ok": 6}
    notes = json.loads((folder / "run.json").read_text())["notes"]
    assert any(note.startswith("forced: torch was 1.0") for note in notes)
    assert any(note.startswith("forced: suite") for note in notes)


def test_resume_of_no_run_exits_2(llmbench: Llmbench, tmp_path: Path) -> None:
    assert "no such run" in llmbench("run", "--resume", "nowhere", rc=2).stderr
    assert "no run under results" in llmbench("run", "--resume", "latest", rc=2).stderr
    (tmp_path / "empty").mkdir()
    assert "no run to resume here" in llmbench("run", "--resume", "empty", rc=2).stderr


def test_a_worker_serves_a_plan_without_a_parent_and_goes_on_where_it_was(
    llmbench: Llmbench, tiny: Path, tmp_path: Path
) -> None:
    plan = json.loads(llmbench("plan", tiny, "--json").stdout)
    assert plan["schema"] == "llmbench.plan/1" and plan["cases"] == 6
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "units": plan["units"][:1]}))
    llmbench("worker", "--cases", "plan.json", "--out", "out.jsonl")
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with (tmp_path / "out.jsonl").open("a") as out:
        out.write('{"v":1,"type":"fou')
    llmbench("worker", "--cases", "plan.json", "--out", "out.jsonl")
    messages = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    found = [m["record"]["case_id"] for m in messages if m["type"] == "found"]
    assert found == [c["case_id"] for u in plan["units"] for c in u["cases"]]
    (tmp_path / "bad.json").write_text("{}")
    assert "wanted 'llmbench.plan/1'" in llmbench("worker", "--cases", "bad.json", "--out", "o", rc=2).stderr


def test_a_run_that_cannot_start_leaves_nothing_behind(llmbench: Llmbench, tiny: Path, tmp_path: Path) -> None:
    assert "device 'cuda:7' is not on this machine" in llmbench("run", tiny, "--device", "cuda:7", rc=3).stderr
    assert "did you mean 'cuda'" in llmbench("run", tiny, "--device", "gpu", rc=2).stderr
    assert not (tmp_path / "results").exists()


def test_a_plan_can_be_made_for_a_gpu_that_is_elsewhere(llmbench: Llmbench) -> None:
    done = llmbench("plan", "attention", "--device", "cuda", "--json")
    plan = json.loads(done.stdout)
    cases = [c for u in plan["units"] for c in u["cases"]]
    assert plan["device"] == "cuda:0" and {c["timer_class"] for c in cases} == {"device"}
    assert {c["params"]["dtype"] for c in cases} == {"bfloat16"}  # not the overlay of the CPU
    assert "cuda:0 is not on this machine" in done.stderr
    assert "is not on this machine" in llmbench("run", "attention", "--device", "cuda", rc=3).stderr
