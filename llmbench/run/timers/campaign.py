"""The parent of an audit of timers: a fresh process for each trial, in an order that lets drift hit all tools alike."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, NamedTuple

from llmbench.codec import from_plain
from llmbench.errors import MachineError, UsageError
from llmbench.machine import simulated
from llmbench.machine.fingerprint import Machine
from llmbench.run.code import code_of
from llmbench.run.describe import describe
from llmbench.run.load import load_note, load_now
from llmbench.run.local import worker_environment
from llmbench.run.lock import device_lock
from llmbench.run.protocol import START_S
from llmbench.run.timers.subjects import chosen, functions_for, tools_for
from llmbench.store.timers import TimerAudit, Trial, path_of, write_audit

SEED = 0
OVERRUN = 20  # budgets that a trial may take before it counts as hung: calibration, and a machine that is shared
SHOWN = 500  # characters of what a child said, where it died


@dataclass(frozen=True)
class Order:
    """What is asked for. `device` None: a GPU if there is one, else the CPU."""

    budget_s: float
    repetitions: int
    threads: int
    results: Path
    device: str | None = None
    only: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """The audit, where its trials are kept (None: there are none), and whether it was interrupted."""

    audit: TimerAudit
    path: Path | None
    interrupted: bool


class Progress(NamedTuple):
    """Who is told how it goes: how many trials there are and how long they may take (s), and each as it is done."""

    begins: Callable[[int, float], None]
    found: Callable[[Trial], None]


def run(order: Order, progress: Progress) -> Outcome:
    """Carries out the trials; the file is written anew after each, so that what was measured stays.

    Raises: UsageError for a device, function or tool that there is none of; MachineError when nothing can be timed.
    """
    device = describe(device=order.device).device
    if device.device == simulated.NAME:
        raise UsageError("--device simulated: a simulated device takes no time; wanted cpu or cuda")
    kind = device.device.partition(":")[0]
    functions, tools = chosen(order.only, functions_for(kind), tools_for(device.device))
    if all(tool.why_not for tool in tools):
        raise MachineError("; ".join(f"{tool.name}: {tool.why_not}" for tool in tools))
    load = load_note(load_now()) if kind == "cpu" else None
    with device_lock(device.device, uuid=device.uuid, run="audit timers"), TemporaryDirectory() as folder:
        children = _Children(device.device, order.threads, Path(folder))
        begin = monotonic()
        place = children.place()
        start_s = monotonic() - begin
        audit = TimerAudit(
            started=datetime.now(UTC).isoformat(timespec="seconds"), machine=from_plain(Machine, place["machine"]),
            versions=place["versions"], code=code_of((), Path.cwd()), budget_s=order.budget_s,
            repetitions=order.repetitions, threads=order.threads, seed=SEED, cycles_per_s=place["cycles_per_s"],
            functions=functions, tools=tools, notes=() if load is None else (load,),
        )  # fmt: skip
        progress.begins(len(order_of(audit)), len(order_of(audit)) * (start_s + order.budget_s))
        return _carry_out(audit, children, path_of(audit, order.results), progress)


def order_of(audit: TimerAudit) -> list[tuple[int, str, str]]:
    """Repetition, function and tool of each trial; functions, and the tools of each, are shuffled every time."""
    shuffled, found = Random(audit.seed), []
    functions = [f.name for f in audit.functions]
    tools = [t.name for t in audit.tools if t.why_not is None]
    for repetition in range(audit.repetitions):
        shuffled.shuffle(functions)
        for function in functions:
            shuffled.shuffle(tools)
            found += [(repetition, function, tool) for tool in tools]
    return found


def _carry_out(audit: TimerAudit, children: "_Children", path: Path, progress: Progress) -> Outcome:
    planned = order_of(audit)
    try:
        for done, (repetition, function, tool) in enumerate(planned, start=1):
            answer = children.trial(tool, function, audit)
            trial = from_plain(Trial, {"repetition": repetition, "function": function, "tool": tool, **answer})
            audit = replace(audit, trials=(*audit.trials, trial), complete=done == len(planned))
            write_audit(path, audit)
            progress.found(trial)
    except KeyboardInterrupt:
        return Outcome(audit, path if path.exists() else None, interrupted=True)
    return Outcome(audit, path, interrupted=False)


class _Children:
    """Starts the processes of an audit, one after the other."""

    def __init__(self, device: str, threads: int, folder: Path) -> None:
        self._common = ["--device", device, "--threads", str(threads)]
        self._folder = folder
        self._environment = worker_environment(device, threads=threads)

    def place(self) -> dict[str, Any]:
        """What trials run on. Raises: MachineError with what the process said."""
        answer = self._ask([], START_S)
        if "why" in answer:
            raise MachineError(f"no timer can be started: {answer['why']}")
        return answer

    def trial(self, tool: str, function: str, audit: TimerAudit) -> dict[str, Any]:
        """What a tool says of a function, or why it said nothing."""
        asked = ["--tool", tool, "--function", function, "--budget", repr(audit.budget_s)]
        if audit.cycles_per_s is not None:
            asked += ["--cycles-per-s", repr(audit.cycles_per_s)]
        return self._ask(asked, START_S + OVERRUN * audit.budget_s)

    def _ask(self, asked: list[str], limit_s: float) -> dict[str, Any]:
        with TemporaryDirectory(dir=self._folder) as folder:
            out, log = Path(folder, "answer.json"), Path(folder, "log")
            command = [sys.executable, "-P", "-m", "llmbench.run.timers.child", "--out", str(out)]
            with log.open("wb") as said:
                child = subprocess.Popen(
                    [*command, *self._common, *asked], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                    start_new_session=True, env=self._environment,
                )  # fmt: skip
            try:
                code = child.wait(limit_s)
            except subprocess.TimeoutExpired:
                return {"why": f"no answer within {limit_s:.0f} s"}
            finally:
                _end(child)
            try:
                answer: dict[str, Any] = json.loads(out.read_text())
                return answer
            except (OSError, ValueError):
                how = f"killed by signal {-code}" if code < 0 else f"exited with {code}"
                return {"why": f"{how}: {log.read_text(errors='replace').strip()[-SHOWN:]}"}


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ends a child that still runs, and all that it started."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
