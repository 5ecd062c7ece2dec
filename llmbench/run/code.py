"""Which code is measured: the commit of the working directory, and the sources of llmbench and of the plugins."""

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import llmbench
from llmbench.store.runs import Code


def code_of(plugins: Sequence[str], plugin_path: Path) -> Code:
    """The code that a run in this directory measures."""
    commit = _git("rev-parse", "HEAD")
    dirty = bool(commit and _git("status", "--porcelain", "--untracked-files=no"))
    return Code(commit, dirty, source_hash(plugins, plugin_path))


def source_hash(plugins: Sequence[str], plugin_path: Path) -> str:
    """Forty hexadecimal digits over the contents of every Python file of llmbench and of the plugins."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path in sorted(source_files(plugins, plugin_path)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def source_files(plugins: Sequence[str], plugin_path: Path) -> Iterable[Path]:
    """Every Python file of llmbench and of the packages that the plugins live in."""
    yield from Path(llmbench.__file__).parent.rglob("*.py")
    installed = {entry.value for entry in entry_points(group="llmbench.plugins")}
    for plugin in sorted({*plugins, *installed}):
        yield from _package_files(plugin.partition(":")[0].partition(".")[0], plugin_path)


def _package_files(package: str, plugin_path: Path) -> Iterable[Path]:
    """The files of a top-level package or module, found without importing it."""
    sys.path.append(str(plugin_path))
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return
    finally:
        sys.path.remove(str(plugin_path))
    if spec is None:
        return
    for folder in spec.submodule_search_locations or []:
        yield from Path(folder).rglob("*.py")
    if spec.origin and not spec.submodule_search_locations and spec.origin.endswith(".py"):
        yield Path(spec.origin)


def _git(*args: str) -> str | None:
    try:
        command = ["git", "--no-optional-locks", *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
