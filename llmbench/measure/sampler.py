"""The sampler: samples of several calls in interleaved blocks, until each is known well enough or its time is up.

Interleaving is worth most: drift and noise hit every implementation of a point alike, and blocks of one round pair up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmbench.measure.clock import Call, Clock, calls_for
from llmbench.measure.collector import collector_off
from llmbench.orderstat import relative_half_width

MAX_BLOCK = 16  # samples; more add nothing to the pairing and delay the stop
ROUNDS = 10  # blocks that the time budget is cut into: the paired CI over blocks needs six
MIN_ROUNDS = 6
LOOK_AGAIN = 10  # percent more samples: looks at every size stop on lucky ones, and each sorts all samples
WARM_UP_CALLS = 3  # at least, after the calls of check and memory pass
WARM_UP_SHARE = 0.1  # of the time budget at most
WARM_UP_FLAT = 0.02  # warm when the last calls bring no more than this over the best before them


@dataclass(frozen=True)
class Target:
    """Something to sample: calls that do the same work, each on inputs of its own, taken in turn.

    `before` runs before each sample and is not in its time: inputs put back, the cache flushed. With `repeats` a short
    call is made several times in a sample; without, a sample holds each call of the ring once at most.
    """

    key: str
    ring: Sequence[Call]
    is_baseline: bool = False  # sampled as long as any other, so that every block has its pair
    before: Call | None = None
    repeats: bool = False
    work: int = 1  # how much of what is measured a call of the ring does: a CUDA graph may hold several
    timer: str | None = None  # what its readings are, where the clock's own name does not say it


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
    before_s: float = 0.0  # of `spent_s`, between the samples: flushes, for the most part
    block_size: int = 1
    next_look: int = 0  # samples
    is_known: bool = False  # the last look found the CI narrow enough
    sample_calls: int = 1


def sample(
    targets: Sequence[Target], *, clock: Clock, target_ci: float, max_s: float, min_samples: int, first_block: int = 0,
    on_block: Callable[[Literal["warm-up", "time"], str], None] = lambda stage, key: None,
) -> dict[str, Samples]:  # fmt: skip
    """Samples by key, in blocks that go through the targets forth and back (A B C, C B A, ...).

    A target stops on the half-width of its CI (`target_ci`) or after `max_s` seconds, flushes included, never before
    `min_samples` samples and six blocks. A call that raises ends its own samples only. Blocks are numbered from
    `first_block`: those of one number were measured one after the other.
    """
    found = {t.key: Samples() for t in targets}
    turn = Turn()
    with collector_off():
        for target in targets:
            on_block("warm-up", target.key)
            _warm_up(target, found[target.key], turn, clock=clock, max_s=max_s)
        active = [t for t in targets if found[t.key].error is None]
        round_ = 0
        while active:
            for target in active if round_ % 2 == 0 else reversed(active):
                on_block("time", target.key)
                _one_block(target, found[target.key], turn, first_block + round_, clock=clock)
            round_ += 1
            for target in active:
                samples = found[target.key]
                samples.stop_reason = _stop(
                    samples, rounds=round_, target_ci=target_ci, max_s=max_s, min_samples=min_samples
                )
            active = _still_active(active, found)
    return found


@dataclass
class Turn:
    """Whose turn it is in the rings: one count for all targets, which share inputs, so that nobody finds them warm."""

    count: int = 0

    def take(self, ring: Sequence[Call], calls: int) -> Sequence[Call]:
        """The next `calls` of the ring, which may go round it."""
        at, n = self.count % len(ring), len(ring)
        self.count += calls
        if n == 1:
            return (ring[0],) * calls
        if at + calls <= n:
            return ring[at : at + calls]
        return [ring[(at + i) % n] for i in range(calls)]


def _still_active(active: Sequence[Target], found: dict[str, Samples]) -> list[Target]:
    """Who goes on: without a reason to stop, and the baseline for as long as anyone else does."""
    running = [t for t in active if found[t.key].stop_reason is None]
    others = any(not t.is_baseline for t in running)
    return [t for t in active if t in running or (t.is_baseline and others and found[t.key].error is None)]


def _stop(samples: Samples, *, rounds: int, target_ci: float, max_s: float, min_samples: int) -> str | None:
    if samples.error is not None:
        return "error"
    n = len(samples.time_s)
    if rounds < MIN_ROUNDS or n < min_samples:
        return None
    if n >= samples.next_look:
        samples.next_look = n + n * LOOK_AGAIN // 100
        samples.is_known = relative_half_width(samples.time_s) <= target_ci
    if samples.is_known:
        return "target_ci"
    return "max_s" if samples.spent_s >= max_s else None


def _warm_up(target: Target, samples: Samples, turn: Turn, *, clock: Clock, max_s: float) -> None:
    """Calls until the time is flat, bounded by a share of the budget; decides on calls a sample and samples a block."""
    start, times = clock.now(), []
    try:
        while True:
            times.append(clock.block([turn.take(target.ring, 1)], before=target.before)[0].time_s)
            spent_s = clock.now() - start
            last, earlier = times[-WARM_UP_CALLS:], times[:-WARM_UP_CALLS]
            flat = bool(earlier) and min(last) >= (1 - WARM_UP_FLAT) * min(earlier)
            flat = flat and spent_s >= clock.warm_up_s
            if len(times) >= WARM_UP_CALLS and (flat or spent_s >= WARM_UP_SHARE * max_s):
                break
        calls = calls_for(clock, min(times))
        samples.sample_calls = calls if target.repeats else min(calls, len(target.ring))
        if samples.sample_calls > 1:  # a look at such a sample: it is what blocks are made of
            again = clock.now()
            clock.block([turn.take(target.ring, samples.sample_calls)], before=target.before)
            spent_s, times = clock.now() - again, times[:1]
    except Exception as e:
        samples.error, samples.stop_reason = _bare(e), "error"
        return
    samples.block_size = max(1, min(MAX_BLOCK, int(max_s / ROUNDS / (spent_s / len(times))) if spent_s else MAX_BLOCK))


def _one_block(target: Target, samples: Samples, turn: Turn, number: int, *, clock: Clock) -> None:
    start = clock.now()
    try:
        block = [turn.take(target.ring, samples.sample_calls) for _ in range(samples.block_size)]
        readings = clock.block(block, before=target.before)
    except Exception as e:
        samples.error = _bare(e)
        return
    samples.spent_s += clock.now() - start
    samples.time_s += [r.time_s / target.work for r in readings]
    samples.t_ns += [r.t_ns for r in readings]
    samples.block += [number] * len(readings)
    samples.calls += [r.calls * target.work for r in readings]
    samples.flags += [r.flag for r in readings]
    samples.before_s += sum(r.before_s for r in readings)


def _bare(error: Exception) -> Exception:
    """The error without its frames, which would keep the failed call's memory while others are still timed."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
