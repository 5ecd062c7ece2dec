"""The worker's side of the paired gate: cases are kept ready, and timed a block at a time when the parent asks."""

import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import median

import torch
from torch import Tensor

from llmbench.machine.physics import impossible
from llmbench.machine.simulated import DEVICE
from llmbench.measure.cache import Cold
from llmbench.measure.clock import Call, Clock, Reading, clock_for
from llmbench.measure.collector import collector_off
from llmbench.measure.compiling import keep_compiled
from llmbench.measure.memory import free_memory_bytes
from llmbench.measure.sampler import Samples, Target, Turn
from llmbench.run.failure import failure
from llmbench.run.limits import limit_memory
from llmbench.run.paired.loaded import loaded_sources, plugin_packages
from llmbench.run.paired.turns import MOST_CALLS
from llmbench.run.prepared import Prepared, Problem
from llmbench.run.probes import observe
from llmbench.run.protocol import (
    Block,
    BlockDone,
    CaseReady,
    Found,
    Loaded,
    Message,
    Offer,
    Offered,
    Prepare,
    Release,
    Sources,
    Telemetry,
    Unit,
    Way,
)
from llmbench.run.targets import Cache, cold_plan, host_bound, in_graph, target_of
from llmbench.run.worker import Bench, clobbered, prepare_case, recheck
from llmbench.store.record import Record
from llmbench.suite.catalog import Catalog

WARM_CALLS = 5  # at least, after those of check and memory pass
WARM_S = 0.02  # at least, for short calls
MOST_WARM_CALLS = 10_000  # for those that take no time at all, as some on the simulated device
ROUNDING = 16  # units in the last place: what sums of the same numbers in another order may differ by


@dataclass
class Seat:
    """A case that is ready."""

    one: Prepared
    target: Target
    message: Prepare
    timer: str
    medians_s: list[float] = field(default_factory=list)  # of its blocks


class Keeper:
    """Answers the questions of the paired gate; `offer` makes the catalog."""

    def __init__(self, bench: Bench, offer: Callable[[], Catalog]) -> None:
        self.bench, self.offer = bench, offer
        self.clock: Clock = clock_for(bench.device_type)
        self.turn = Turn()
        self.seats: dict[str, Seat] = {}
        self.problems: dict[str, Problem] = {}
        self.process: str | None = None

    def answer(self, message: Message) -> None:
        """Emits one answer; what goes wrong with a case is a record."""
        if isinstance(message, Prepare):
            self.bench.emit(self._prepare(message))
        elif isinstance(message, Block):
            self.bench.emit(self._block(message))
        elif isinstance(message, Release):
            self.bench.emit(Found(self._release(message.case_id)))
        elif isinstance(message, Sources):
            packages = [*message.packages, *(plugin_packages() if message.installed else ())]
            self.bench.emit(Loaded(tuple(loaded_sources(message.folders, packages))))
        elif isinstance(message, Offer):
            self.bench.emit(Offered(self.offer()))
        self._tell()

    def _tell(self) -> None:
        _, note = self.bench.telemetry.drain()
        if note:
            self.bench.emit(Telemetry([], note))

    def _prepare(self, message: Prepare) -> CaseReady:
        if message.process != self.process:
            self._begin(message)
        limit_memory(message.measure.memory_limit, self.bench.device)
        case = message.case
        unit = Unit(case.point_id, message.number, (case,), message.measure, message.probes, message.seed)
        self.bench.ledger.enter("build")
        one = prepare_case(case, unit, self.bench, self.problems)
        if isinstance(one, Record):
            self._forget_problems()
            return CaseReady(one)
        try:
            seat, way = self._seat(one, message)
            self.bench.stage("warm-up", case.case_id)
            call_s, before_s = self._warm_up(seat.target)
            checksums = self._checksums(one) if message.probes else ()
        except Exception as e:
            one.problem.restore()
            self._forget_problems()
            return CaseReady(failure(one.record, e, self.bench.device))
        if message.probes and one.work is not None:
            observe(one, one.work.call, unit, device=self.bench.device, telemetry=self.bench.telemetry,
                    stage=self.bench.stage, emit=self.bench.emit)  # fmt: skip
        self.seats[case.case_id] = seat
        most = MOST_CALLS if seat.target.repeats else max(1, len(seat.target.ring) * seat.target.work)
        record = replace(one.record, config=one.config)
        return CaseReady(
            record, call_s, before_s, most, seat.timer, way, _problem_bytes(one.problem), _kept_bytes(one),
            free_memory_bytes(self.bench.device), checksums,
        )  # fmt: skip

    def _begin(self, message: Prepare) -> None:
        """A process begins: a fresh one, or on the simulated device one that is so in name."""
        self.seats.clear()
        self.problems.clear()
        self.process = message.process
        DEVICE.restart(f"{message.seed} {message.process}")
        if "torch._dynamo" in sys.modules:
            keep_compiled()
        if message.cores:
            with suppress(OSError, AttributeError):  # not Linux, or not ours to choose
                os.sched_setaffinity(0, message.cores)

    def _seat(self, one: Prepared, message: Prepare) -> tuple[Seat, Way]:
        """The case with its calls, timed in the way that was agreed, or as is best here."""
        bench, wanted = self.bench, message.way
        cache = Cache(message.measure.cache == "cold", bench.machine.llc_bytes, bench.flush)
        if wanted is None:
            cold = cold_plan([one], cache, bench.device)
        else:
            cold = Cold(wanted.clones, wanted.flush) if wanted.clones else None
        target = target_of(one, cold, cache, bench.device)
        flushed = target.before is not None and one.record.cold_by == "flush"
        graphed = False
        if wanted.in_graph if wanted else self._asks_for_graph(one, target):
            found = in_graph(target)
            if isinstance(found, str):
                bench.emit(Telemetry([], f"{one.case.label} is not timed as a CUDA graph: {found}"))
            else:
                target, graphed = found, True
        clones = 0 if cold is None else cold.clones if graphed else len(target.ring)
        way = Way(graphed, clones, flushed)
        return Seat(one, target, message, target.timer or self.clock.timer), way

    def _asks_for_graph(self, one: Prepared, target: Target) -> bool:
        able = one.impl.graphable and not one.impl.mutates and one.case.phase in ("infer", "fwd", "fwd_bwd")
        return self.clock.timer == "cuda_event" and able and host_bound(target, self.clock)

    def _warm_up(self, target: Target) -> tuple[float, float]:
        """Seconds of a call when it is warm, and of all that goes before it: the shortest."""
        start = self.clock.now()
        times: list[float] = []
        whole: list[float] = []
        wanted_s = max(self.clock.warm_up_s, WARM_S)
        while len(times) < WARM_CALLS or (len(times) < MOST_WARM_CALLS and self.clock.now() - start < wanted_s):
            since = self.clock.now()
            (reading,) = self.clock.block([self.turn.take(target.ring, 1)], before=target.before)
            whole.append(self.clock.now() - since)
            times.append(reading.time_s / target.work)
        return min(times), max(0.0, min(whole) - min(times) * target.work) if target.before else 0.0

    def _block(self, message: Block) -> BlockDone:
        seat = self.seats[message.case_id]
        target, bench = seat.target, self.bench
        bench.stage("time", message.case_id)
        calls = max(1, message.calls // target.work)
        samples = [self.turn.take(target.ring, calls) for _ in range(message.samples)]
        try:
            with collector_off():
                before = resource.getrusage(resource.RUSAGE_SELF)
                with bench.telemetry.sampling(bench.device.type == "cuda"):
                    readings = [r for run in self._runs(target, samples, calls) for r in run]
                after = resource.getrusage(resource.RUSAGE_SELF)
        except Exception as e:
            seat.one.problem.restore()
            record = failure(seat.one.record, e, bench.device)
            return BlockDone(message.case_id, [], [], [], record=record)
        times = [r.time_s / target.work for r in readings]
        seat.medians_s.append(median(times))
        return BlockDone(
            message.case_id, times, [r.t_ns for r in readings], self._flags(readings), calls * target.work,
            after.ru_minflt - before.ru_minflt, after.ru_nivcsw - before.ru_nivcsw,
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        )  # fmt: skip

    def _runs(self, target: Target, samples: list[Sequence[Call]], calls: int) -> Iterator[list[Reading]]:
        """Readings of the samples. On a CPU one flush, which takes 0.1 s and more, makes every input of the ring cold:
        it serves as many samples as the ring has calls for, each on inputs that nobody has touched since."""
        each = max(1, len(target.ring) // calls) if self.bench.device.type == "cpu" and target.before else 1
        if each == 1 or target.before is None:
            yield self.clock.block(samples, before=target.before)
            return
        for i in range(0, len(samples), each):
            target.before()
            yield self.clock.block(samples[i : i + each], before=None)

    def _flags(self, readings: list[Reading]) -> list[str]:
        """What the clock and NVML say of each sample."""
        told = self.bench.telemetry.of(
            Samples([r.time_s for r in readings], [r.t_ns for r in readings], calls=[r.calls for r in readings])
        )
        return [",".join(filter(None, pair)) for pair in zip((r.flag for r in readings), told.flags, strict=True)]

    def _release(self, case_id: str) -> Record:
        """The record of a case that was timed: right still, or how it is wrong."""
        seat = self.seats[case_id]
        one, bench = seat.one, self.bench
        bench.stage("recheck", case_id)
        try:
            why = clobbered(one, one.problem.shared_sets) or recheck(one)
        except Exception as e:
            one.problem.restore()
            record = failure(one.record, e, bench.device)
        else:
            if why is None and seat.medians_s:
                why = impossible(
                    median(seat.medians_s), flop=one.record.flop, traffic_bytes=one.record.bytes,
                    cold=one.case.cache == "cold", params=one.case.params, machine=bench.machine,
                )  # fmt: skip
            record = replace(one.record, status="wrong", why=f"after timing: {why}") if why else one.record
        one.work = None
        del self.seats[case_id]
        self._forget_problems()
        return record

    def _forget_problems(self) -> None:
        """Those that no case holds any more."""
        held = {id(seat.one.problem) for seat in self.seats.values()}
        self.problems = {key: problem for key, problem in self.problems.items() if id(problem) in held}

    def _checksums(self, one: Prepared) -> tuple[tuple[float, float, float], ...]:
        one.restore()
        assert one.work is not None
        return tuple(_checksums(one.work.call()))


def _checksums(outputs: tuple[Tensor, ...]) -> Iterator[tuple[float, float, float]]:
    """Mean and root mean square of each output, and how far rounding may move either."""
    for t in outputs:
        n = max(1, t.numel())
        flat = t.detach()
        mean = float(flat.sum(dtype=torch.float64)) / n
        size = (
            float(torch.linalg.vector_norm(flat, dtype=torch.float64)) / n**0.5 if t.is_floating_point() else abs(mean)
        )
        yield mean, size, ROUNDING * torch.finfo(t.dtype).eps * size if t.is_floating_point() else 0.0


def _problem_bytes(problem: Problem) -> float:
    """Bytes of inputs, their clones and what proves them, and of the oracle."""
    size = problem.size_bytes * (1 + len(problem.clones)) + sum(t.nbytes for t in problem.pristine)
    return float(size + sum(e.ref.nbytes for e in (*problem.expected, *problem.expected_of_others)))


def _kept_bytes(one: Prepared) -> float:
    """Bytes that the case itself holds between its calls: what a forward saved for the backward, a model's state."""
    peak = next((m.value for m in one.record.measurements if m.metric == "peak_memory"), 0.0)
    return peak if one.case.phase in ("bwd", "step") else 0.0
