"""The folder of a gate's trees: gone when the gate ends, and when it was killed, before the next one begins."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from filelock import FileLock, Timeout

from llmbench.run.paired.repository import PREFIX

LOCK = "alive.lock"  # held by the gate whose folder it is
YOUNG_S = 60.0  # a folder may be without its lock for a moment after it was made


@contextmanager
def gate_folder() -> Iterator[Path]:
    """A folder in the system's temporary one while the block runs; what killed gates of this user left is taken away.

    Their worktrees are then forgotten by the next tree of their repository, see `Repository.tree`.
    """
    for path in Path(gettempdir()).glob(f"{PREFIX}*"):
        if _is_left(path):
            shutil.rmtree(path, ignore_errors=True)
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name, FileLock(Path(name) / LOCK):
        yield Path(name)


def _is_left(path: Path) -> bool:
    """Whether it is the folder of a gate of this user that does not live any more."""
    with suppress(OSError, Timeout):
        seen = path.stat()
        if seen.st_uid == os.getuid() and time.time() - seen.st_mtime > YOUNG_S and (path / LOCK).is_file():
            with FileLock(path / LOCK, timeout=0):
                return True
    return False
