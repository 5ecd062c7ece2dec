"""Where llmbench keeps what it can make again. Parent only: platformdirs is not among the worker's needs."""

from pathlib import Path

import platformdirs

from llmbench.files import write_whole


def cache_dir() -> Path:
    """The folder of caches; not made."""
    return Path(platformdirs.user_cache_dir("llmbench"))


def keep(path: Path, text: str) -> None:
    """Writes a file of the cache, and makes the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
