"""The worker's heart, where ops and measuring meet: a unit goes in, records come out.

Order of things for each case: build, check against the oracle, peak memory; then all survivors are timed together in
interleaved blocks; then each is checked once more. Nothing gets a time that was not right before and after.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

from llmbench.machine.fingerprint import Machine
from llmbench.measure.cache import cache_before
from llmbench.measure.check import changed, judge
from llmbench.measure.clock import clock_for
from llmbench.measure.memory import peak_memory
from llmbench.measure.sampler import Samples, Target, sample
from llmbench.ops.op import Expected, Impl, Op, Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.registry import OPS
from llmbench.ops.work import Work, build, make_douts, output_like, work
from llmbench.orderstat import median_interval
from llmbench.run.ledger import Ledger
from llmbench.run.protocol import Found, Message, StageName, Unit, UnitDone
from llmbench.run.telemetry import Telemetry
from llmbench.store.record import Check, Measurement, Record, Status
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


@dataclass
class Problem:
    """Inputs and oracle that the cases of a point share; `pristine` proves that nobody changed the inputs."""

    p: Any
    inputs: list[Tensor]
    pristine: list[Tensor]
    douts: list[Tensor]
    expected: list[Expected]


@dataclass
class Prepared:
    """A case that was checked and may be timed."""

    case: Case
    impl: Impl[Any]
    fn: Callable[..., Any]
    problem: Problem
    record: Record
    work: Work | None = field(default=None)


def measure_unit(unit: Unit, bench: Bench) -> None:
    """Emits one `Found` for each case of the unit, then `UnitDone`."""
    start = perf_counter()
    bench.ledger.reset()
    if "torch._dynamo" in sys.modules or any(OPS[c.op].impls[c.impl].compiled for c in unit.cases):
        forget_compiled()
    problems: dict[str, Problem] = {}
    survivors: list[Prepared] = []
    for case in unit.cases:
        outcome = _prepare(case, unit, bench, problems)
        if isinstance(outcome, Record):
            bench.emit(Found(outcome))
        else:
            survivors.append(outcome)
    if unit.measure.order == "interleaved" and len(survivors) > 1 and _fit_together(survivors, bench.device):
        _time(survivors, unit, bench, order="interleaved")
    else:
        for one in survivors:
            _time([one], unit, bench, order="apart")
    bench.ledger.enter("idle")
    bench.emit(UnitDone(unit.point_id, unit.process, perf_counter() - start, bench.ledger.seconds))


def forget_compiled() -> None:
    """Compile caches are reset for each point; a recompile limit is an error, not a silent fall back to eager.

    Without the reset, torch.compile reuses one dynamic graph from the third shape on, and the kernel that is timed
    depends on the order of the cases. The backward of a compiled graph may run twice (retain_graph).
    """
    torch._dynamo.reset()
    torch._dynamo.config.automatic_dynamic_shapes = False
    if hasattr(torch._dynamo.config, "fail_on_recompile_limit_hit"):
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._functorch.config.donated_buffer = False


def status_of(error: BaseException) -> tuple[Status, str]:
    """What an exception of an implementation means, and how to say it in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, Unavailable):
        return "unavailable", text
    why = f"{type(error).__name__}: {text}" if text else type(error).__name__
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        sign in text for sign in ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
    )
    return ("oom" if out_of_memory else "error"), why[:2000]


def _prepare(case: Case, unit: Unit, bench: Bench, problems: dict[str, Problem]) -> Prepared | Record:
    """Build, check and memory of one case, alone; a record if it ends here."""
    op = OPS[case.op]
    impl = op.impls[case.impl]
    record = Record(case.case_id, unit.process, "ok", impl_hash=impl.source_hash)
    reason = impl.why_unavailable(case.phase, device_type=bench.device.type)
    if reason is not None:
        return replace(record, status="unavailable", why=reason)
    key = json.dumps([case.phase, case.params], sort_keys=True)
    try:
        if key not in problems:
            problems.clear()  # one problem at a time: inputs of two shapes need not fit together
            problems[key] = _problem(op, case, unit.seed, bench)
        cost = op.cost(problems[key].p, case.phase)
        record = replace(record, flop=cost.flop, bytes=cost.bytes, tokens=cost.tokens)
        return _build_and_check(case, op, impl, problems[key], record, unit, bench)
    except Exception as e:
        status, why = status_of(e)
        return replace(record, status=status, why=why)


def _problem(op: Op[Any], case: Case, seed: int, bench: Bench) -> Problem:
    bench.stage("inputs", None)
    p = op.params(**case.params)
    generator = torch.Generator(bench.device).manual_seed(seed)
    inputs = list(op.inputs(p, generator))
    douts = list(make_douts(output_like(op, p, inputs), generator)) if case.phase in ("bwd", "fwd_bwd") else []
    bench.stage("oracle", None)
    wanted = expected(op, p, case.phase, inputs, douts)
    return Problem(p, inputs, [t.clone() for t in inputs], douts, wanted)


def _build_and_check(
    case: Case, op: Op[Any], impl: Impl[Any], problem: Problem, record: Record, unit: Unit, bench: Bench
) -> Prepared | Record:
    bench.stage("build", case.case_id)
    fn = build(impl, problem.p, device=bench.device)
    start = perf_counter()
    job = work(impl, fn, problem.inputs, case.phase, device_type=bench.device.type, douts=problem.douts)
    outputs = job.call()
    _wait(bench.device)
    first_s = perf_counter() - start
    found = [Measurement("compile_time", first_s, timer="perf_counter")] if impl.compiled else []
    record = replace(record, grad=None if case.phase == "infer" else job.grad)

    bench.stage("check", case.case_id)
    check, errors, why = _check(op, impl, problem, outputs)
    record = replace(record, check=check, measurements=[*found, *errors])
    if why is not None:
        _restore(problem)
        return replace(record, status="wrong", why=why)
    if "memory" in unit.probes:
        bench.stage("memory", case.case_id)
        del outputs
        peaks = peak_memory(job.whole, bench.device)
        record.measurements.extend(Measurement(name, float(size)) for name, size in peaks.items())
    return Prepared(case, impl, fn, problem, record)


def _check(
    op: Op[Any], impl: Impl[Any], problem: Problem, outputs: Sequence[Tensor]
) -> tuple[Check, list[Measurement], str | None]:
    """The check, its errors as measurements, and what is wrong (None if nothing)."""
    clobbered = changed(problem.inputs, problem.pristine, op.input_names, impl.mutates)
    if not problem.expected:
        return Check("none", clobbered is None, why=f"op {op.name!r} has no oracle"), [], clobbered
    verdict = judge(outputs, problem.expected)
    why = clobbered or verdict.why  # the cause before the effect
    errors = [Measurement("max_error", verdict.max_error), Measurement("rel_error", verdict.rel_error)]
    finite = [m for m in errors if m.value == m.value and abs(m.value) != float("inf")]
    return Check("oracle", why is None, why=why, allowed=verdict.allowed), finite, why


def _restore(problem: Problem) -> None:
    """Puts the inputs back, so that one implementation's mistake is not the next one's."""
    with torch.no_grad():
        for tensor, before in zip(problem.inputs, problem.pristine, strict=True):
            tensor.copy_(before)


def _fit_together(survivors: Sequence[Prepared], device: torch.device) -> bool:
    needed = sum(m.value for one in survivors for m in one.record.measurements if m.metric == "peak_memory")
    return needed <= FITS * free_memory_bytes(device)


def free_memory_bytes(device: torch.device) -> float:
    """Bytes that can still be allocated on the device; infinity where the system does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo") as f:
            return next(int(line.split()[1]) * 1024.0 for line in f if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")


def _time(group: Sequence[Prepared], unit: Unit, bench: Bench, *, order: Literal["interleaved", "apart"]) -> None:
    """Times the cases of a group together, checks each once more, and emits its record."""
    ready = []
    for one in group:
        bench.stage("build", one.case.case_id)
        one.record = replace(one.record, order=order)
        try:
            one.work = work(
                one.impl, one.fn, one.problem.inputs, one.case.phase,
                device_type=bench.device.type, douts=one.problem.douts,
            )  # fmt: skip
            ready.append(one)
        except Exception as e:
            _emit_failure(one, e, bench)
    clock = clock_for(bench.device.type)
    before = cache_before(unit.measure.cache, device=bench.device, llc_bytes=bench.machine.llc_bytes)
    measure = unit.measure
    samples = sample(
        [Target(one.case.case_id, one.work.call, one.case.is_baseline) for one in ready if one.work is not None],
        clock=clock, before=before, target_ci=measure.target_ci, max_s=measure.max_s,
        min_samples=measure.min_samples, on_block=bench.stage,
    )  # fmt: skip
    if len(ready) > 1 and any(_clobbered(one) for one in ready):
        _apart_after_clobbering(ready, unit, bench)
        return
    for one in ready:
        _finish(one, samples[one.case.case_id], clock.timer, bench)
        one.work = None


def _clobbered(one: Prepared) -> str | None:
    op = OPS[one.case.op]
    return changed(one.problem.inputs, one.problem.pristine, op.input_names, one.impl.mutates)


def _apart_after_clobbering(ready: Sequence[Prepared], unit: Unit, bench: Bench) -> None:
    """Somebody changed an input that all share while they were interleaved: alone, the guilty one has a name."""
    for one in ready:
        _restore(one.problem)
        one.work = None
        _time([one], unit, bench, order="apart")


def _finish(one: Prepared, samples: Samples, timer: str, bench: Bench) -> None:
    if samples.error is not None:
        _emit_failure(one, samples.error, bench)
        return
    bench.stage("recheck", one.case.case_id)
    assert one.work is not None
    try:
        _, _, why = _check(OPS[one.case.op], one.impl, one.problem, one.work.call())
    except Exception as e:
        _emit_failure(one, e, bench)
        return
    if why is not None:
        _restore(one.problem)
        bench.emit(Found(replace(one.record, status="wrong", why=f"after timing: {why}")))
        return
    flags, extra = bench.telemetry.of(samples)
    middle = median_interval(samples.time_s)
    time = Measurement(
        "time", middle.median, low=middle.low, high=middle.high, samples=samples.time_s, sample_t_ns=samples.t_ns,
        sample_block=samples.block, sample_calls=samples.calls, sample_flags=flags, stop_reason=samples.stop_reason,
        timer=timer,
    )  # fmt: skip
    bench.emit(Found(replace(one.record, measurements=[time, *one.record.measurements, *extra])))


def _emit_failure(one: Prepared, error: Exception, bench: Bench) -> None:
    status, why = status_of(error)
    bench.emit(Found(replace(one.record, status=status, why=why)))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
