"""A worker's part of the ceilings: opens the device in this very process and measures. Imports torch."""

from datetime import UTC, datetime
from time import perf_counter

import torch

from llmbench.errors import UsageError
from llmbench.machine import simulated
from llmbench.machine.ceilings import Ceilings
from llmbench.machine.probe import describe_device, probe
from llmbench.measure.ceilings import TooSlow, cache_check, matmul_rates, traffic_rates


def reached(device: str | None = None) -> Ceilings:
    """The ceilings of a device; of a GPU if there is one, else of the CPU, where it is None.

    Raises: UsageError and MachineError as `describe_device` does; UsageError for the simulated device.
    """
    begin = perf_counter()
    spec = describe_device(device)
    if spec.device == simulated.NAME:
        raise UsageError("the simulated device reaches whatever its kernels say: it has no ceilings")
    place = torch.device(spec.device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    machine = probe(spec.device)
    rates, notes = matmul_rates(place, machine)
    copy = read = cache = None
    try:
        copy, read = traffic_rates(place, machine)
    except (RuntimeError, TooSlow) as e:
        notes.append(f"copy: {e}")
    try:
        cache = cache_check(place, machine)
    except RuntimeError as e:
        notes.append(f"cold cache: {e}")
    host, threads = machine.facts.get("host"), machine.key.get("threads")
    return Ceilings(
        spec.device, machine.device_name, machine.device_key,
        host=None if host is None else str(host), threads=threads if isinstance(threads, int) else None,
        measured=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", torch=str(torch.__version__), flop_per_s=rates,
        copy=copy, read=read, cache=cache, notes=tuple(notes), wall_s=perf_counter() - begin,
    )  # fmt: skip
