"""One run a device: a lock that is freed when its holder dies, and waits for what the dead left behind."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import psutil
from filelock import FileLock, Timeout
from platformdirs import user_state_path

from llmbench.errors import MachineError

LEFTOVER_S = 10.0  # a worker ends within five seconds of its parent; twice that is waited


class DeviceLock:
    """Held by a run; `uses(pid)` notes the worker that has the device now."""

    def __init__(self, note: Path, run: str) -> None:
        self._note, self._run = note, run

    def uses(self, pid: int) -> None:
        """Notes a worker's pid, so that a later run can see whether it is still there."""
        me = psutil.Process()
        body = {"run": self._run, "parent": me.pid, "worker": pid, "worker_started": _started(pid)}
        self._note.write_text(json.dumps(body))


@contextmanager
def device_lock(device: str, *, uuid: str = "", run: str) -> Iterator[DeviceLock]:
    """Holds the device's lock while the block runs; a GPU is known by its `uuid`, whatever its number is.

    Raises: MachineError naming the run that has it, at once when it is alive, after ten seconds when it is dead and its
    worker does not go.
    """
    folder = user_state_path("llmbench")
    name = uuid or f"{socket.gethostname()}-{device.replace(':', '-')}"
    note, lock = folder / f"{name}.json", FileLock(folder / f"{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        holder = _read(note)
        raise MachineError(
            f"device {device} is in use by the run {holder.get('run', 'of another process')} "
            f"(pid {holder.get('parent', 'unknown')}); wait for it, or choose another with --device"
        ) from None
    except OSError as e:
        raise MachineError(f"{folder}: the lock of device {device} cannot be made here: {e.strerror}") from e
    try:
        _wait_for_leftover(device, _read(note))
        yield DeviceLock(note, run)
        note.unlink(missing_ok=True)
    finally:
        lock.release()


def _wait_for_leftover(device: str, left: dict[str, object]) -> None:
    """Waits for the worker of a run that died while it held the lock."""
    pid = left.get("worker")
    if not isinstance(pid, int):
        return
    deadline = monotonic() + LEFTOVER_S
    while _started(pid) is not None and _started(pid) == left.get("worker_started"):
        if monotonic() > deadline:
            raise MachineError(
                f"device {device}: worker {pid} of the dead run {left.get('run')} is still running after "
                f"{LEFTOVER_S:.0f} s; end it with: kill -9 {pid}"
            )
        sleep(0.1)


def _started(pid: int) -> float | None:
    """When a process was started; None if there is none, or only its corpse."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _read(note: Path) -> dict[str, object]:
    try:
        body = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}
