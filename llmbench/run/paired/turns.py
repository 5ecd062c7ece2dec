"""Turns: in which order the blocks of a pair are measured, how long each is, and what of it counts. Pure.

A quad is four blocks of a case, base head head base or the other way round, so that what drifts evenly over it meets
both sides alike. Which of the two is drawn anew for each: a fixed order beats with whatever is periodic (7.1 % of
unchanged training runs differ then, at most 2.2 % with drawn ones; 843 runs of Megatron-LM's golden values).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import NamedTuple

from llmbench.store.record import SideName

SIDES: tuple[SideName, SideName] = ("base", "head")

QUADS = 4  # a pair
SAMPLE_S = 0.5e-3  # least length of a sample: relative noise is 2.2 % below 0.1 ms, 0.6 % to 1 ms (training steps)
KEPT = 20  # samples of a block that count
LEAST_KEPT = 10
DROPPED = 5  # after each switch: the first ones take 1 to 18 % longer (12 cases of 0.3 to 2.3 ms on two CPU cores)
BLOCK_S = 0.05  # what a block takes, if that leaves it `LEAST_KEPT` samples
SETTLES_S = 0.01  # what five calls of 2 ms take: longer calls have filled the caches after fewer
MOST_CALLS = 1024  # in a sample


class Size(NamedTuple):
    """A block: `calls` in each of its samples, of which `kept` count after `dropped` that do not."""

    calls: int
    kept: int
    dropped: int

    @property
    def samples(self) -> int:
        """How many are taken."""
        return self.kept + self.dropped


class Turn(NamedTuple):
    """A block that is to be measured."""

    quad: int
    side: SideName
    key: str


@dataclass(frozen=True)
class Order:
    """What of a pair is left to chance: which side is started first, and the order of its blocks."""

    first: SideName
    turns: tuple[Turn, ...]


def size_of(call_s: float, *, before_s: float = 0.0, most_calls: int = MOST_CALLS) -> Size:
    """The block of a case whose call takes that long, after `before_s` that each sample is prepared for.

    `most_calls`: what one sample may hold of it, and one flush is good for.
    """
    wanted = ceil(SAMPLE_S / call_s) if call_s > 0 else MOST_CALLS
    calls = max(1, min(MOST_CALLS, most_calls, wanted))
    sample_s = before_s / max(1, most_calls // calls) + calls * call_s
    if sample_s <= 0:
        return Size(calls, KEPT, DROPPED)
    kept = max(LEAST_KEPT, min(KEPT, int(BLOCK_S / sample_s)))
    return Size(calls, kept, max(1, min(DROPPED, ceil(SETTLES_S / sample_s))))


def starts(dice: Random) -> Iterator[SideName]:
    """Which side is started first, in one pair after the other: base head head base or the other way round, drawn for
    each four. Drawn one by one it was the same side in 8 of 8 pairs of a seed, and what comes of it a bias."""
    while True:
        yield from _around(dice.choice(SIDES))


def order_of(keys: Sequence[str], dice: Random, *, first: SideName | None = None, quads: int = QUADS) -> Order:
    """A pair in random order: quads one after the other, in each of them all cases, shuffled, four blocks a case.
    `first`: the side that is started first, drawn where it is not given."""
    begins: SideName = dice.choice(SIDES) if first is None else first
    return Order(begins, tuple(_turns(keys, dice, quads)))


def order_apart(keys: Sequence[str], dice: Random, *, first: SideName | None = None, quads: int = QUADS) -> Order:
    """The same where the sides are never up together: base head head base (or the other way round) are four processes,
    each with half of its side's blocks of a case in a row, and `quad` is the number of the process."""
    begins: SideName = dice.choice(SIDES) if first is None else first
    turns: list[Turn] = []
    for process, side in enumerate(_around(begins)):
        shuffled = list(keys)
        dice.shuffle(shuffled)
        turns += [Turn(process, side, key) for key in shuffled for _ in range(quads)]
    return Order(begins, tuple(turns))


def _around(outer: SideName) -> tuple[SideName, SideName, SideName, SideName]:
    inner: SideName = "head" if outer == "base" else "base"
    return (outer, inner, inner, outer)


def _turns(keys: Sequence[str], dice: Random, quads: int) -> Iterator[Turn]:
    for quad in range(quads):
        shuffled = list(keys)
        dice.shuffle(shuffled)
        for key in shuffled:
            yield from (Turn(quad, side, key) for side in _around(dice.choice(SIDES)))
