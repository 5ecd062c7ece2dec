"""A worker process: the program behind `llmbench worker`, and what a run starts. Needs torch and the standard library.

llmbench worker --describe [--device D] [--plugin MODULE[:FUNCTION]]...   the catalog as JSON
llmbench worker --ceilings [--device D]                                   what the device reaches at best, as JSON
llmbench worker --predict FILE                                             memory and FLOP of a plan's cases, not run
llmbench worker --cases FILE --out FILE [--device D]                      measures a plan without a parent
"""

import argparse
import atexit
import ctypes
import faulthandler
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

try:
    import torch
except ImportError as missing:
    print(f"llmbench: {sys.executable} cannot import torch: {missing}; pip install 'llmbench[run]'", file=sys.stderr)
    sys.exit(3)

from llmbench.codec import from_plain, to_plain
from llmbench.errors import LlmbenchError, ProtocolError, UsageError
from llmbench.machine import simulated
from llmbench.machine.probe import describe_device, probe, versions
from llmbench.ops.registry import catalog, load_plugins
from llmbench.run.arguments import parse
from llmbench.run.ask import PROGRESS
from llmbench.run.ceiling_worker import reached
from llmbench.run.fork_server import forked
from llmbench.run.limits import total_memory_bytes
from llmbench.run.paired.keeper import Keeper
from llmbench.run.prediction import predictions
from llmbench.run.protocol import Found, Hello, Message, Stage, StageName, Unit, UnitDone, Watched, decode, encode
from llmbench.run.worker import measure_unit, open_bench

PLAN_SCHEMA = "llmbench.plan/1"
CATALOG_SCHEMA = "llmbench.catalog/1"
CEILINGS_SCHEMA = "llmbench.ceilings/1"
PREDICTIONS_SCHEMA = "llmbench.predictions/1"
PROGRESS_EVERY_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Say = Callable[[StageName, str | None], None]  # which stage of which case begins


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 2 for bad input, 3 when this machine cannot."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        if args.forks is not None:
            return _fork(args)
        if args.serve:
            return _serve(args)
        if args.describe:
            return _document(lambda: _describe(args))
        if args.ceilings:
            return _document(lambda: {"schema": CEILINGS_SCHEMA, **to_plain(reached(args.device))})
        if args.predict:
            return _document(lambda: _predict(args))
        if args.cases and args.out:
            return _cases(args)
        raise UsageError("llmbench worker: give --describe, --ceilings, --predict FILE, or --cases FILE --out FILE")
    except LlmbenchError as e:
        print(f"llmbench: {e}", file=sys.stderr)
        return e.exit_code


def _fork(args: argparse.Namespace) -> int:
    """In each worker that this server forks, serves its parent; returns at the server's own end."""
    faulthandler.enable()
    _die_with_parent()
    if not args.plugin:  # which may want to set what the compiler reads as it is imported
        import_module("torch._dynamo")  # as torch.optim and torch.utils.checkpoint do at their first call
    descriptors = forked(args.forks)
    code = 0
    if descriptors is not None:
        args.serve = ",".join(map(str, descriptors))
        code = _serve(args)
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as forks of multiprocessing end: to tear down what all share takes a second


def _serve(args: argparse.Namespace) -> int:
    """Serves a parent over two descriptors, until it closes its end or dies."""
    in_fd, out_fd = (int(fd) for fd in args.serve.split(","))
    faulthandler.enable()  # what a crash says in worker.log
    _die_with_parent()
    inbox: queue.Queue[Message | None] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_read_messages, args=(in_fd, inbox, busy), daemon=True).start()
    hello, answer = _open_bench(args, lambda message: _write(out_fd, encode(message)), _stage_writer(out_fd))
    _write(out_fd, encode(hello))
    while (message := inbox.get()) is not None:
        busy.set()
        answer(message)
        busy.clear()
    return 0


def _open_bench(
    args: argparse.Namespace, emit: Callable[[Message], None], stage: Say
) -> tuple[Hello, Callable[[Message], None]]:
    """Loads plugins and opens the device; what to say first, and the function that answers a message."""
    sys.path[:0] = args.first
    sys.path.extend(args.path)
    notes = load_plugins(args.plugin)
    spec = describe_device(args.device)
    device = torch.device("cpu" if spec.device == simulated.NAME else spec.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    machine = probe(spec.device)
    bench = open_bench(device, machine, emit, stage)  # before the memory limit: its buffers are the harness's

    keeper = Keeper(bench, lambda: catalog(spec, versions(), notes))

    def answer(message: Message) -> None:
        if isinstance(message, Unit):
            bench.watch.make(message)  # before the limit on memory, too
            measure_unit(message, bench)
        else:
            keeper.answer(message)

    hello = Hello(os.getpid(), machine, versions(), (*notes, *bench.telemetry.notes))
    bench.ledger.enter("idle")
    bench.ledger.take()  # until here the parent counts, as the start of a worker
    return hello, answer


def _stage_writer(out_fd: int) -> Say:
    """Says which stage of which case begins; the lines of the sampling loop are encoded once."""

    @lru_cache(maxsize=1024)
    def line(name: StageName, case_id: str | None) -> bytes:
        return encode(Stage(name, case_id))

    return lambda name, case_id: _write(out_fd, line(name, case_id))


def _read_messages(in_fd: int, inbox: "queue.Queue[Message | None]", busy: threading.Event) -> None:
    """What the parent asks. When it closes its end while that is done it died: then so does this whole group."""
    with os.fdopen(in_fd, "rb") as lines:
        for line in lines:
            inbox.put(decode(line))
    if busy.is_set():
        os.killpg(os.getpgid(0), signal.SIGKILL)
    inbox.put(None)


def _die_with_parent() -> None:
    """Asks Linux to kill this process when its parent dies, even while native code holds the interpreter."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGKILL)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _document(make: Callable[[], dict[str, Any]]) -> int:
    """Prints one JSON document. What imports print meanwhile goes to stderr."""
    out_fd = os.dup(1)
    os.dup2(2, 1)
    _write(out_fd, json.dumps(make()).encode() + b"\n")
    return 0


def _describe(args: argparse.Namespace) -> dict[str, Any]:
    sys.path.extend(args.path)
    notes = load_plugins(args.plugin)
    return {"schema": CATALOG_SCHEMA, **to_plain(catalog(describe_device(args.device), versions(), notes))}


def _predict(args: argparse.Namespace) -> dict[str, Any]:
    sys.path.extend(args.path)
    plan = _read_plan(Path(args.predict))
    load_plugins([*plan.get("plugins", []), *args.plugin])
    units = [from_plain(Unit, u) for u in plan["units"]]
    _take_threads(units)
    cases = {case_id: found._asdict() for case_id, found in predictions(units, tell=_progress()).items()}
    device = str(plan["device"])
    here = device == "cpu" or (device.startswith("cuda") and torch.cuda.is_available())
    has = total_memory_bytes(torch.device(device)) if here else None
    return {"schema": PREDICTIONS_SCHEMA, "device_memory_bytes": has, "cases": cases}


def _progress() -> Callable[[int, int], None]:
    """Says on stderr how far it is, now and then."""
    said_s = monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said_s
        if monotonic() - said_s >= PROGRESS_EVERY_S:
            said_s = monotonic()
            print(f"{PROGRESS}{done}/{total} cases", file=sys.stderr, flush=True)

    return tell


def _cases(args: argparse.Namespace) -> int:
    """Measures the units of a plan, each `process` of it in a fresh one; those that `--out` holds are left out."""
    plan = _read_plan(Path(args.cases))
    args.device = args.device or str(plan["device"])
    args.plugin = [*plan.get("plugins", []), *args.plugin]
    done = _done(Path(args.out))
    units = [u for u in (from_plain(Unit, u) for u in plan["units"]) if u.key not in done]
    _take_threads(units)
    if args.process is None and len({u.process for u in units}) > 1:
        return max(_in_fresh_process(process) for process in sorted({u.process for u in units}))
    with Path(args.out).open("ab", buffering=0) as file:

        def emit(message: Message) -> None:
            _write(file.fileno(), encode(message))
            if isinstance(message, Found | Watched | UnitDone):
                os.fsync(file.fileno())

        hello, measure = _open_bench(args, emit, lambda name, case_id: None)
        emit(hello)
        for unit in units:
            if args.process in (None, unit.process):
                measure(unit)
                print(f"llmbench: {unit.unit_id} process {unit.process} done", file=sys.stderr)
    return 0


def _take_threads(units: Sequence[Unit]) -> None:
    """What a parent does by the environment of its workers; all units of a plan ask for the same."""
    if threads := next((u.measure.threads for u in units), None):
        torch.set_num_threads(threads)


def _in_fresh_process(process: int) -> int:
    """The exit code of this very command, for one process of its plan; a death is told, and the next one goes on."""
    code = subprocess.run([*sys.orig_argv, "--process", str(process)], check=False).returncode
    if code < 0:
        print(f"llmbench: process {process} was killed by signal {-code}", file=sys.stderr)
    return abs(code)


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(path.read_text())
        if plan.get("schema") != PLAN_SCHEMA:
            seen = plan.get("schema")
            raise UsageError(
                f"{path}: schema {seen!r}, wanted {PLAN_SCHEMA!r}; make one with: llmbench plan SUITE --json"
            )
        for unit in plan["units"]:
            from_plain(Unit, unit)
        return plan
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise UsageError(f"{path}: no plan: {e}; make one with: llmbench plan SUITE --json") from e


def _done(out: Path) -> set[tuple[str, int]]:
    """Units that an earlier call finished; a half-written last line is cut off."""
    if not out.exists():
        return set()
    data = out.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with out.open("r+b") as file:
            file.truncate(len(whole))
    try:
        messages = [decode(line) for line in whole.splitlines()]
    except ProtocolError as e:
        raise UsageError(f"{out}: not a worker's output: {e}") from e
    return {(m.unit_id, m.process) for m in messages if isinstance(m, UnitDone)}


if __name__ == "__main__":
    sys.exit(main())
