"""Measured ceilings as the parent holds them: asked of a worker, kept by device key, read when a run begins."""

import json
import os
import platform
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from llmbench.codec import from_plain, to_plain
from llmbench.errors import MachineError
from llmbench.machine.ceilings import Ceilings
from llmbench.machine.paths import cache_dir, keep
from llmbench.run.ask import ask_worker
from llmbench.run.describe import describe
from llmbench.run.load import load_note, load_now
from llmbench.run.lock import device_lock

TIMEOUT_S = 300.0  # it takes some ten seconds on a CPU, half a minute on a GPU


def measure_ceilings(device: str | None = None, *, threads: int | None = None) -> Ceilings:
    """Measures the device (None: a GPU if there is one, else the CPU) in a worker and keeps what was found.

    `threads` of torch on a CPU; None leaves them to the environment.

    Raises: UsageError for an unknown device; MachineError when it is in use, or cannot be measured.
    """
    spec = describe(device=device).device
    with device_lock(spec.device, uuid=spec.uuid, run="doctor --ceilings") as lock:
        lock.uses(os.getpid())
        busy = load_note(load_now()) if spec.device == "cpu" else None
        answer = ask_worker("ceilings", device=spec.device, threads=threads, timeout_s=TIMEOUT_S)
    try:
        found = replace(from_plain(Ceilings, answer), busy=busy and busy.partition(":")[0])
    except ValueError as e:
        raise MachineError(f"the worker's ceilings cannot be read: {e}") from e
    with suppress(OSError):  # without a cache they are shown, and not recorded
        keep(_path(found.device_key), json.dumps(to_plain(found)))
    return found


def kept_ceilings(device_key: str) -> Ceilings | None:
    """What was measured on the device of that key; None if nothing was."""
    return _read(_path(device_key))


def ceilings_here(device: str | None = None, *, new: Ceilings | None = None) -> list[Ceilings]:
    """What was measured on this host, the newest of each device and number of threads; `device` chooses one.

    `new` was just measured, and may not be among what is kept.
    """
    found = [c for path in cache_dir().glob(_path("*").name) if (c := _read(path)) is not None]
    found = sorted([*found, *([new] if new else [])], key=lambda c: c.measured)
    here = {(c.device, c.device_name, c.threads): c for c in found if c.host == (platform.node() or None)}
    wanted = "cuda:0" if device == "cuda" else device
    return [c for c in here.values() if wanted in (None, c.device)]


def _path(device_key: str) -> Path:
    return cache_dir() / f"ceilings-{device_key}.json"


def _read(path: Path) -> Ceilings | None:
    try:
        return from_plain(Ceilings, json.loads(path.read_text()))
    except (OSError, ValueError):
        return None
