"""One run a device: who holds it is named, and what the dead left behind is waited for. With real processes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from llmbench.errors import MachineError
from llmbench.run import lock
from llmbench.run.lock import device_lock

HOLDER = """\
import os, sys, time
from llmbench.run.lock import device_lock
with device_lock(sys.argv[1], run="the_other") as held:
    held.uses(os.getpid())
    print("held", flush=True)
    time.sleep(60)
"""
SLEEPER = "import time; time.sleep({seconds})"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "llmbench"


@pytest.fixture
def holder() -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the CPU."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, "cpu"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def leave_note(state: Path, worker: int, started: float) -> None:
    """What a run that died left behind, with this worker."""
    with device_lock("cpu", run="the_dead") as held:
        held.uses(worker)
        (note,) = state.glob("*.json")
        body = json.loads(note.read_text())
        assert body["worker"] == worker
    note.write_text(json.dumps({**body, "worker_started": started}))


def test_the_holder_is_named_with_its_process(holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(MachineError) as raised, device_lock("cpu", run="mine"):
        pass
    assert str(raised.value).startswith(f"device cpu is in use by the run the_other (pid {holder.pid}); wait for it")


def test_another_device_is_free(holder: "subprocess.Popen[str]") -> None:
    with device_lock("cuda:1", run="mine") as held:
        held.uses(holder.pid)
        with pytest.raises(MachineError, match="cuda:1 is in use by the run mine"), device_lock("cuda:1", run="other"):
            pass
    assert holder.poll() is None


def test_the_lock_of_a_killed_holder_is_free(holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    with device_lock("cpu", run="mine"), pytest.raises(MachineError), device_lock("cpu", run="mine again"):
        pass


def test_a_note_is_gone_after_a_run_that_ended_well(state: Path) -> None:
    with device_lock("cpu", run="mine") as held:
        held.uses(1)
        assert list(state.glob("*.json"))
    assert not list(state.glob("*.json"))
    with device_lock("cpu", run="the next"):
        pass


def test_a_stale_note_of_a_dead_worker_stops_nobody(state: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    started = psutil.Process(done.pid).create_time()
    done.wait()
    leave_note(state, done.pid, started)
    with device_lock("cpu", run="mine") as held:
        held.uses(1)
        (note,) = state.glob("*.json")
        assert json.loads(note.read_text())["run"] == "mine"


def test_a_pid_that_was_given_to_another_process_stops_nobody(state: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER.format(seconds=60)]) as stranger:
        leave_note(state, stranger.pid, psutil.Process(stranger.pid).create_time() - 100)
        with device_lock("cpu", run="mine"):
            assert stranger.poll() is None
        stranger.kill()


def test_a_worker_that_is_about_to_end_is_waited_for(state: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER.format(seconds=0.5)]) as worker:
        leave_note(state, worker.pid, psutil.Process(worker.pid).create_time())
        assert worker.poll() is None
        with device_lock("cpu", run="mine"):
            assert worker.poll() is not None


def test_a_worker_that_does_not_end_is_named(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEFTOVER_S", 0.2)
    with subprocess.Popen([sys.executable, "-c", SLEEPER.format(seconds=60)]) as worker:
        leave_note(state, worker.pid, psutil.Process(worker.pid).create_time())
        with pytest.raises(MachineError) as raised, device_lock("cpu", run="mine"):
            pass
        worker.kill()
    assert f"worker {worker.pid} of the dead run the_dead is still running" in str(raised.value)
    assert f"kill -9 {worker.pid}" in str(raised.value)


@pytest.mark.parametrize("text", ["", "{half", "[]", '{"worker":"x"}'])
def test_a_note_that_cannot_be_read_stops_nobody(state: Path, text: str) -> None:
    with device_lock("cpu", run="mine") as held:
        held.uses(1)
        (note,) = state.glob("*.json")
    note.write_text(text)
    with device_lock("cpu", run="the next") as held:
        held.uses(1)
        assert json.loads(note.read_text())["run"] == "the next"
