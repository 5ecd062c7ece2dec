"""The functions that timers are audited on, made in the process that times them."""

from collections.abc import Callable
from statistics import median
from time import perf_counter_ns

import torch
from torch.nn.functional import scaled_dot_product_attention

from llmbench.measure.clock import Call, EventClock
from llmbench.run.timers.subjects import ATTENTION_HEAD_DIM, ATTENTION_HEADS, ATTENTION_TOKENS, GEMM_SIZE
from llmbench.store.timers import Function

LOOK_S = 0.05  # of calls that a busy loop's own error is taken from
LOOKS = (5, 1000)  # how many of them, at least and at most
SLEEP_CYCLES = 10_000_000  # 5 to 10 ms at 1 to 2 GHz
CLOCKS_UP = 50  # sleeps before, until a GPU's clock has risen


def call_of(function: Function, device: torch.device, cycles_per_s: float | None) -> Call:
    """The function as a call without arguments; its inputs are made here."""
    if function.truth_s is not None:
        return _sleep(round(function.truth_s * cycles_per_s)) if cycles_per_s else _busy(function.truth_s)
    generator = torch.Generator(device=device).manual_seed(0)
    if function.name == "gemm":
        size = GEMM_SIZE[device.type]
        a, b = (torch.randn(size, size, generator=generator, device=device) for _ in range(2))
        return lambda: a @ b
    shape = (1, ATTENTION_HEADS, ATTENTION_TOKENS[device.type], ATTENTION_HEAD_DIM)
    q, k, v = (torch.randn(shape, generator=generator, device=device) for _ in range(3))
    return lambda: scaled_dot_product_attention(q, k, v)


def _busy(time_s: float) -> Callable[[], int]:
    """Spins until the host's clock has gone on by that time; returns by how many ns it came too late."""
    time_ns = round(time_s * 1e9)

    def busy(clock: Callable[[], int] = perf_counter_ns) -> int:
        now = clock()
        end = now + time_ns
        while now < end:
            now = clock()
        return now - end

    return busy


def loop_error(function: Function, call: Call, cycles_per_s: float | None) -> float | None:
    """By what share of its truth a busy loop misses it by its own account; None for what has no truth.

    On a CPU the median of how late it ends, the call itself not counted. On a GPU how far the clock is from what the
    loop was calibrated to.
    """
    if function.truth_s is None:
        return None
    if cycles_per_s:
        return cycles_per_s / gpu_cycles_per_s() - 1
    looks = min(max(round(LOOK_S / function.truth_s), LOOKS[0]), LOOKS[1])
    return median(float(call()) for _ in range(looks)) / 1e9 / function.truth_s  # type: ignore[arg-type]


def gpu_cycles_per_s() -> float:
    """Cycles of `torch.cuda._sleep` in a second: from a short and a long one, so that starting them cancels."""
    clock = EventClock()
    short, long = (_sleep(n * SLEEP_CYCLES) for n in (1, 3))
    clock.block([[short]] * CLOCKS_UP, before=None)
    times_s = [median(r.time_s for r in clock.block([[call]] * 9, before=None)) for call in (short, long)]
    return 2 * SLEEP_CYCLES / (times_s[1] - times_s[0])


def _sleep(cycles: int) -> Call:
    return lambda: torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
