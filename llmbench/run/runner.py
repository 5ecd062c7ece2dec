"""The runner: hands units to workers, journals what they find, and outlives whatever they die of."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from llmbench.run.fork_server import ForkServer, can_fork
from llmbench.run.journal import Journal
from llmbench.run.listener import Listener
from llmbench.run.local import LocalWorker, Program, WorkerDied
from llmbench.run.lock import DeviceLock
from llmbench.run.oom import KillCounter
from llmbench.run.plan import BLOCKS_OF_AN_ATTEMPT
from llmbench.run.protocol import REFERENCE, Found, Hello, Stage, Telemetry, Unit, UnitDone, Watched
from llmbench.store.record import Record, Status
from llmbench.store.sentinels import Look
from llmbench.suite.case import Case, needs_as_much
from llmbench.suite.suite import Suite

TICK_S = 0.25  # how often a silent worker's deadline is looked at


class Death(NamedTuple):
    """How a worker ended in the middle of a unit: the case that was on (None: the point as a whole), and why."""

    case_id: str | None
    status: Status
    why: str


def ran_out(record: Record) -> bool:
    """Whether the case itself ran out of memory, and not its reference: larger ones will too."""
    return record.status == "oom" and not (record.why or "").startswith(REFERENCE)


@dataclass
class Workers:
    """The worker of the moment: started when needed, in a fresh process for each `process` of the suite."""

    suite: Suite
    folder: Path
    plugin_path: Path
    lock: DeviceLock
    current: LocalWorker | None = None
    process: int = -1
    server: ForkServer | None = None
    since: float = 0.0  # when the first one was started
    startup_s: float = 0.0  # spent on starting and ending workers, not yet counted for a unit

    def start(self, process: int) -> tuple[LocalWorker, Hello]:
        """A new worker in place of the current one. Raises: MachineError when it does not come up."""
        self.stop()
        begin = monotonic()
        self.since = self.since or begin
        program = Program(
            device=self.suite.device, plugins=self.suite.plugins, plugin_path=self.plugin_path,
            log=self.folder / "worker.log", threads=self.suite.measure.threads,
        )  # fmt: skip
        self.current = LocalWorker(program, self._server(program, process))
        self.process = process
        self.lock.uses(self.current.pid)
        hello = self.current.hello()
        self.startup_s += monotonic() - begin
        return self.current, hello

    def _server(self, program: Program, process: int) -> ForkServer | None:
        """What forks the workers of a `process` of the suite, where each case has its own; None else.

        Each process of the suite has its server: so what lies where in memory is drawn anew, as it is everywhere.
        """
        if self.suite.isolation != "case" or not can_fork(self.suite.device):
            return None
        if self.server is None or self.process != process or not self.server.lives:
            self._end_server()
            self.server = ForkServer(program.start)
            self.lock.uses(self.server.pid)
        return self.server

    def _end_server(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def get(self, process: int) -> LocalWorker:
        """The worker of a process of the suite."""
        if self.current is not None and self.process == process:
            return self.current
        return self.start(process)[0]

    def stop(self) -> None:
        """Ends the current worker, if any."""
        if self.current is not None:
            begin = monotonic()
            self.current.stop()
            self.current = None
            self.startup_s += monotonic() - begin

    def drop(self) -> None:
        """Forgets a worker that is dead, or kills one that hangs."""
        if self.current is not None:
            self.current.kill()
            self.current = None

    def close(self) -> None:
        """Nothing of it is left: a worker that there is, is killed."""
        self.drop()
        self._end_server()


@dataclass
class Runner:
    """Runs units one after the other."""

    suite: Suite
    workers: Workers
    journal: Journal
    listener: Listener
    ledger_s: dict[str, float] = field(default_factory=dict)  # of the unit that is measured
    since: float = 0.0  # when the unit before it ended
    attempts: int = -1  # at this unit, from 0
    said: set[str] = field(default_factory=set)  # notes of workers: each once
    lost: list[Case] = field(default_factory=list)  # that ran out of memory

    def run(self, units: Sequence[Unit], *, until: float | None = None) -> bool:
        """Whether all units were measured; False when the monotonic time `until` came first."""
        self.since = self.workers.since or monotonic()
        for unit in units:
            if until is not None and monotonic() >= until:
                return False
            self._unit(unit)
        return True

    def _unit(self, unit: Unit) -> None:
        self.ledger_s, self.attempts = {}, -1
        for case in unit.cases:
            if case.skip is not None:
                self._found(unit, case, Record(case.case_id, unit.process, "skipped", why=case.skip))
        todo = [c for c in unit.cases if c.skip is None and not self._inferred(unit, c)]
        if self.suite.isolation == "case":
            for case in todo:
                self._apart(unit, case)
                self.workers.stop()
        elif todo:
            self._together(unit, todo)
        self._add({"import": self.workers.startup_s})
        self.workers.startup_s = 0.0
        now = monotonic()
        self.journal.unit(unit.key, now - self.since, self.ledger_s)
        self.since = now

    def _together(self, unit: Unit, todo: list[Case]) -> None:
        """Measures cases in one worker. If it dies, the suspect is run alone: guilty if it dies again, and the others
        go on together; if it survives, nobody is to blame for sure, and the others are run apart."""
        died_before = False
        while todo:
            left, death = self._attempt(unit, todo)
            if death is None:
                return
            suspect = next((c for c in left if c.case_id == death.case_id), None)
            if suspect is None:
                if died_before:
                    self._blame(unit, left, death)
                    return
                died_before = True
            elif death.status == "timeout" or len(todo) == 1:
                self._blame(unit, [suspect], death)
            elif self._apart(unit, suspect):
                for case in left:
                    if case is not suspect:
                        self._apart(unit, case)
                return
            todo = [c for c in left if c is not suspect]

    def _apart(self, unit: Unit, case: Case) -> bool:
        """Measures one case alone; whether the worker survived it."""
        left, death = self._attempt(unit, [case])
        if death is not None:
            self._blame(unit, left, death)
        return death is None

    def _blame(self, unit: Unit, cases: Sequence[Case], death: Death) -> None:
        for case in cases:
            self._found(unit, case, Record(case.case_id, unit.process, death.status, why=death.why))

    def _attempt(self, unit: Unit, cases: Sequence[Case]) -> tuple[list[Case], Death | None]:
        """Has one worker measure the cases; those without a record afterwards, and its death if it died."""
        self.attempts += 1
        waiting = {c.case_id: c for c in cases}
        stage, case_id = "inputs", None
        kills = KillCounter()
        worker = self.workers.get(unit.process)
        deadline = monotonic() + unit.measure.timeout_s
        try:
            first_block = unit.first_block + self.attempts * BLOCKS_OF_AN_ATTEMPT
            worker.send(replace(unit, cases=tuple(cases), first_block=first_block))
            while True:
                message = worker.receive(TICK_S)
                if message is not None:
                    deadline = monotonic() + unit.measure.timeout_s
                if isinstance(message, Stage):
                    stage, case_id = message.stage, message.case_id
                    self.listener.stage(stage, waiting.get(case_id or ""))
                elif isinstance(message, Found):
                    self._found(unit, waiting.pop(message.record.case_id), message.record)
                elif isinstance(message, Telemetry):
                    if message.rows:
                        self.journal.telemetry(unit.process, message.rows)
                    if message.note and message.note not in self.said:
                        self.said.add(message.note)
                        self.journal.note(message.note)
                        self.listener.note(message.note)
                elif isinstance(message, Watched):
                    self.journal.sentinels(Look(unit.process, message.unix_s, message.visits))
                elif isinstance(message, UnitDone):
                    self._add(message.ledger_s)
                    return list(waiting.values()), None
                elif monotonic() > deadline:
                    why = f"{stage} took longer than {unit.measure.timeout_s:g} s (measure.timeout_s)"
                    self.workers.drop()
                    return list(waiting.values()), Death(case_id, "timeout", why)
        except WorkerDied as e:
            self.workers.drop()
            status, reason = kills.explain(e)
            return list(waiting.values()), Death(case_id, status, f"{stage}: worker {reason}")

    def _inferred(self, unit: Unit, case: Case) -> bool:
        """Whether a case that is no larger ran out of memory before: then this one is not tried."""
        smaller = next((lost for lost in self.lost if needs_as_much(case, lost, self.suite.op.sizes)), None)
        if smaller is None:
            return False
        sizes = " ".join(f"{n}={smaller.params[n]}" for n in self.suite.op.sizes if n in smaller.params)
        why = f"a case that is no larger ran out of memory ({sizes})"
        self._found(unit, case, Record(case.case_id, unit.process, "inferred", why=why))
        return True

    def _found(self, unit: Unit, case: Case, record: Record) -> None:
        if ran_out(record):
            self.lost.append(case)
        self.journal.record(unit.key, record)
        self.listener.found(case, record)

    def _add(self, ledger_s: dict[str, float]) -> None:
        for stage, seconds in ledger_s.items():
            self.ledger_s[stage] = self.ledger_s.get(stage, 0.0) + seconds
