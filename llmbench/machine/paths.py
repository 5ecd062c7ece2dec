"""Where llmbench keeps what it can make again. Parent only: platformdirs is not among the worker's needs."""

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The folder of caches; not made."""
    return Path(platformdirs.user_cache_dir("llmbench"))


def write_whole(path: Path, text: str) -> None:
    """Writes a file whole or not at all, and the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)
