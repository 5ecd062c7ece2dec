"""What the looks at the pairs of a suite gave, as arrays over its cases, and the words that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmbench.analyze.pair_rule import PairedRule
from llmbench.analyze.pair_stats import (
    Bools,
    Components,
    Floats,
    Ints,
    Moments,
    Spread,
    half_width,
    plain,
)

StageName = Literal["screen", "confirm", "extension", "spare"]
PairedWord = Literal["REGRESSED", "IMPROVED", "PASS", "INCONCLUSIVE"]
WORDS: tuple[PairedWord, ...] = ("REGRESSED", "IMPROVED", "PASS", "INCONCLUSIVE")
REGRESSED, IMPROVED, PASS, INCONCLUSIVE = range(4)


class Stage(NamedTuple):
    """One look at some cases; every array has one entry for each of `rows`, the places of these cases in the suite.

    `p` is against the margin: in the direction that was flagged, two-sided where none was; `rejected` at the
    family-wise `level` over `family` cases, in this look or an earlier one. `beyond` is the mean beyond the suite's
    shift where it has one, else NaN. `pass_level` is that of the one-sided limits.
    """

    name: StageName
    rows: Ints
    moments: Moments
    spread: Spread
    p: Floats
    rejected: Bools
    beyond: Floats
    level: float
    family: int
    pass_level: float
    least: int

    @property
    def known(self) -> Bools:
        """Which cases have pairs enough to be judged by this look."""
        return np.asarray((self.moments.n >= self.least) & (self.spread.df > 0))

    @property
    def to_limit(self) -> Floats:
        """From the mean of each case to its one-sided limits, by the larger of its own variance and the look's.

        A moderated variance is too small for a case that is noisier than its suite: one of 30 with a sigma of 5 %, the
        others 1 %, passed at its limit in 10 % of screens. By its own it does in `pass_level` at most.
        """
        by_look, by_own = (half_width(self.moments, s, self.pass_level) for s in (self.spread, plain(self.moments)))
        return np.maximum(by_look, by_own)


@dataclass(frozen=True)
class Shift:
    """What was found of the suite as a whole: D of its middle, log scale, over the fresh pairs of the panel.

    `screened` is the geomean of the suite in the screen, `confirmed` whether the fresh pairs reject the margin, `bound`
    the median limit of its cases, as a log.
    """

    flagged: int
    slower: bool
    screened: float
    moments: Moments
    spread: Spread
    p: float
    level: float
    confirmed: bool
    asked: bool  # whether there were fresh pairs enough
    bound: float

    @property
    def found(self) -> bool:
        """Whether it is confirmed and reaches the limit: what is less is no more a regression than that of one case."""
        mean = float(self.moments.mean[0])
        return self.confirmed and (mean >= self.bound if self.slower else mean <= -self.bound)


@dataclass(frozen=True)
class PairEvidence:
    """All that was seen. `bounds` are the limits as logs; `direction` is 1 for flagged as slower, -1 as faster."""

    keys: tuple[str, ...]
    limits: Floats
    bounds: Floats
    rule: PairedRule
    direction: NDArray[np.int8]
    stages: tuple[Stage, ...]  # in their order; a case may be in several, and the last that knows it decides
    shift: Shift | None
    components: Components | None
    short: tuple[StageName, ...]  # looks that got fewer pairs than they asked for
    asked: tuple[tuple[StageName, Ints], ...]  # each question: its look, and the cases that it was about

    def questions(self, look: StageName) -> dict[int, list[int]]:
        """Case -> the questions, from 1, whose pairs a look goes by."""
        of = ("confirm", "extension") if look == "extension" else (look,)
        found: dict[int, list[int]] = {}
        for number, (name, rows) in enumerate(self.asked, start=1):
            for row in rows.tolist() if name in of else ():
                found.setdefault(row, []).append(number)
        return found


def words_of(stages: Sequence[Stage], bounds: Floats) -> NDArray[np.int8]:
    """The word of each case, as an index into `WORDS`."""
    words = np.full(len(bounds), INCONCLUSIVE, np.int8)
    for stage in stages:
        known = stage.known
        words[stage.rows[known]] = _words_in(stage, bounds[stage.rows])[known]
    return words


def _words_in(stage: Stage, bound: Floats) -> NDArray[np.int8]:
    """REGRESSED: rejected, and the estimate reaches the limit, that beyond the suite's shift too. IMPROVED: likewise.

    PASS: the upper limit of the true ratio is below the limit, whatever was rejected below it.
    """
    mean, beyond = stage.moments.mean, np.where(np.isnan(stage.beyond), stage.moments.mean, stage.beyond)
    with np.errstate(invalid="ignore"):
        slower = stage.rejected & (mean >= bound) & (beyond >= bound)
        faster = stage.rejected & (mean <= -bound) & (beyond <= -bound)
        within = mean + stage.to_limit < bound
    return np.select([slower, faster, within], [REGRESSED, IMPROVED, PASS], INCONCLUSIVE).astype(np.int8)
