"""Where llmbench keeps what it can make again. Parent only: platformdirs is not among the worker's needs."""

from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The folder of caches; not made."""
    return Path(platformdirs.user_cache_dir("llmbench"))
