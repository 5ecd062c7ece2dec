"""Which files of the subject a process has loaded: evidence of what was measured. Standard library only."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import entry_points

from llmbench.run.protocol import Source

HARNESS, KERNELS = "llmbench", "llmbench.kernels"
MAIN = ("__main__", "__mp_main__")  # the worker's own program, under the names of Python and of multiprocessing
INSTALLED = ("site-packages", "dist-packages")


def loaded_sources(folders: Sequence[str], packages: Sequence[str]) -> list[Source]:
    """The modules of `packages`, and those whose file lies below one of `folders`, by name.

    Of the harness only its kernels, where `packages` names them; what an environment within a folder has is no source.
    """
    return sorted(_found(folders, packages), key=lambda source: source.module)


def plugin_packages() -> list[str]:
    """The top-level names of the plugins that this environment has installed."""
    return [entry.value.partition(":")[0].partition(".")[0] for entry in entry_points(group="llmbench.plugins")]


def _found(folders: Sequence[str], packages: Sequence[str]) -> Iterator[Source]:
    below = tuple(os.path.realpath(folder) + os.sep for folder in folders)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not os.path.isabs(file) or name in MAIN:
            continue  # torch.ops says that its file is `_ops.py`
        real, top = os.path.realpath(file), name.partition(".")[0]
        if top == HARNESS:
            wanted = KERNELS in packages and f"{name}.".startswith(f"{KERNELS}.")
        else:
            wanted = top in packages or (real.startswith(below) and not _is_installed(real))
        if wanted:
            yield Source(name, real, digest_of(real))


def _is_installed(file: str) -> bool:
    return any(part in INSTALLED for part in file.split(os.sep)) or file.startswith(
        os.path.realpath(sys.prefix) + os.sep
    )


def digest_of(file: str) -> str:
    with suppress(OSError), open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    return ""
