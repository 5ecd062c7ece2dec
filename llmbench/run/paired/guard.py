"""The page-fault guard: a change that may be where the heap of a side lies, and not what its code does.

Slowing *other* cases once moved the heap of one side, which then took 3,040 page faults a call in 40 % of its processes
(0.36 -> 4.6 ms). More pairs do not help against such a bias; a process without the other cases does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from llmbench.analyze.paired import Decision, Judged
from llmbench.run.paired.turns import SIDES
from llmbench.store.pairs import PairBlock
from llmbench.store.record import SideName

FAULT_S = 2e-6
"""What a minor fault costs: naive attention of 512 tokens took 3.2 to 8 ms longer with 1,500 to 4,000 a call."""

Judge = Callable[[str], Judged]


class Faults(NamedTuple):
    """Minor page faults a call."""

    base: float
    head: float

    @property
    def text(self) -> str:
        """`0.2 page faults a call in base, 3040 in head`."""
        return f"{self.base:.3g} page faults a call in base, {self.head:.3g} in head"


def suspicious(key: str, blocks: Sequence[PairBlock], *, margin: float) -> Faults | None:
    """The faults of a case, where their difference could make up for more than `margin` of its time."""
    faults = Faults(*(_per_call(key, blocks, side) for side in SIDES))
    times = [t for b in blocks if b.case_id == key and b.side == "base" and b.counts for t in b.kept_s]
    if not times or not abs(faults.head - faults.base) * FAULT_S > margin * float(np.median(times)):
        return None
    return faults


def confirmed_alone(decision: Decision, faults: Faults, judge_alone: Judge) -> Decision:
    """The decision on a case that is measured once more, alone in its processes; the reason says so.

    `judge_alone` measures. What it confirms is the code's doing; what it does not decide stays open. Where the budget
    ended before it had the pairs to decide, the decision stands.
    """
    judged = judge_alone(decision.case)
    alone = judged.decisions[decision.case]
    alone = replace(alone, questions=tuple(-number for number in alone.questions))
    if judged.evidence.short and alone.word == "INCONCLUSIVE":
        more = "the budget was spent before it was measured again, alone: this may be its heap's doing"
        return replace(decision, reason=f"{decision.reason}; {faults.text}, but {more}")
    told = f"{faults.text}, so it was measured again, alone in its processes: {alone.reason}"
    if alone.word == decision.word:
        return replace(alone, reason=f"{told}; together with the others: {decision.reason}")
    return replace(alone, reason=f"{told} ({decision.word} together with the others: {decision.reason})")


def _per_call(key: str, blocks: Sequence[PairBlock], side: SideName) -> float:
    own = [b for b in blocks if b.case_id == key and b.side == side and b.counts]
    calls = sum(b.calls * len(b.time_s) for b in own)
    return sum(b.faults for b in own) / calls if calls else 0.0
