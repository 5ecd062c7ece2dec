"""A question to a worker, of this interpreter or another: a process that prints one JSON document and ends."""

import json
import subprocess
import sys
from pathlib import Path

from llmbench.errors import MachineError, UsageError
from llmbench.run.local import worker_environment

SHOWN = 1500  # characters of what a worker wrote that are shown when it fails


def ask_worker(
    what: str, *arguments: str, device: str | None = None, threads: int | None = None, timeout_s: float | None = None,
    python: str = sys.executable, harness: Path | None = None,
) -> object:  # fmt: skip
    """The document that `llmbench worker --<what>` prints for a device (None: a GPU if there is one, else the CPU).

    Raises: UsageError and MachineError as the worker reports them: unknown device, broken plugin, no torch;
    MachineError where it takes longer than `timeout_s`. `threads` of torch; None leaves them to the environment.
    `harness`: the folder that holds llmbench, None for this very one.
    """
    command = [python, "-P", "-m", "llmbench.run.serve", f"--{what}", *arguments]
    command += ["--device", device] if device else []
    environment = worker_environment(device or "", threads=threads, harness=harness)
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout_s)
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
