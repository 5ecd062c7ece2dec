"""The catalog of a worker's interpreter, asked for once and cached: the parent never imports torch."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from glob import glob
from importlib.metadata import distributions
from pathlib import Path

from platformdirs import user_cache_path

from llmbench.codec import from_plain, to_plain
from llmbench.errors import MachineError, UsageError
from llmbench.run.code import source_files
from llmbench.run.local import worker_environment
from llmbench.suite.catalog import Catalog

KEPT = 32  # cached catalogs


def describe(*, device: str | None = None, plugins: Sequence[str] = (), plugin_path: Path | None = None) -> Catalog:
    """What this interpreter can measure on a device (None: a GPU if there is one, else the CPU).

    Raises: UsageError and MachineError as the worker reports them: unknown device, broken plugin, no torch.
    """
    path = plugin_path or Path.cwd()
    cached = user_cache_path("llmbench") / f"catalog-{_key(device, plugins, path)}.json"
    try:
        return from_plain(Catalog, json.loads(cached.read_text()))
    except (OSError, ValueError):
        found = _ask_worker(device, plugins, path)
    with suppress(OSError):  # without a cache it takes some seconds each time
        _keep(found, cached)
    return found


def _keep(found: Catalog, cached: Path) -> None:
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial = cached.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(to_plain(found)))
    partial.replace(cached)
    for old in sorted(cached.parent.glob("catalog-*.json"), key=lambda p: p.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)


def _ask_worker(device: str | None, plugins: Sequence[str], path: Path) -> Catalog:
    command = [sys.executable, "-P", "-m", "llmbench.run.serve", "--describe", "--path", str(path)]
    command += ["--device", device] if device else []
    command += [arg for plugin in plugins for arg in ("--plugin", plugin)]
    done = subprocess.run(command, capture_output=True, text=True, env=worker_environment(device or ""))
    said = done.stderr.strip()
    message = next((ln[10:] for ln in reversed(said.splitlines()) if ln.startswith("llmbench: ")), "")
    if done.returncode == UsageError.exit_code:
        raise UsageError(message or said)
    if done.returncode != 0:
        raise MachineError(message or f"the worker could not describe itself (exit {done.returncode}): {said[-1500:]}")
    return from_plain(Catalog, json.loads(done.stdout))


def _key(device: str | None, plugins: Sequence[str], path: Path) -> str:
    """Changes with whatever the catalog depends on: interpreter, distributions, sources, compilers, GPUs."""
    stamps = []
    for file in sorted(set(source_files(plugins, path))):
        stat = file.stat()
        stamps.append((str(file), stat.st_mtime_ns, stat.st_size))
    parts = [
        sys.executable, sys.version, device, list(plugins), str(path) if plugins else None, stamps,
        sorted(f"{d.name} {d.version}" for d in distributions()),
        sorted(glob("/dev/nvidia*")), shutil.which("g++"), shutil.which("clang++"),
        [os.environ.get(k) for k in ("CXX", "CUDA_VISIBLE_DEVICES", "PYTHONPATH", "TRITON_INTERPRET")],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
