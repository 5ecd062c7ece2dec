"""The worker's heart, where ops and measuring meet: a unit goes in, records come out.

Order of things for each case: build, check against the oracle, peak memory; then all survivors are timed together in
interleaved blocks; then each is checked once more. Nothing gets a time that was not right before and after.
"""

import json
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor

from llmbench.machine.fingerprint import Machine
from llmbench.machine.physics import impossible
from llmbench.machine.simulated import DEVICE
from llmbench.measure.cache import flusher
from llmbench.measure.check import changed, judge, poison, remembered
from llmbench.measure.clock import clock_for
from llmbench.measure.compiling import forget_compiled, why_eager
from llmbench.measure.memory import free_memory_bytes, peak_memory
from llmbench.measure.sampler import Samples, sample
from llmbench.ops.registry import OPS, why_unknown
from llmbench.ops.work import floating
from llmbench.orderstat import median_interval
from llmbench.run.compiled import compiled_so_far
from llmbench.run.failure import failure
from llmbench.run.ledger import Ledger
from llmbench.run.limits import limit_memory
from llmbench.run.prediction import predicted, why_too_large
from llmbench.run.prepared import Prepared, Problem, make_problem, prepare
from llmbench.run.probes import observe
from llmbench.run.protocol import REFERENCE, Found, Message, StageName, Unit, UnitDone
from llmbench.run.protocol import Telemetry as Rows
from llmbench.run.targets import Cache, cold_plan, in_graphs, target_of
from llmbench.run.telemetry import Telemetry
from llmbench.run.watch import Watch
from llmbench.store.record import Check, Measurement, Record
from llmbench.suite.case import Case

FITS = 0.7  # of the free memory: what survivors may need together to be interleaved


@dataclass
class Bench:
    """What a worker measures with."""

    device: torch.device
    machine: Machine
    emit: Callable[[Message], None]
    stage: Callable[[StageName, str | None], None]
    ledger: Ledger
    telemetry: Telemetry
    flush: Callable[[], object]  # makes the cache cold
    watch: Watch  # of the sentinels

    @property
    def device_type(self) -> str:
        """cpu, cuda or simulated; the last one's tensors are on torch's cpu."""
        return _type_of(self.machine)


def open_bench(
    device: torch.device,
    machine: Machine,
    emit: Callable[[Message], None],
    say: Callable[[StageName, str | None], None],
) -> Bench:
    """The bench of a device; `emit` takes messages, `say` hears which stage of which case begins."""
    ledger = Ledger()

    def stage(name: StageName, case_id: str | None) -> None:
        ledger.enter(name)
        say(name, case_id)

    flush = flusher(device=device, llc_bytes=machine.llc_bytes)
    watch = Watch(device, _type_of(machine), emit, stage)
    return Bench(device, machine, emit, stage, ledger, Telemetry(device), flush, watch)


def measure_unit(unit: Unit, bench: Bench) -> None:
    """Emits one `Found` for each case of the unit, the telemetry that was taken, then `UnitDone`; around them what the
    sentinels took, where it is time to look."""
    start = perf_counter()
    bench.watch.before(unit)
    bench.ledger.enter("build")
    DEVICE.restart(f"{unit.seed} {unit.unit_id} {unit.process}")
    if "torch._dynamo" in sys.modules or any(OPS[c.op].impls[c.impl].compiled for c in unit.cases):
        forget_compiled()
    with bench.telemetry.sampling("power" in unit.probes):
        _measure_cases(unit, bench)
    rows, note = bench.telemetry.drain()
    if rows or note:
        bench.emit(Rows(rows, note))
    bench.watch.after(unit)
    bench.ledger.enter("idle")
    bench.emit(UnitDone(unit.unit_id, unit.process, perf_counter() - start, bench.ledger.take()))


def _measure_cases(unit: Unit, bench: Bench) -> None:
    problems: dict[str, Problem] = {}
    survivors: list[Prepared] = []
    for case in unit.cases:
        outcome = prepare_case(case, unit, bench, problems)
        if isinstance(outcome, Record):
            bench.emit(Found(outcome))
        else:
            survivors.append(outcome)
    problems.clear()
    if unit.measure.order == "interleaved" and len(survivors) > 1 and _fit_together(survivors, bench.device):
        _time(survivors, unit, bench, order="interleaved")
    else:
        for one in survivors:
            _time([one], unit, bench, order="apart")


def prepare_case(case: Case, unit: Unit, bench: Bench, problems: dict[str, Problem]) -> Prepared | Record:
    """Build, check and memory of one case, alone; a record if it ends here."""
    if (reason := why_unknown(case)) is not None:
        return Record(case.case_id, unit.process, "unavailable", why=reason)
    op = OPS[case.op]
    impl = op.impls[case.impl]
    record = Record(case.case_id, unit.process, "ok", impl_hash=impl.source_hash)
    if case.skip is not None:
        return replace(record, status="skipped", why=case.skip)
    reason = impl.why_unavailable(case.phase, device_type=bench.device_type) or (why_eager() if impl.compiled else None)
    if reason is not None:
        return replace(record, status="unavailable", why=reason)
    limit, foreseen = unit.measure.memory_limit, predicted(case, op, impl)
    reason = None if unit.ignore_prediction else why_too_large(foreseen, bench.device, limit_bytes=limit)
    if reason is not None:
        return replace(record, status="skipped", why=reason)
    if foreseen.memory_bytes is not None:
        record = replace(record, measurements=[Measurement("predicted_peak_memory", foreseen.memory_bytes)])
    limit_memory(limit, bench.device)  # from here on: to foresee takes memory that is not the case's
    key = json.dumps([case.phase, case.params], sort_keys=True)
    try:
        if key not in problems:
            problems[key] = make_problem(op, case, seed=unit.seed, device=bench.device, say=bench.stage)
        cost = op.cost(problems[key].p, case.phase)
        record = replace(record, flop=cost.flop, bytes=cost.bytes, tokens=cost.tokens)
        bench.stage("build", case.case_id)
        return _check_first_call(prepare(case, op, impl, problems[key], record, bench.device), unit, bench)
    except Exception as e:
        if key not in problems:
            return failure(record, e, bench.device, during=REFERENCE)
        problems[key].restore()  # what it changed before it failed is not the next one's fault
        return failure(record, e, bench.device)


def _check_first_call(one: Prepared, unit: Unit, bench: Bench) -> Prepared | Record:
    """The first call, timed apart; its check; the memory pass. A record if it is wrong."""
    poison(one.problem.expected, like=one.inputs)
    start = perf_counter()
    job = one.make_work(bench.device)
    outputs = job.call()
    _wait(bench.device)
    first_s = perf_counter() - start
    found = [Measurement("compile_time", first_s, timer="perf_counter")] if one.impl.compiled else []
    grad = "off" if one.case.phase == "fwd" and not any(t.requires_grad for t in outputs) else job.grad
    one.record = replace(one.record, grad=None if one.case.phase == "infer" else grad)

    bench.stage("check", one.case.case_id)
    check, errors, why = _check(one, outputs)
    one.record = replace(one.record, check=check, measurements=[*one.record.measurements, *found, *errors])
    if why is not None:
        one.problem.restore()
        return replace(one.record, status="wrong", why=why)
    del outputs
    one.record.measurements.extend(Measurement(name, value, part=part) for (name, part), value in one.figures.items())
    if "memory" in unit.probes or bench.device.type == "cuda":  # on CUDA it decides whether all fit together
        bench.stage("memory", one.case.case_id)
        peaks = peak_memory(job.whole, bench.device, ready=one.restore)
        one.record.measurements.extend(Measurement(name, float(size)) for name, size in peaks.items())
    one.compiled = compiled_so_far().since(one.compiled_before)
    one.work = None
    return one


def _check(one: Prepared, outputs: Sequence[Tensor]) -> tuple[Check, list[Measurement], str | None]:
    """The check, its errors as measurements, and what is wrong (None if nothing)."""
    spoilt = clobbered(one, [one.problem.shared])
    if not one.problem.expected:
        return Check("none", spoilt is None, why=f"op {one.op.name!r} has no oracle"), [], spoilt
    verdict = judge(outputs, one.problem.expected)
    why = spoilt or verdict.why  # the cause before the effect
    errors = [Measurement("max_error", verdict.max_error), Measurement("rel_error", verdict.rel_error)]
    finite = [m for m in errors if m.value == m.value and abs(m.value) != float("inf")]
    return Check("oracle", why is None, why=why, allowed=verdict.allowed), finite, why


def clobbered(one: Prepared, sets: Sequence[Sequence[Tensor]]) -> str | None:
    """Which of the inputs in `sets` was changed, in words; None if none was."""
    found = (changed(tensors, one.problem.pristine, one.shared_name) for tensors in sets)
    return next((why for why in found if why is not None), None)


def _fit_together(survivors: Sequence[Prepared], device: torch.device) -> bool:
    """Whether what stays resident (the saved activations of each bwd) and the largest call fit at once."""
    peaks = [m.value for one in survivors for m in one.record.measurements if m.metric == "peak_memory"]
    resident = sum(peaks) if survivors[0].case.phase == "bwd" else 0.0
    return resident + max(peaks, default=0.0) <= FITS * free_memory_bytes(device)


def _time(group: Sequence[Prepared], unit: Unit, bench: Bench, *, order: Literal["interleaved", "apart"]) -> None:
    """Times the cases of a group together, checks each once more, and emits its record."""
    targets, ready, measure = [], [], unit.measure
    cache = Cache(measure.cache == "cold", bench.machine.llc_bytes, bench.flush)
    cold, clock = cold_plan(group, cache, bench.device), clock_for(bench.device_type)
    for one in group:
        bench.stage("build", one.case.case_id)
        one.record = replace(one.record, order=order)
        try:
            target = target_of(one, cold, cache, bench.device)
        except Exception as e:
            one.problem.restore()
            bench.emit(Found(failure(one.record, e, bench.device)))
            continue
        ready.append(one)
        targets.append(target)
    targets = in_graphs(targets, ready, clock, lambda text: bench.emit(Rows([], text)))
    before_s = bench.ledger.of("time")
    samples = sample(
        targets, clock=clock, target_ci=measure.target_ci, max_s=measure.max_s, min_samples=measure.min_samples,
        first_block=unit.first_block, on_block=bench.stage,
    )  # fmt: skip
    bench.ledger.enter("sampler")
    _split(bench.ledger, samples.values(), bench.ledger.of("time") - before_s)
    bench.ledger.enter("recheck")
    problems = {id(one.problem): one for one in ready}
    changed_by = {key: clobbered(one, one.problem.shared_sets) for key, one in problems.items()}
    if len(ready) > 1 and any(changed_by.values()):
        targets.clear()
        _apart_after_clobbering(ready, unit, bench)
        return
    for one, target in zip(ready, targets, strict=True):
        timer, why = target.timer or clock.timer, changed_by[id(one.problem)]
        bench.emit(Found(_finish(one, samples[one.case.case_id], why, timer, unit, bench)))
        one.work = None


def _split(ledger: Ledger, samples: Collection[Samples], spent_s: float) -> None:
    """Leaves with `time` what the samples themselves took; flushes and the rest of `spent_s` are the harness's."""
    flush_s = sum(s.before_s for s in samples)
    timed_s = sum(t * n for s in samples for t, n in zip(s.time_s, s.calls, strict=True))
    ledger.move("time", "flush", flush_s)
    ledger.move("time", "sampler", max(0.0, spent_s - flush_s - timed_s))


def _apart_after_clobbering(ready: Sequence[Prepared], unit: Unit, bench: Bench) -> None:
    """Somebody changed an input that all share while they were interleaved: alone, the guilty one has a name."""
    for one in ready:
        one.problem.restore()
        one.work = None
        _time([one], unit, bench, order="apart")


def _finish(one: Prepared, samples: Samples, why: str | None, timer: str, unit: Unit, bench: Bench) -> Record:
    """The record of a case that was timed; `why` it is wrong, if that is known already.

    Its probes run now: a profiler may stay, and a second of work heats.
    """
    if samples.error is not None:
        one.problem.restore()  # what it changed before it failed is not the next one's fault
        return failure(one.record, samples.error, bench.device)
    bench.stage("recheck", one.case.case_id)
    try:
        why, config = why or recheck(one), one.config
    except Exception as e:
        one.problem.restore()
        return failure(one.record, e, bench.device)
    middle = median_interval(samples.time_s)
    why = why or impossible(
        middle.median, flop=one.record.flop, traffic_bytes=one.record.bytes, cold=one.case.cache == "cold",
        params=one.case.params, machine=bench.machine,
    )  # fmt: skip
    if why is not None:
        one.problem.restore()
        return replace(one.record, status="wrong", why=f"after timing: {why}")
    throttled, extra = bench.telemetry.of(samples)
    assert one.work is not None
    observe(
        one, one.work.call, unit, device=bench.device, telemetry=bench.telemetry, stage=bench.stage, emit=bench.emit
    )
    flags = [",".join(f for f in pair if f) for pair in zip(samples.flags, throttled, strict=True)]
    time = Measurement(
        "time", middle.median, low=middle.low, high=middle.high, samples=samples.time_s, sample_t_ns=samples.t_ns,
        sample_block=samples.block, sample_calls=samples.calls, sample_flags=flags, stop_reason=samples.stop_reason,
        timer=timer,
    )  # fmt: skip
    return replace(one.record, config=config, measurements=[time, *one.record.measurements, *extra])


def recheck(one: Prepared) -> str | None:
    """What is wrong after timing: inputs, outputs, or outputs for other inputs (remembered ones, or parts of them)."""
    assert one.work is not None
    poison(one.problem.expected, like=one.inputs)
    one.restore()
    outputs = one.work.call()
    why = _check(one, outputs)[2]
    if why is None and floating(one.problem.shared):
        before = [t.detach().clone() for t in outputs]
        del outputs  # and what its graph saved
        with one.other_values() as wanted:
            outputs = one.work.call()
            why = judge(outputs, wanted, before=before).why if wanted else remembered(outputs, before)
    return why


def _type_of(machine: Machine) -> str:
    return machine.device.split(":")[0]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
