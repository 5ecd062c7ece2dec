"""The command line for fixtures that outlive a test: a process of its own in a folder of its own."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from llmbench.cli import main

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


def quick_llmbench(folder: Path, *args: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """The same without its imports, which take a second: its process is forked from one that has them. Any exit code.

    For commands of the gate, of which some tests run many.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["llmbench.cli.gate", __name__])
    argv = [*map(str, args)]
    with TemporaryDirectory() as told:
        out, err = Path(told, "out"), Path(told, "err")
        process = context.Process(target=_main, args=(argv, folder, environment(folder, **more), (out, err)))
        process.start()
        process.join(300)
        process.kill()
        assert process.exitcode is not None and process.exitcode >= 0, f"{argv}: not done within 300 s, or killed"
        done = subprocess.CompletedProcess(argv, process.exitcode, out.read_text(), err.read_text())
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _main(argv: Sequence[str], folder: Path, env: Mapping[str, str], told: tuple[Path, Path]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for stream, path in enumerate(told, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.path.insert(0, str(folder))  # as `python -m` has it
    sys.argv = ["llmbench", *argv]
    main()
