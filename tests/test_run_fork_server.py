"""Workers that a server forks: each with its own session, log and end; none outlives its parent."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from command_line import PROGRAM, environment, llmbench_in

from llmbench.errors import MachineError
from llmbench.run import fork_server
from llmbench.run.fork_server import ForkServer, can_fork
from llmbench.run.local import LocalWorker, Program, WorkerDied
from llmbench.run.protocol import Hello

pytestmark = pytest.mark.skipif(not can_fork("cpu"), reason="workers are forked on Linux alone")

ALONE = """\
op: toy_alone
impls: [add, abort, sleep]
baseline: {impl: add}
axes: {size: [10, 11]}
measure: {max_s: 0.01, cache: warm, timeout_s: 2}
"""
A_THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"


def program(folder: Path, **more: str) -> Program:
    return Program(device="simulated", plugins=(), plugin_path=folder, log=folder / "worker.log", more=more)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, ForkServer]]:
    ours = program(tmp_path_factory.mktemp("up"))
    server = ForkServer(ours.start)
    yield ours, server
    server.close()


def test_workers_of_one_server_come_one_after_the_other(up: tuple[Program, ForkServer]) -> None:
    found = []
    for _ in range(2):
        worker = LocalWorker(*up)
        hello = worker.hello()
        process = psutil.Process(worker.pid)
        found.append((hello.pid, process.ppid()))
        assert hello.pid == worker.pid == os.getpgid(worker.pid), "a process group of its own"
        assert os.getsid(worker.pid) == up[1].pid, "out of reach of Ctrl-C"
        worker.stop()
        assert not psutil.pid_exists(worker.pid) and worker.process.wait() == 0
    assert len({pid for pid, _ in found}) == 2 and len({parent for _, parent in found}) == 1, found


def test_a_worker_that_is_killed_says_so_and_the_next_one_comes(up: tuple[Program, ForkServer]) -> None:
    worker = LocalWorker(*up)
    worker.hello()
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(WorkerDied, match="killed by SIGSEGV") as died:
        worker.receive(10)
    assert died.value.signal == signal.SIGSEGV
    worker = LocalWorker(*up)
    assert isinstance(worker.hello(), Hello)
    worker.kill()
    assert not psutil.pid_exists(worker.pid) and worker.process.wait() == -signal.SIGKILL


def test_a_worker_that_is_killed_before_it_says_anything_is_told_and_the_next_one_comes(
    up: tuple[Program, ForkServer],
) -> None:
    worker = LocalWorker(*up)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(MachineError, match=r"the worker did not start: killed by SIGKILL$"):
        worker.hello()
    worker.process.kill()  # one that is gone
    worker = LocalWorker(*up)
    worker.hello()
    worker.stop()


def test_an_end_that_nobody_heard_keeps_nobody_waiting(
    up: tuple[Program, ForkServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Ctrl-C comes between hearing of it and noting it."""
    worker = LocalWorker(*up)
    worker.hello()
    os.kill(worker.pid, signal.SIGKILL)
    up[1]._asked.settimeout(10)
    assert up[1]._asked.recv(64) == b"end -9"
    monkeypatch.setattr(fork_server, "END_S", 0.2)
    worker.kill()
    assert worker.process.wait() == -signal.SIGKILL


def test_a_worker_runs_what_was_registered_for_its_end(tmp_path: Path) -> None:
    told = tmp_path / "told"
    (tmp_path / "leaves_a_word.py").write_text(
        f"import atexit, pathlib\natexit.register(pathlib.Path({str(told)!r}).touch)\n"
    )
    ours = replace(program(tmp_path), plugins=("leaves_a_word",))
    server = ForkServer(ours.start)
    worker = LocalWorker(ours, server)
    worker.hello()
    assert not told.exists()
    worker.stop()
    assert told.exists() and worker.process.wait() == 0
    server.close()
    assert not ours.log.read_text(), "nothing is told of an end in order"


def test_a_worker_dies_with_its_server(tmp_path: Path) -> None:
    ours = program(tmp_path)
    server = ForkServer(ours.start)
    worker = LocalWorker(ours, server)
    worker.hello()
    psutil.Process(psutil.Process(worker.pid).ppid()).kill()
    with pytest.raises(WorkerDied, match="killed by SIGKILL"):
        worker.receive(10)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(worker.pid) and psutil.Process(worker.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.05)
    assert not server.lives
    again = LocalWorker(ours, server)
    with pytest.raises(MachineError, match="the worker did not start"):
        again.hello()


def test_a_server_that_cannot_start_says_why_as_a_worker_does(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None\n")
    ours = program(tmp_path, PYTHONPATH=str(tmp_path))
    server = ForkServer(ours.start)
    with pytest.raises(MachineError, match=r"the worker did not start: .*cannot import torch"):
        LocalWorker(ours, server).hello()


def test_a_process_of_several_threads_is_not_forked(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(A_THREAD)
    ours = program(tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    server = ForkServer(ours.start)
    worker = LocalWorker(ours, server)
    assert isinstance(worker.hello(), Hello) and psutil.Process(worker.pid).ppid() == os.getpid()
    worker.stop()
    server.close()
    assert not server.lives


def test_a_case_alone_fails_alone(toy_plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(ALONE)
    done = llmbench_in(tmp_path, "run", "suite.yaml", "--json", "--processes", "2", rc=6, PYTHONPATH=str(toy_plugin))
    run = tmp_path / json.loads(done.stdout)["folder"]
    rows = pq.read_table(run / "records.parquet").to_pylist()
    found = {(r["impl"], r["p_size"], r["process"]): (r["status"], r["why"] or "") for r in rows}
    assert len(found) == 3 * 2 * 2
    for (impl, _, _), (status, why) in found.items():
        wanted, said = {
            "add": ("ok", ""), "abort": ("crashed", "toy_kernels.py"), "sleep": ("timeout", "took longer than 2 s"),
        }[impl]  # fmt: skip
        assert status == wanted and said in why, (impl, status, why)


def test_nothing_of_a_run_outlives_it(toy_plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(
        ALONE.replace("timeout_s: 2", "timeout_s: 60").replace("add, abort, ", "add, ")
    )
    env = environment(tmp_path, PYTHONPATH=str(toy_plugin))
    command = [*PROGRAM, "run", "suite.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        journal, deadline = "results/*/*/*/journal.jsonl", time.monotonic() + 60
        while not any('"type":"unit"' in path.read_text() for path in tmp_path.glob(journal)):
            assert time.monotonic() < deadline and run.poll() is None, "no unit was finished"
            time.sleep(0.02)
        time.sleep(0.5)  # into a case that sleeps
        started = psutil.Process(run.pid).children(recursive=True)
        assert len(started) == 2, "a server and its worker"
        run.kill()
    _, alive = psutil.wait_procs(started, timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_no_gpu_is_forked() -> None:
    assert not can_fork("cuda:0") and can_fork("cpu") == (sys.platform == "linux")
