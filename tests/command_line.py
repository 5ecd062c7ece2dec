"""The command line for fixtures that outlive a test: a process of its own in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = (sys.executable, "-m", "llmbench")


def outside() -> dict[str, str]:
    """The environment as a user has it: it is these tests that interpret Triton's kernels."""
    return {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """An environment with a device lock in `folder`; the cache of catalogs is shared, since it is slow to make.

    One thread: two tests with two OpenMP threads each on two cores wait for each other a hundred times as long.
    """
    own = {"XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return {**outside(), **own, **more}


def llmbench_in(folder: Path, *args: str | Path, rc: int = 0, **more: str) -> "subprocess.CompletedProcess[str]":
    """`llmbench ARGS` in `folder`, asserting the exit code and that nobody sees a traceback."""
    done = subprocess.run(
        [*PROGRAM, *map(str, args)], cwd=folder, env=environment(folder, **more), capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == rc, f"exit {done.returncode}, wanted {rc}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done
