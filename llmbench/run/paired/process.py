"""A process of one side, as the gate holds it: a question goes out, one answer comes back, or it is dead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from time import monotonic
from typing import NamedTuple, TypeVar

from llmbench.errors import MachineError, UsageError
from llmbench.machine.simulated import NAME as SIMULATED
from llmbench.run.local import LocalWorker, Program, WorkerDied
from llmbench.run.lock import DeviceLock
from llmbench.run.oom import KillCounter
from llmbench.run.paired.subject import Side, Sides
from llmbench.run.paired.turns import SIDES
from llmbench.run.protocol import START_S, Hello, Message, Stage, Telemetry
from llmbench.store.record import SideName, Status

FIRST_START_S = 600.0  # of a side: its extensions of C++ and CUDA are built then, where it builds them on import
TICK_S = 0.25  # how often a silent worker's deadline is looked at
PLUGIN = "plugin "  # how a worker begins to say that the subject does not import

Answer = TypeVar("Answer", bound=Message)


class SideBroken(Exception):  # noqa: N818  (an event that the gate handles)
    """The code of a side, or of both, does not import: nothing of it can be measured."""

    def __init__(self, why: Mapping[SideName, str]) -> None:
        self.why = dict(why)
        super().__init__("; ".join(f"{side}: {text}" for side, text in why.items()))


class NotStarted(Exception):  # noqa: N818  (an event that the gate handles)
    """A process of a side did not come up, twice, and not for what its code says: the machine's doing."""

    def __init__(self, side: SideName, why: str) -> None:
        self.side, self.why = side, why
        super().__init__(why)


class Died(Exception):  # noqa: N818  (an event that the gate handles)
    """A process ended while it was asked something, or took too long."""

    def __init__(self, side: SideName, number: int, status: Status, why: str) -> None:
        self.side, self.number, self.status, self.why = side, number, status, why
        super().__init__(why)


@dataclass
class Process:
    """One that is up. `name` is its number and its side, `base 3`."""

    side: SideName
    number: int
    name: str
    worker: LocalWorker
    hello: Hello
    note: Callable[[str], None]
    kills: KillCounter = field(default_factory=KillCounter)

    def ask(self, message: Message, answer: type[Answer], *, timeout_s: float) -> Answer:
        """The answer to a question. Raises: Died."""
        self.tell(message)
        return self.hear(answer, timeout_s=timeout_s)

    def tell(self, message: Message) -> None:
        """Sends a question, whose answer is heard later. Raises: Died."""
        try:
            self.worker.send(message)
        except WorkerDied as e:
            raise self._died(e, "idle") from None

    def hear(self, answer: type[Answer], *, timeout_s: float) -> Answer:
        """Waits for an answer; each stage that begins has `timeout_s` seconds. Raises: Died."""
        stage, deadline = "start", monotonic() + timeout_s
        try:
            while True:
                message = self.worker.receive(TICK_S)
                if isinstance(message, answer):
                    return message
                if isinstance(message, Stage):
                    stage = message.stage
                if isinstance(message, Telemetry) and message.note:
                    self.note(message.note)
                if message is not None:
                    deadline = monotonic() + timeout_s
                elif monotonic() > deadline:
                    self.worker.kill()
                    why = f"{stage} took longer than {timeout_s:g} s (measure.timeout_s)"
                    raise Died(self.side, self.number, "timeout", why)
        except WorkerDied as e:
            raise self._died(e, stage) from None

    def _died(self, death: WorkerDied, stage: str) -> Died:
        status, reason = self.kills.explain(death)
        return Died(self.side, self.number, status, f"{stage}: worker {reason}")


class Pair(NamedTuple):
    """A process of each side."""

    base: Process
    head: Process

    def of(self, side: SideName) -> Process:
        """That of a side."""
        return self.base if side == "base" else self.head


@dataclass
class Crew:
    """Starts and ends the processes of both sides. On the simulated device one a side is enough: nothing there depends
    on the process but what it draws, and that begins anew with each name.

    Code that does not import does not at a side's first start. Any later failure to start, and one by SIGKILL, which
    the kernel sends where memory is short, is nothing that the code says: one more try, then it is the machine's.
    """

    sides: Sides
    device: str
    plugins: Sequence[str]
    folder: Path  # of the logs
    threads: int | None
    lock: DeviceLock
    note: Callable[[str], None]
    up: list[Process] = field(default_factory=list)
    kept: dict[SideName, Process] = field(default_factory=dict)
    greeted: set[SideName] = field(default_factory=set)  # sides of which a process came up
    started: int = 0
    start_s: float = 0.0  # seconds that the last start took

    def pair(self, first: SideName = "base") -> Pair:
        """A fresh process of each side, `first` started first. Raises: SideBroken, NotStarted; MachineError."""
        order = SIDES if first == "base" else SIDES[::-1]
        found = self._start(order)
        return Pair(found["base"], found["head"])

    def one(self, side: SideName) -> Process:
        """A fresh process of one side. Raises: SideBroken, NotStarted; MachineError."""
        return self._start((side,))[side]

    def end(self, *processes: Process) -> None:
        """Lets processes end."""
        for process in processes:
            if process in self.up:
                self.up.remove(process)
                if self.device == SIMULATED:
                    self.kept[process.side] = process
                else:
                    process.worker.stop()

    def drop(self) -> None:
        """Kills whatever is up."""
        for process in [*self.up, *self.kept.values()]:
            process.worker.kill()
        self.up.clear()
        self.kept.clear()

    def forget(self, process: Process) -> None:
        """Kills a process that is dead or of no more use."""
        process.worker.kill()
        if process in self.up:
            self.up.remove(process)

    def _start(self, order: Sequence[SideName]) -> Mapping[SideName, Process]:
        begin, number = monotonic(), self.started
        self.started += 1
        waiting: dict[SideName, LocalWorker] = {}
        found: dict[SideName, Process] = {}
        broken: dict[SideName, str] = {}
        try:
            for side in order:
                old = self.kept.pop(side, None)
                if old is None:
                    waiting[side] = self._worker(self.sides.of(side))
                else:
                    found[side] = Process(side, number, f"{side} {number}", old.worker, old.hello, self.note)
            for side in list(waiting):
                hello = self._hello(side, waiting)
                if isinstance(hello, str):
                    broken[side] = hello
                else:
                    self.greeted.add(side)
                    found[side] = Process(side, number, f"{side} {number}", waiting[side], hello, self.note)
            if broken:
                raise SideBroken(broken)
        except BaseException:
            for worker in [*waiting.values(), *(p.worker for p in found.values())]:
                worker.kill()
            raise
        self.up += found.values()
        self.start_s = monotonic() - begin
        return found

    def _hello(self, side: SideName, waiting: dict[SideName, LocalWorker]) -> Hello | str:
        """The first message of a worker, or of the one that takes its place; or why the code does not import."""
        kills = KillCounter()
        first = _greeting(side, waiting[side], known=side in self.greeted)
        if not isinstance(first, WorkerDied | MachineError):
            return first
        self.note(f"{side}: a process did not start ({_reason(first, kills)}): another one was started in its place")
        waiting[side].kill()
        waiting[side] = self._worker(self.sides.of(side))
        again = _greeting(side, waiting[side], known=side in self.greeted)
        if isinstance(again, WorkerDied | MachineError):
            raise NotStarted(side, f"{_reason(again, kills)}, in two tries")
        return again

    def _worker(self, side: Side) -> LocalWorker:
        try:
            program = Program(
                device=self.device, plugins=self.plugins, plugin_path=side.plugin_path,
                log=self.folder / f"{side.name}.log", threads=self.threads, python=side.python, first=side.first,
                harness=side.harness, more={"TORCH_EXTENSIONS_DIR": str(side.extensions)},
            )  # fmt: skip
            worker = LocalWorker(program)
        except OSError as e:
            raise MachineError(f"{side.python}: cannot be started: {e.strerror}") from e
        self.lock.uses(worker.pid)
        return worker


def _greeting(side: SideName, worker: LocalWorker, *, known: bool) -> Hello | str | WorkerDied | MachineError:
    """The first message of a worker, or why its code does not import; its death where that is none of the code's doing,
    as it is not where another process of this side came up before (`known`). Raises: MachineError; UsageError."""
    try:
        return worker.greeting(within_s=START_S if known else FIRST_START_S)
    except MachineError as e:  # it took too long
        if known:
            return e
        raise
    except WorkerDied as e:
        if known or e.signal == SIGKILL:
            return e
        last = _last_words(e)
        if e.exit_code == MachineError.exit_code:
            raise MachineError(f"{side}: {last}") from None
        if e.exit_code == UsageError.exit_code and not last.startswith(PLUGIN):
            raise UsageError(last) from None
        return last


def _last_words(death: WorkerDied) -> str:
    said = [line[10:] for line in death.log.splitlines() if line.startswith("llmbench: ")]
    lines = (line.strip() for line in reversed(death.log.splitlines()))
    return said[-1] if said else next((line for line in lines if line), death.reason)


def _reason(failure: WorkerDied | MachineError, kills: KillCounter) -> str:
    return kills.explain(failure)[1] if isinstance(failure, WorkerDied) else str(failure)
