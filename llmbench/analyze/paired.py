"""The paired gate: what is said of a suite by pairs of processes, base and head, that are measured when asked for."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llmbench.analyze.pair_decision import Decision, Systemic, decisions_of, systemic_of
from llmbench.analyze.pair_evidence import WORDS, PairedWord, PairEvidence, words_of
from llmbench.analyze.pair_looks import Room, Suite, Take, confirm, screen, spare
from llmbench.analyze.pair_rule import DEFAULT, PairedRule
from llmbench.analyze.pair_stats import Components, components

__all__ = ["Decision", "Judged", "PairedRule", "Systemic", "Take", "judge_pairs"]


@dataclass(frozen=True)
class Judged:
    """What the gate says of a suite. `decisions` are made when asked for: a simulation needs the words only."""

    evidence: PairEvidence
    words: tuple[PairedWord, ...]  # one a case, in the order of the limits

    @property
    def cases(self) -> tuple[str, ...]:
        """The keys of the cases, as given."""
        return self.evidence.keys

    @property
    def components(self) -> Components | None:
        """How much of the noise all cases of a pair share, and how much is a case's own."""
        return self.evidence.components

    @cached_property
    def systemic(self) -> Systemic | None:
        """What is said of the suite as a whole, where it was suspected to have moved."""
        return systemic_of(self.evidence)

    @cached_property
    def decisions(self) -> Mapping[str, Decision]:
        """Case -> what is said of it, in the order of the limits."""
        return dict(zip(self.cases, decisions_of(self.evidence, self.words), strict=True))

    @property
    def red(self) -> bool:
        """Whether a case is REGRESSED, or the suite as a whole slower."""
        shift = self.evidence.shift
        return "REGRESSED" in self.words or (shift is not None and shift.found and shift.slower)


def judge_pairs(
    limits: Mapping[str, float], take: Take, *, rule: PairedRule = DEFAULT, room: Room | None = None,
    before_spare: Callable[[Judged], None] | None = None,
) -> Judged:  # fmt: skip
    """Judges a suite. `limits`: case -> the share by which its time may grow; `take(cases, pairs)` measures
    D[case, pair], the log of the quantile of the head's times over that of the base's, of so many FRESH pairs of
    processes. It gives fewer columns where a budget is spent, and NaN where a pair failed; `room(cases)` tells how many
    pairs of these the budget suffices for. `before_spare` is told what is said so far before what is left of the budget
    is spent (4.), which changes nothing for flagged cases.

    1. Screen: a one-sided t test against the margin in both directions, its variance moderated over the suite, flags.
    2. The suite: where many are flagged, its geomean and its median case are tested against the margin, then the median
       of a panel from its middle on fresh pairs. Where both reject and the shift reaches the median limit of the
       cases, one SYSTEMIC finding stands for what the suite has in common, and only cases that stand out of it go on:
       they must reject the margin and, beyond the shift, again. A lesser shift is told, and cases are judged alone.
       (Both: a fifth of the suite 10 % slower moves the geomean by 2 %, but is no property of the machine.)
    3. Confirm: flagged cases alone, on fresh pairs alone, plain t, Holm; the surest of them alone where the budget
       suffices for no verdict on all. What is left open gets one extension, judged on all fresh pairs with a share of
       the level of its own. Nothing is tested until it is green.
    4. Left-over budget: cases that were not flagged and could not pass get more fresh pairs, each a round, then the
       least certain first. When to stop depends on variances and the budget, never on means, and one test at the end,
       on these pairs alone, has its own share of the level: so the look keeps it. Not after a SYSTEMIC finding, which
       more pairs do not cure.

    REGRESSED is rejected and at least 1 + limit; PASS an upper limit below 1 + limit; the rest is INCONCLUSIVE. A limit
    below the margin is read as the margin, since nothing smaller is tested.
    Raises: ValueError for a limit that is none, or for an answer of `take` that is no (cases, at most pairs) array.
    """
    for key, limit in limits.items():
        if not 0 <= limit < np.inf:
            raise ValueError(f"{key}: limit {limit}; wanted: a fraction, 0 or more")
    given = np.array(list(limits.values()), dtype=np.float64)
    suite = Suite(tuple(limits), np.log1p(np.maximum(given, rule.margin)), rule, take, room or (lambda keys: math.inf))
    first = screen(suite)
    looks, shift = confirm(suite, first)
    stages = [first.stage, *looks]

    def judged() -> Judged:
        evidence = PairEvidence(
            suite.keys, given, suite.bounds, rule, first.direction, tuple(stages), shift, components(first.d),
            tuple(suite.short), tuple(suite.asked),
        )  # fmt: skip
        return Judged(evidence, tuple(WORDS[i] for i in words_of(stages, suite.bounds).tolist()))

    if before_spare is not None:
        before_spare(judged())
    if shift is None or not shift.found:
        last = spare(suite, first, stages)
        stages += [last] if last is not None else []
    return judged()
