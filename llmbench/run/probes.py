"""Probes that look at a case in a pass of their own: what a call launches and multiplies, what was compiled, energy."""

from collections.abc import Callable, Iterator

import torch

from llmbench.machine.nvml import Nvml
from llmbench.measure.energy import energy_per_call
from llmbench.measure.flop import COMPILED, counted_flop
from llmbench.measure.kernels import launches, short_name
from llmbench.measure.registers import Resources, triton_resources
from llmbench.run.compiled import Compiled
from llmbench.run.prepared import Prepared
from llmbench.run.protocol import Message, StageName, Unit
from llmbench.run.protocol import Telemetry as Rows
from llmbench.run.telemetry import Telemetry
from llmbench.store.record import Measurement

Findings = Iterator[Measurement | str]
"""What a probe found, and notes on what it did not."""

ENERGY_SHARE = 0.5  # of the time that a stage may take: what the energy pass stays within


def observe(
    one: Prepared, call: Callable[[], object], unit: Unit, *, device: torch.device, telemetry: Telemetry,
    stage: Callable[[StageName, str | None], None], emit: Callable[[Message], None],
) -> None:  # fmt: skip
    """Adds what the probes of the unit find to the case's record. One that fails finds nothing, which a note says."""

    def found_by(probe: str) -> Findings:
        if probe == "kernels":
            return _kernels(one, call, device, lambda: stage("kernels", one.case.case_id))
        stage("energy", one.case.case_id)
        return _energy(one, call, device, telemetry.nvml, max_s=ENERGY_SHARE * unit.measure.timeout_s)

    for probe in ("kernels", "energy"):
        if probe not in unit.probes:
            continue
        try:
            for found in found_by(probe):
                if isinstance(found, Measurement):
                    one.record.measurements.append(found)
                else:
                    emit(Rows([], found))
        except Exception as e:  # a probe is not the case: its time still counts
            one.problem.restore()
            why = " ".join(f"{type(e).__name__}: {e}".split())[:300]
            emit(Rows([], f"{probe} of {_name(one)} not recorded: {why}"))


def _kernels(one: Prepared, call: Callable[[], object], device: torch.device, stage: Callable[[], object]) -> Findings:
    def ready() -> None:
        stage()
        one.restore()

    with triton_resources() as resources:
        found = launches(call, device, ready=ready)
    yield from [f"kernels of {_name(one)} not recorded: {found}"] if isinstance(found, str) else _launched(found)
    yield from _resources(resources)
    yield from _compiled(one.compiled)
    yield from (f"graph break of {_name(one)}: {reason}" for reason in one.compiled.reasons)
    yield from _flop(one, call, ready)


def _flop(one: Prepared, call: Callable[[], object], ready: Callable[[], object]) -> Findings:
    """Nothing of a call that has no product, convolution or attention."""
    try:
        found = COMPILED if one.impl.compiled else counted_flop(call, ready=ready)
    except Exception as e:  # the launches are known still
        one.problem.restore()
        found = " ".join(f"{type(e).__name__}: {e}".split())[:300]
    if isinstance(found, str):
        yield f"counted_flop of {_name(one)} not recorded: {found}"
    elif found is not None:
        yield Measurement("counted_flop", float(found))


def _energy(
    one: Prepared, call: Callable[[], object], device: torch.device, nvml: Nvml | str, *, max_s: float
) -> Findings:
    if isinstance(nvml, str):
        yield f"energy is not recorded: {nvml}"
        return
    one.restore()
    found = energy_per_call(call, nvml, wait=lambda: torch.cuda.synchronize(device), max_s=max_s)
    if isinstance(found, str):
        yield f"energy of {_name(one)} not recorded: {found}"
    else:
        yield Measurement("energy", found.energy_j)


def _name(one: Prepared) -> str:
    return f"{one.case.impl} {one.case.phase}"


def _launched(found: dict[str, int]) -> Iterator[Measurement]:
    yield Measurement("launches", float(sum(found.values())))
    yield from (Measurement("launches", float(count), part=name) for name, count in sorted(found.items()))


def _resources(found: dict[str, Resources]) -> Iterator[Measurement]:
    """By kernel, and the most of any kernel for the whole."""
    for metric, field in (("registers", "registers"), ("spills", "spills"), ("shared_memory", "shared_memory_bytes")):
        numbers: dict[str, int] = {}
        for name, resources in sorted(found.items()):
            if (n := getattr(resources, field)) is not None:
                numbers[short_name(name)] = max(n, numbers.get(short_name(name), 0))
        if numbers:
            yield Measurement(metric, float(max(numbers.values())))
            yield from (Measurement(metric, float(n), part=name) for name, n in numbers.items())


def _compiled(found: Compiled) -> Iterator[Measurement]:
    """Nothing where nothing was compiled since set-up: eager code, or a graph that another implementation shares."""
    if found.anything:
        counts = {"graphs": found.graphs, "graph_breaks": found.graph_breaks, "recompiles": found.recompiles}
        yield from (Measurement(name, float(n)) for name, n in counts.items() if n is not None)
