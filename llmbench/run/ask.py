"""A question to a worker, of this interpreter or another: a process that prints one JSON document and ends."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        answers: list[str] = []
        said: list[str] = []

        def read() -> None:
            assert child.stdout is not None
            answers.append(child.stdout.read())

        def listen() -> None:
            assert child.stderr is not None
            for line in child.stderr:
                if not line.startswith(PROGRESS):
                    said.append(line)
                elif hear is not None:
                    hear(line.removeprefix(PROGRESS).strip())

        readers = [Thread(target=read), Thread(target=listen)]
        for reader in readers:
            reader.start()
        try:
            child.wait(timeout_s)
        except BaseException:
            child.kill()
            raise
        finally:
            for reader in readers:
                reader.join()
    return subprocess.CompletedProcess(command, child.returncode, "".join(answers), "".join(said))
