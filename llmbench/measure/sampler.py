"""The sampler: samples of several calls in interleaved blocks, until each is known well enough or its time is up.

Interleaving is worth most: drift and noise hit every implementation of a point alike, and blocks of one round pair up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

from llmbench.measure.clock import Call, Clock
from llmbench.measure.collector import collector_off
from llmbench.orderstat import relative_half_width

MAX_BLOCK = 16  # samples; more add nothing to the pairing and delay the stop
ROUNDS = 10  # blocks that the time budget is cut into: the paired CI over blocks needs six
MIN_ROUNDS = 6
WARM_UP_CALLS = 3  # at least, after the calls of check and memory pass
WARM_UP_SHARE = 0.1  # of the time budget at most
WARM_UP_FLAT = 0.02  # warm when the last calls bring no more than this over the best before them


@dataclass(frozen=True)
class Target:
    """A call to sample. `is_baseline`: sampled as long as any other, so that every block has its pair."""

    key: str
    call: Call
    is_baseline: bool = False
    reset: Call | None = None  # puts back the inputs that it changes, before each call and outside of its time


@dataclass
class Samples:
    """The samples of a target in measured order; `error` holds the exception that ended them."""

    time_s: list[float] = field(default_factory=list)
    t_ns: list[int] = field(default_factory=list)
    block: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    stop_reason: str | None = None
    error: Exception | None = None
    spent_s: float = 0.0
    block_size: int = 1


def sample(
    targets: Sequence[Target], *, clock: Clock, before: Call | None, target_ci: float, max_s: float, min_samples: int,
    first_block: int = 0, on_block: Callable[[Literal["warm-up", "time"], str], None] = lambda stage, key: None,
) -> dict[str, Samples]:  # fmt: skip
    """Samples by key, in blocks that go through the targets forth and back (A B C, C B A, ...).

    A target stops on the half-width of its CI (`target_ci`) or after `max_s` seconds, flushes included, never before
    `min_samples` samples and six blocks. A call that raises ends its own samples only. Blocks are numbered from
    `first_block`: those of one number were measured one after the other.
    """
    prelude = {t.key: _prelude(t.reset, before) for t in targets}
    found = {t.key: Samples() for t in targets}
    with collector_off():
        for target in targets:
            on_block("warm-up", target.key)
            _warm_up(target.call, found[target.key], clock=clock, before=prelude[target.key], max_s=max_s)
        active = [t for t in targets if found[t.key].error is None]
        round_ = 0
        while active:
            for target in active if round_ % 2 == 0 else reversed(active):
                on_block("time", target.key)
                number = first_block + round_
                _one_block(target.call, found[target.key], number, clock=clock, before=prelude[target.key])
            round_ += 1
            for target in active:
                samples = found[target.key]
                samples.stop_reason = _stop(
                    samples, rounds=round_, target_ci=target_ci, max_s=max_s, min_samples=min_samples
                )
            active = _still_active(active, found)
    return found


def _still_active(active: Sequence[Target], found: dict[str, Samples]) -> list[Target]:
    """Who goes on: without a reason to stop, and the baseline for as long as anyone else does."""
    running = [t for t in active if found[t.key].stop_reason is None]
    others = any(not t.is_baseline for t in running)
    return [t for t in active if t in running or (t.is_baseline and others and found[t.key].error is None)]


def _stop(samples: Samples, *, rounds: int, target_ci: float, max_s: float, min_samples: int) -> str | None:
    if samples.error is not None:
        return "error"
    if rounds < MIN_ROUNDS or len(samples.time_s) < min_samples:
        return None
    if relative_half_width(samples.time_s) <= target_ci:
        return "target_ci"
    return "max_s" if samples.spent_s >= max_s else None


def _warm_up(call: Call, samples: Samples, *, clock: Clock, before: Call, max_s: float) -> None:
    """Calls until the time is flat, bounded by a share of the budget; sets the size of the blocks by what it saw."""
    start, times = perf_counter(), []
    try:
        while True:
            times.append(clock.block(call, before=before, n=1)[0].time_s)
            spent_s = perf_counter() - start
            last, earlier = times[-WARM_UP_CALLS:], times[:-WARM_UP_CALLS]
            flat = bool(earlier) and min(last) >= (1 - WARM_UP_FLAT) * min(earlier)
            if len(times) >= WARM_UP_CALLS and (flat or spent_s >= WARM_UP_SHARE * max_s):
                break
    except Exception as e:
        samples.error, samples.stop_reason = _bare(e), "error"
        return
    samples.block_size = max(1, min(MAX_BLOCK, int(max_s / ROUNDS / (spent_s / len(times)))))


def _one_block(call: Call, samples: Samples, number: int, *, clock: Clock, before: Call) -> None:
    start = perf_counter()
    try:
        readings = clock.block(call, before=before, n=samples.block_size)
    except Exception as e:
        samples.error = _bare(e)
        return
    samples.spent_s += perf_counter() - start
    for reading in readings:
        samples.time_s.append(reading.time_s)
        samples.t_ns.append(reading.t_ns)
        samples.block.append(number)
        samples.calls.append(reading.calls)
        samples.flags.append(reading.flag)


def _prelude(reset: Call | None, before: Call | None) -> Call:
    """What runs before each call: inputs put back, then the cache flushed."""
    steps = [step for step in (reset, before) if step is not None]
    if len(steps) == 1:
        return steps[0]

    def run() -> None:
        for step in steps:
            step()

    return run


def _bare(error: Exception) -> Exception:
    """The error without its frames, which would keep the failed call's memory while others are still timed."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
