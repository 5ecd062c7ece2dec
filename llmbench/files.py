"""Files that are there whole or not at all. Standard library only."""

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, sync: bool = False) -> None:
    """Writes a file beside its place and moves it there; where there is a link, to what it points to.

    `sync`: it is on disk when this returns. Raises: OSError, and then nothing is left.
    """
    partial = partial_of(path)
    try:
        with partial.open("wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            if sync:
                f.flush()
                os.fsync(f.fileno())
        os.replace(partial, os.path.realpath(path))
    except OSError as e:
        e.filename = e.filename or str(path)  # a disk that is full says no name
        raise
    finally:
        partial.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """Where this process writes a file before it is whole."""
    return Path(f"{os.path.realpath(path)}.{os.getpid()}.partial")
