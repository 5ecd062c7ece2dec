"""What the page of a gate shows, whichever gate it was: verdicts, ratios, pairs in their order, components of noise."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from llmbench.analyze.verdict import WORST_FIRST, Verdict, Word
from llmbench.suite.catalog import Scalar


@dataclass(frozen=True)
class Effect:
    """A metric of a case: the judged side over the other, the 95 % CI of that ratio, and the ratio that is too much."""

    metric: str
    label: str
    word: Word
    ratio: float
    low: float | None
    high: float | None
    limit: float  # 1.03: a ratio from there on may be REGRESSED
    facts: dict[str, Scalar] = field(default_factory=dict)
    limit_of: str | None = None  # whose limit it is, in the suite's words, where it is not that of all cases
    correction: str = ""  # `6.2 % slower by the sentinel gemm`: what the ratio does not hold
    upper: float | None = None  # of the ratio, one-sided, where that decides: a PASS has it below `limit`


BOUNDED: frozenset[Word] = frozenset({"PASS", "INCONCLUSIVE"})
"""What an upper limit decides between; the other words rest on tests against the margin, and on the estimate."""


class Bound(NamedTuple):
    """What a time is judged by: the upper limit of its ratio, and the ratio which that must be below to pass."""

    upper: float | None
    limit: float


@dataclass(frozen=True)
class PairSeries:
    """The pairs of processes of a case, in the order in which they were measured: parallel tuples, one entry a pair."""

    label: str
    word: Word
    at_s: tuple[float, ...]  # when the pair began, since the gate did
    ratios: tuple[float | None, ...]  # head over base; None where the pair failed
    stages: tuple[str, ...]  # `screen`, `confirm`
    facts: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Component:
    """A part of the noise of the suite: its standard deviation as a share, with its 95 % CI where there is one."""

    name: str
    sigma: float
    low: float | None
    high: float | None
    meaning: str


@dataclass(frozen=True)
class GateEvidence:
    """A gate: its verdict on the whole, on each case, and what they rest on. `verdicts` come worst first."""

    title: str
    exit_code: int
    meaning: str  # of the exit code
    told: tuple[tuple[str, str], ...]  # what was judged by what: label and text
    warnings: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    effects: tuple[Effect, ...]
    sides: tuple[str, str] = ("baseline", "run")
    pairs: tuple[PairSeries, ...] = ()
    components: tuple[Component, ...] = ()

    @property
    def counts(self) -> dict[Word, int]:
        """Cases by verdict, worst first."""
        words = [v.word for v in self.verdicts]
        return {word: n for word in WORST_FIRST if (n := words.count(word))}


def effects_of(
    verdicts: Iterable[Verdict], metrics: Iterable[str], bounds: Mapping[str, Bound] | None = None
) -> Iterator[Effect]:
    """The ratios behind the verdicts, metric by metric; one without a positive ratio is in the reasons alone.

    `bounds`: case -> by what its time is judged, where that is an upper limit and not the interval.
    """
    known = list(verdicts)
    for metric in metrics:
        for verdict in known:
            for found in verdict.findings:
                ratio, exact = found.change.ratio, found.change.basis == "exact"
                if found.metric != metric or not ratio:
                    continue
                low, high = (ratio, ratio) if exact else (found.change.low, found.change.high)
                corrected = found.correction.text if found.correction else ""
                bound = (bounds or {}).get(verdict.case_id or "") if metric == "time" else None
                upper, limit = bound or (None, 1 + found.limit)
                yield Effect(
                    metric, verdict.label, found.word, ratio, low, high, limit, verdict.facts, found.limit_of,
                    corrected, upper if found.word in BOUNDED else None,
                )  # fmt: skip
