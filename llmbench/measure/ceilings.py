"""Ceilings: large matrix products, large copies and reads, and the copies that show whether a cold cache is cold.

Random data, since products of zeros draw less power and clock higher. Warm-up until the time is flat; then the median
of several samples, at the best of a few sizes. Some seconds in all on a CPU, below half a minute on a GPU.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median, quantiles
from time import perf_counter

import torch
from torch import Tensor

from llmbench.machine.ceilings import CacheCheck, Rate
from llmbench.machine.fingerprint import Machine
from llmbench.measure.cache import ROTATE_FACTOR, UNKNOWN_LLC_BYTES, flusher
from llmbench.measure.memory import free_memory_bytes

DTYPES = {"cpu": ("float32", "float64", "bfloat16"), "cuda": ("bfloat16", "float16", "tf32", "float32", "float64")}
EDGES = (1024, 2048, 4096, 8192, 16384)  # of square products, as far as they are done in time
TIMES_OF_LLC = (8, 32)  # bytes of a large copy; of 4 times the cache a quarter might still be served by it
ROOM = 0.25  # of the free memory: what operands may take
LONGEST_S = 0.8  # that a size may take, half of it for warming up
MIN_SAMPLES, MAX_SAMPLES, WARM_UP = 7, 30, 2
SAMPLE_S = {"cpu": 1e-3, "cuda": 5e-3}  # a sample is at least as long: the clock and a launch are below 0.5 % of it
FLAT = 0.03  # two medians of three samples that differ by less: warmed up
ROUNDS = 25  # of the cache check
SHARE_OF_LLC = 4  # the cache check copies a quarter of the cache
BLOCK = 2**20  # random numbers that large buffers repeat: making 2 GiB of them would take seconds

Call = Callable[[], object]


class TooSlow(Exception):  # noqa: N818  (a reason to leave a dtype out)
    """Products of a dtype take too long to be measured."""


def matmul_rates(device: torch.device, machine: Machine) -> tuple[dict[str, Rate], list[str]]:
    """FLOP/s of large square products by dtype (torch's name, or tf32), and what was left out with the reason."""
    found, notes = {}, []
    for name in DTYPES[device.type]:
        try:
            found[name] = max(_matmul_rates(name, device, machine), key=lambda r: r.value)
        except (RuntimeError, TooSlow) as e:  # out of memory is a RuntimeError, and so is a dtype without a kernel
            notes.append(f"{name} matmul: {str(e).partition(chr(10))[0][:200]}")
    return found, notes


def traffic_rates(device: torch.device, machine: Machine) -> tuple[Rate, Rate]:
    """B/s of large copies, bytes read and bytes written counted, and of large reads.

    Source and target of a copy together, and what is read, are at least 8 times the last-level cache. That a CPU may
    read a line before it writes it is not counted: its copies may show a third less than its reads.
    Raises: TooSlow where the memory has no room.
    """
    copies: list[Rate] = []
    reads: list[Rate] = []
    for factor in TIMES_OF_LLC:
        size_bytes = factor * (machine.llc_bytes or UNKNOWN_LLC_BYTES)
        if size_bytes > _room_bytes(device, machine) or (copies and _too_long(size_bytes, copies[-1])):
            break
        both = _random(size_bytes, device)
        copies.append(_rate(_copy(both[0], both[1]), size_bytes, device, _size_text(size_bytes)))
        reads.append(_rate(_read(both), size_bytes, device, _size_text(size_bytes)))
    if not copies:
        raise TooSlow(f"no room for {TIMES_OF_LLC[0]} times the last-level cache")
    return max(copies, key=lambda r: r.value), max(reads, key=lambda r: r.value)


def cache_check(device: torch.device, machine: Machine) -> CacheCheck:
    """Copies of a quarter of the last-level cache in turns: warm, after the flush and, on a CPU, out of a ring of
    clones, beside reads out of a large buffer.

    Warm begins with the flush, too, then the copy runs twice before it is timed. On CUDA the flush is queued several
    times, so that the host is ahead when the timed copy begins: else its time would hold the launch.
    """
    llc_bytes = machine.llc_bytes or UNKNOWN_LLC_BYTES
    size_bytes, on_cpu = llc_bytes // SHARE_OF_LLC, device.type == "cpu"
    ring = [_copy(*_random(size_bytes, device)) for _ in range(SHARE_OF_LLC * ROTATE_FACTOR + 1 if on_cpu else 1)]
    copy, clones, flush = ring[0], ring[1:], [flusher(device=device, llc_bytes=llc_bytes)] * (1 if on_cpu else 4)
    first: dict[str, Sequence[Call]] = {"warm": [*flush, copy, copy], "flushed": flush}
    timed = {key: [copy] for key in first}
    if on_cpu:
        far = _random(TIMES_OF_LLC[0] * llc_bytes, device).view(-1, size_bytes // 4)
        first |= {"rotated": clones, "streamed": []}
        timed |= {"rotated": [copy], "streamed": [_read(part) for part in far]}
    rates: dict[str, list[float]] = {way: [] for way in first}
    for turn in range(ROUNDS + WARM_UP):
        for way, before in first.items():
            for call in before:
                call()
            rates[way].append(size_bytes / _seconds(timed[way][turn % len(timed[way])], 1, device))
    told = {way: _summary(found[WARM_UP:], _size_text(size_bytes)) for way, found in rates.items()}
    return CacheCheck(told["warm"], told["flushed"], told.get("rotated"), told.get("streamed"), machine.llc_bytes)


def _matmul_rates(name: str, device: torch.device, machine: Machine) -> Iterator[Rate]:
    """One for each size that fits into memory and time. Raises: TooSlow where not even the smallest does."""
    dtype: torch.dtype = torch.float32 if name == "tf32" else getattr(torch, name)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        _probe(dtype, device)
        rate: Rate | None = None
        for edge in EDGES:
            flop = 2.0 * edge**3
            if 3 * edge**2 * dtype.itemsize > _room_bytes(device, machine) or (rate and _too_long(flop, rate)):
                break
            rate = _rate(_product(edge, edge, dtype, device), flop, device, f"{edge} x {edge} x {edge}")
            yield rate
        if rate is None:
            raise TooSlow("no room for its operands")
    finally:
        torch.set_float32_matmul_precision(before)


def _probe(dtype: torch.dtype, device: torch.device) -> None:
    """Raises TooSlow where a sixteenth of the smallest product says that all of its samples take ten times too long:
    a CPU has no fast kernels for some dtypes."""
    edge, parts = EDGES[0], 16
    call = _product(edge // parts, edge, dtype, device)
    expected_s = MIN_SAMPLES * parts * min(_seconds(call, 1, device) for _ in range(WARM_UP))
    if expected_s > 10 * LONGEST_S:
        raise TooSlow(f"{MIN_SAMPLES} products of {edge} x {edge} x {edge} would take {expected_s:.0f} s")


def _product(rows: int, edge: int, dtype: torch.dtype, device: torch.device) -> Call:
    a, b = (torch.randn(n, edge, device=device).to(dtype) for n in (rows, edge))
    out = torch.empty(rows, edge, dtype=dtype, device=device)
    return lambda: torch.mm(a, b, out=out)


def _copy(source: Tensor, target: Tensor) -> Call:
    return lambda: target.copy_(source)


def _read(tensor: Tensor) -> Call:
    return lambda: torch.linalg.vector_norm(tensor)


def _random(size_bytes: int, device: torch.device) -> Tensor:
    """Two rows of float32, that many bytes in all."""
    count = size_bytes // 8
    block = torch.randn(min(count, BLOCK), device=device)
    return block.repeat(2, math.ceil(count / len(block)))[:, :count].contiguous()


def _rate(call: Call, amount: float, device: torch.device, size: str) -> Rate:
    """`amount` a call over its time, warmed up; bounded in time, but with `MIN_SAMPLES` at least."""
    begin = perf_counter()
    first_s = min(_seconds(call, 1, device) for _ in range(WARM_UP))
    calls = max(1, math.ceil(SAMPLE_S[device.type] / first_s))
    times: list[float] = []
    while not _is_flat(times) and perf_counter() < begin + LONGEST_S / 2:
        times.append(_seconds(call, calls, device))
    times = []
    while len(times) < MIN_SAMPLES or (len(times) < MAX_SAMPLES and perf_counter() < begin + LONGEST_S):
        times.append(_seconds(call, calls, device))
    return _summary([amount / t for t in times], size)


def _seconds(call: Call, calls: int, device: torch.device) -> float:
    """Seconds a call, of `calls` in a row: the device's own where it is a GPU, without what was queued before."""
    if device.type == "cuda":
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        for _ in range(calls):
            call()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3 / calls
    start = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - start) / calls


def _is_flat(times: Sequence[float]) -> bool:
    if len(times) < 6:
        return False
    return abs(median(times[-3:]) / median(times[-6:-3]) - 1) < FLAT


def _too_long(amount: float, rate: Rate) -> bool:
    """Whether the fewest samples of a larger size would take too long, at the rate of the smaller one."""
    return MIN_SAMPLES * amount / rate.value > LONGEST_S


def _room_bytes(device: torch.device, machine: Machine) -> float:
    """What operands may take; a cgroup's limit is in the machine's memory."""
    return ROOM * min(free_memory_bytes(device), machine.memory_bytes or math.inf)


def _summary(rates: Sequence[float], size: str) -> Rate:
    low, middle, high = quantiles(rates, n=4, method="inclusive")
    return Rate(middle, low, high, max(rates), len(rates), size)


def _size_text(size_bytes: int) -> str:
    """`256 MiB`, `1 GiB`"""
    power, unit = (30, "GiB") if size_bytes >= 2**30 else (20, "MiB")
    return f"{size_bytes / 2**power:.4g} {unit}"
