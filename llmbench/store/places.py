"""Places where a store may lie: a folder, or what fsspec reaches by a URL. A file is there whole or not at all."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from llmbench.errors import LlmbenchError, MachineError, UsageError
from llmbench.files import write_whole

PARTIAL = ".partial"


class Place(Protocol):
    """Files by their names below a root, with `/` between folders."""

    @property
    def url(self) -> str:
        """How the user named it."""

    def is_there(self) -> bool:
        """Whether there is anything under that name, and be it an empty folder."""

    def names(self, under: str = "") -> list[str]:
        """Every file below that folder, sorted; none where there is no such folder."""

    def read(self, name: str) -> bytes:
        """A file, whole."""

    def write(self, name: str, content: bytes) -> None:
        """Writes a file that is not there yet."""


def place_of(url: str) -> Place:
    """The place of that name: a URL with a scheme, or else a folder, which need not be there.

    Raises: MachineError where fsspec, or what it needs for this scheme, is not installed; UsageError for an unknown
    scheme.
    """
    return Remote(url) if is_url(url) else Folder(url)


def is_url(name: str) -> bool:
    """Whether it has a scheme: `s3://bucket/baselines`."""
    return "://" in name


class Folder:
    """A folder on this machine."""

    def __init__(self, url: str) -> None:
        self.url, self._root = url, Path(url)

    def is_there(self) -> bool:
        """Raises: UsageError where nobody can look."""
        with _told(self.url, "read"):
            return self._root.is_dir()

    def names(self, under: str = "") -> list[str]:
        """Raises: UsageError where it cannot be read."""
        with _told(self.url, "read"):
            files = [p for p in (self._root / under).rglob("*") if p.is_file()]
        return sorted(p.relative_to(self._root).as_posix() for p in files if p.suffix != PARTIAL)

    def read(self, name: str) -> bytes:
        """Raises: UsageError where it cannot be read."""
        with _told(f"{self.url}/{name}", "read"):
            return (self._root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """On disk when this returns. Raises: UsageError where it cannot be written."""
        with _told(f"{self.url}/{name}", "written"):
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{uuid4().hex}{PARTIAL}")  # others may write the same file now
            write_whole(partial, content, sync=True)
            os.replace(partial, path)


class Remote:
    """What fsspec reaches: s3://, gs://, file://, memory:// and more. fsspec is imported here alone, as few need it."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            fsspec = importlib.import_module("fsspec.core")
        except ImportError:
            raise MachineError(
                f"{url}: a store at a URL needs fsspec, which is not installed; pip install 'llmbench[store]'"
            ) from None
        try:
            self._files, root = fsspec.url_to_fs(url)
        except ImportError as e:
            raise MachineError(f"{url}: {e}") from e
        except ValueError as e:
            raise UsageError(f"{url}: {e}") from e
        except Exception as e:  # of the library behind the scheme
            raise MachineError(f"{url}: cannot be opened: {e}") from e
        self._root: str = root.rstrip("/")

    def is_there(self) -> bool:
        """Raises: MachineError where it cannot be read."""
        with _reached(self.url, "read"):
            self._files.invalidate_cache()
            return bool(self._files.exists(self._root))

    def names(self, under: str = "") -> list[str]:
        """Raises: MachineError where it cannot be read."""
        with _reached(self.url, "read"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._path(under))
            except FileNotFoundError:
                found = []
        names = (name.removeprefix(self._root).lstrip("/") for name in found)
        return sorted(name for name in names if not name.endswith(PARTIAL))

    def read(self, name: str) -> bytes:
        """Raises: MachineError where it cannot be read."""
        with _reached(f"{self.url}/{name}", "read"):
            return bytes(self._files.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """In a transaction: nobody sees half of it. Raises: MachineError where it cannot be written."""
        path = self._path(name)
        with _reached(f"{self.url}/{name}", "written"):
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._files.transaction, self._files.open(path, "wb") as file:
                file.write(content)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


@contextmanager
def _told(what: str, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise UsageError(f"{what}: cannot be {done}: {e.strerror or e}") from e


@contextmanager
def _reached(what: str, done: str) -> Iterator[None]:
    try:
        yield
    except LlmbenchError:
        raise
    except Exception as e:  # each library behind fsspec has its own
        raise MachineError(f"{what}: cannot be {done}: {e or type(e).__name__}") from e
