"""Files that commands write: tried before anything is printed, then there whole or not at all."""

import errno
import os
from io import RawIOBase
from pathlib import Path

from llmbench.errors import UsageError
from llmbench.files import partial_of, write_whole


def check_file(option: str, path: Path) -> None:
    """Tries to write beside `path`. Raises: UsageError naming the option, when `save` could not write there."""
    try:
        if path.is_dir():
            raise _os_error(errno.EISDIR)
        if _is_device(path):
            if not os.access(path, os.W_OK):
                raise _os_error(errno.EACCES)
        else:
            _try_beside(path)
    except OSError as e:
        raise _refusal(option, path, e) from e


def check_folder(option: str, folder: Path) -> None:
    """Makes the folder where it is missing. Raises: UsageError naming the option, when nothing can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_beside(folder / "file")
    except OSError as e:
        raise _refusal(option, folder, e) from e


def save(option: str, path: Path, content: str | bytes) -> None:
    """The whole file or none of it; where there is a link, what it points to. Raises: UsageError naming the option."""
    try:
        if _is_device(path):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            return
        write_whole(path, content)
    except OSError as e:
        raise _refusal(option, path, e) from e


def check_append(option: str, path: Path) -> None:
    """Tries to open the file for more. Raises: UsageError naming the option, when `append` could not write there."""
    new = not path.exists()
    try:
        path.open("ab").close()
        if new:
            path.unlink()
    except OSError as e:
        raise _refusal(option, path, e) from e


def append(option: str, path: Path, content: str) -> None:
    """Adds the whole text to the file or none of it, in one write, so that it comes between no other's lines.

    Raises: UsageError naming the option.
    """
    try:
        with path.open("ab", buffering=0) as f:
            before = os.fstat(f.fileno()).st_size
            try:
                _write_all(f, content.encode())
            except OSError:
                if path.is_file():
                    f.truncate(before)
                raise
    except OSError as e:
        raise _refusal(option, path, e) from e


def _write_all(file: RawIOBase, data: bytes) -> None:
    """A raw file may take less than it is given, as a full disk does just before it fails."""
    while data:
        data = data[file.write(data) or 0 :]


def _is_device(path: Path) -> bool:
    """Whether it is `/dev/stdout`, a pipe or the like, which no file may take the place of."""
    return path.exists() and not path.is_file()


def _try_beside(path: Path) -> None:
    partial = partial_of(path)
    partial.touch()
    partial.unlink()


def _os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _refusal(option: str, path: Path, error: OSError) -> UsageError:
    return UsageError(f"{option} {path}: cannot be written: {error.strerror}")
