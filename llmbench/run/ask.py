"""A question to a worker, of this interpreter or another: a process that prints one JSON document and ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread

from llmbench.errors import MachineError, UsageError
from llmbench.run.local import worker_environment

SHOWN = 1500  # characters of what a worker wrote that are shown when it fails
PROGRESS = "progress: "  # how a line begins with which a worker says how far it is


def ask_worker(
    what: str, *arguments: str, device: str | None = None, threads: int | None = None, timeout_s: float | None = None,
    python: str = sys.executable, harness: Path | None = None, hear: Callable[[str], object] | None = None,
) -> object:  # fmt: skip
    """The document that `llmbench worker --<what>` prints for a device (None: a GPU if there is one, else the CPU).

    Raises: UsageError and MachineError as the worker reports them: unknown device, broken plugin, no torch;
    MachineError where it takes longer than `timeout_s`. `threads` of torch; None leaves them to the environment.
    `harness`: the folder that holds llmbench, None for this very one. `hear` is told how far the worker is.
    """
    command = [python, "-P", "-m", "llmbench.run.serve", f"--{what}", *arguments]
    command += ["--device", device] if device else []
    environment = worker_environment(device or "", threads=threads, harness=harness)
    try:
        done = _run(command, environment, timeout_s, hear)
    except subprocess.TimeoutExpired:
        raise MachineError(f"the worker did not answer --{what} within {timeout_s:g} s") from None
    said = done.stderr.strip()
    message = next((ln[10:] for ln in reversed(said.splitlines()) if ln.startswith("llmbench: ")), "")
    if done.returncode == UsageError.exit_code:
        raise UsageError(message or said)
    if done.returncode != 0:
        raise MachineError(message or f"the worker could not answer --{what} (exit {done.returncode}): {said[-SHOWN:]}")
    answer: object = json.loads(done.stdout)
    return answer


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float | None,
    hear: Callable[[str], object] | None,
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run`, but that lines of progress are told as they come, and are not part of what was said."""
    with (
        TemporaryFile() as answer,
        subprocess.Popen(
            command, stdout=answer, stderr=subprocess.PIPE, env=environment, start_new_session=True
        ) as child,
    ):
        said: list[str] = []

        def listen() -> None:
            assert child.stderr is not None
            for raw in child.stderr:
                line = raw.decode(errors="replace")
                if not line.startswith(PROGRESS):
                    said.append(line)
                elif hear is not None:
                    with suppress(OSError):  # nobody listens any more
                        hear(line.removeprefix(PROGRESS).strip())

        listener = Thread(target=listen, daemon=True)
        listener.start()
        try:
            child.wait(timeout_s)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and what it started, which may hold its stderr on and on
            listener.join()
        answer.seek(0)
        text = answer.read().decode(errors="replace")
    return subprocess.CompletedProcess(command, child.returncode, text, "".join(said))
