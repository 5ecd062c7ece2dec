"""The catalog of a worker's interpreter, asked for once and cached: the parent never imports torch."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from glob import glob
from importlib.metadata import distributions
from pathlib import Path

from llmbench.codec import from_plain, to_plain
from llmbench.machine.paths import cache_dir, keep
from llmbench.run.ask import ask_worker
from llmbench.run.code import source_files
from llmbench.suite.catalog import Catalog

KEPT = 32  # cached catalogs


def describe(*, device: str | None = None, plugins: Sequence[str] = (), plugin_path: Path | None = None) -> Catalog:
    """What this interpreter can measure on a device (None: a GPU if there is one, else the CPU).

    Raises: UsageError and MachineError as the worker reports them: unknown device, broken plugin, no torch.
    """
    path = plugin_path or Path.cwd()
    cached = cache_dir() / f"catalog-{_key(device, plugins, path)}.json"
    try:
        return from_plain(Catalog, json.loads(cached.read_text()))
    except (OSError, ValueError):
        named = [argument for plugin in plugins for argument in ("--plugin", plugin)]
        found = from_plain(Catalog, ask_worker("describe", "--path", str(path), *named, device=device))
    with suppress(OSError):  # without a cache it takes some seconds each time
        _keep(found, cached)
    return found


def _keep(found: Catalog, cached: Path) -> None:
    keep(cached, json.dumps(to_plain(found)))
    for old in sorted(cached.parent.glob("catalog-*.json"), key=lambda p: p.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)


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
