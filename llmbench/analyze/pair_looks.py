"""The looks of the paired gate, each asking for the pairs it needs: screen, suite, confirm and extension, spare."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmbench.analyze.pair_evidence import INCONCLUSIVE, Shift, Stage, StageName, words_of
from llmbench.analyze.pair_rule import PairedRule
from llmbench.analyze.pair_stats import (
    Bools,
    Floats,
    Ints,
    Moments,
    Spread,
    half_width,
    holm,
    moderated,
    moments,
    p_above,
    p_below,
    plain,
    pooled,
)

TINY = 1e-9  # a bound of 0, of a rule without a margin, divides nothing

Take = Callable[[Sequence[str], int], Floats]
Room = Callable[[Sequence[str]], float]  # how many pairs of these cases the budget suffices for
Signs = NDArray[np.int8]


@dataclass(frozen=True)
class Suite:
    """Cases with their bounds (log of 1 + limit), the rule, and where pairs come from."""

    keys: tuple[str, ...]
    bounds: Floats
    rule: PairedRule
    take: Take
    room: Room
    short: list[StageName] = field(default_factory=list)  # looks that got fewer pairs than they asked for
    asked: list[tuple[StageName, Ints]] = field(default_factory=list)  # each question's look and cases, in order

    @cached_property
    def margin(self) -> float:
        """The rule's margin as a log."""
        return float(np.log1p(self.rule.margin))

    def ask(self, look: StageName, rows: Ints, pairs: int, *, panel: Ints | None = None) -> Floats:
        """D[row, pair] of fresh pairs, what is not finite as NaN; that of a panel, which is not judged by it, after.

        Raises: ValueError for an answer of another shape.
        """
        about, rows = rows, rows if panel is None else np.concatenate([rows, panel])
        if not len(rows) or not pairs:
            return np.empty((len(rows), 0))
        self.asked.append((look, about))
        d_RP = np.asarray(self.take([self.keys[i] for i in rows.tolist()], pairs), dtype=np.float64)
        if d_RP.ndim != 2 or d_RP.shape[0] != len(rows) or d_RP.shape[1] > pairs:
            raise ValueError(f"{look}: asked for {len(rows)} cases x {pairs} pairs, got an array of {d_RP.shape}")
        if d_RP.shape[1] < pairs and look not in self.short:
            self.short.append(look)
        return np.where(np.isfinite(d_RP), d_RP, np.nan)


class Screened(NamedTuple):
    """The first look, D as `d` [case, pair]. `direction`: 1 for a case flagged as slower, -1 as faster, else 0."""

    d: Floats
    stage: Stage
    direction: Signs


def screen(suite: Suite) -> Screened:
    """Every case, variances moderated over the suite; it flags, and rejects nothing."""
    rows, rule = np.arange(len(suite.keys)), suite.rule
    d_CP = suite.ask("screen", rows, rule.screen_pairs)
    m = moments(d_CP)
    spread = moderated(m)
    p = np.minimum(p_above(m, spread, suite.margin), p_below(m, spread, -suite.margin))
    nothing, unknown = np.zeros(len(rows), np.bool_), np.full(len(rows), np.nan)
    stage = Stage(
        "screen", rows, m, spread, p, nothing, unknown, 0.0, len(rows), rule.pass_level / 2, rule.screen_least
    )
    return Screened(d_CP, stage, _flags(suite, m, spread))


def confirm(suite: Suite, first: Screened) -> tuple[list[Stage], Shift | None]:
    """Flagged cases on fresh pairs; where many are flagged, the suite as a whole first."""
    rule, flagged = suite.rule, np.flatnonzero(first.direction)
    many = len(flagged) > rule.systemic_share * len(suite.keys) or len(flagged) >= rule.systemic_cases
    slower = _suspected(suite, first) if many else None
    if slower is None:
        rows = _affordable(suite, flagged, first)
        return _looks(suite, rows, first.direction[rows], _measuring(suite, rows)), None
    return _confirm_with_shift(suite, first, flagged, slower)


def _affordable(suite: Suite, flagged: Ints, first: Screened) -> Ints:
    """The flagged cases, or where the budget does not suffice for a verdict on all of them those that it does suffice
    for: slower before faster, those first that are surely the furthest beyond their limit; one at least.
    By the screen and the clock alone, so that fresh pairs are as fresh as ever.
    """
    least = suite.rule.confirm_least
    if not len(flagged) or suite.room([suite.keys[i] for i in flagged.tolist()]) >= least:
        return flagged
    direction, mean = first.direction[flagged], first.stage.moments.mean[flagged]
    beyond = direction * mean - first.stage.to_limit[flagged] - suite.bounds[flagged]
    surest = flagged[np.lexsort((-beyond, -direction))]
    keys = [suite.keys[i] for i in surest.tolist()]
    suite.short.append("confirm")
    return np.sort(surest[: next((n for n in range(len(keys) - 1, 1, -1) if suite.room(keys[:n]) >= least), 1)])


def spare(suite: Suite, first: Screened, stages: Sequence[Stage]) -> Stage | None:
    """Left-over budget, spent on the cases that were not flagged and could not pass.

    Each gets a round of fresh pairs; after that the half of those that still wait that is the furthest from its limit
    (what it could see, over what it is asked to) gets another. A case waits until its fresh pairs would let it pass if
    it were unchanged, with so much power that all open cases together would in 19 of 20 suites; until `take` gives
    fewer pairs than asked, or the rule's most is reached. Who waits, and when it ends, depends on variances alone and
    never on the means of fresh pairs: nobody peeks at the effect. The one test at the end, of these pairs alone and
    two-sided, takes the larger of their variance and that of the screen and them together, since spending ends early
    where their own came out small.
    """
    rule, words = suite.rule, words_of(stages, suite.bounds)
    m = first.stage.moments
    rows = np.flatnonzero((words == INCONCLUSIVE) & (first.direction == 0) & (m.n > 0))
    if not len(rows) or not rule.spare_pairs:
        return None
    d_RP = np.full((len(rows), rule.spare_pairs), np.nan)
    used, bounds = np.zeros(len(rows), np.int64), suite.bounds[rows]
    screened = m.of(rows)
    reach = np.full(len(rows), np.inf)  # nothing is known yet by fresh pairs
    while True:
        waiting = np.flatnonzero((reach > bounds) & (used < rule.spare_pairs))
        if not len(waiting):
            break
        short = reach[waiting] / np.maximum(bounds[waiting], TINY)
        worst = waiting[short >= np.median(short)]
        pairs = min(rule.spare_round, rule.spare_pairs - int(used[worst].max()))
        got = suite.ask("spare", rows[worst], pairs)
        d_RP[worst[:, None], used[worst][:, None] + np.arange(got.shape[1])] = got
        used[worst] += got.shape[1]
        if got.shape[1] < pairs:
            break
        fresh = moments(d_RP[worst])
        reach[worst] = _reach(fresh, screened.of(worst), rule, miss=rule.spare_open / len(rows))
    m = moments(d_RP)
    spread = pooled(m, screened)
    p = np.maximum(_p_either(m, plain(m), suite.margin), _p_either(m, spread, suite.margin))
    p = np.where(m.n >= rule.confirm_least, p, 1.0)
    level = rule.level * rule.spare_level_share
    return Stage(
        "spare", rows, m, spread, p, holm(p, level), np.full(len(rows), np.nan), level, len(rows),
        rule.pass_level / 2, rule.confirm_least,
    )  # fmt: skip


def _reach(m: Moments, screened: Moments, rule: PairedRule, *, miss: float) -> Floats:
    """What the upper limit of a case whose true mean is 0 stays below but with probability `miss`; infinite if unknown.

    By variances and numbers of pairs alone.
    """
    found = [half_width(m, s, rule.pass_level / 2) + half_width(m, s, miss) for s in (plain(m), pooled(m, screened))]
    return np.where(m.n > 1, np.maximum(*found), np.inf)


def _p_either(m: Moments, spread: Spread, margin: float) -> Floats:
    """Two-sided: slower or faster by more than the margin."""
    return np.asarray(np.minimum(1.0, 2 * np.minimum(p_above(m, spread, margin), p_below(m, spread, -margin))))


def _flags(suite: Suite, m: Moments, spread: Spread) -> Signs:
    enough = m.n >= suite.rule.screen_least
    slower = enough & (p_above(m, spread, suite.margin) < suite.rule.screen_level)
    faster = enough & (p_below(m, spread, -suite.margin) < suite.rule.screen_level)
    return (slower.astype(np.int8) - faster.astype(np.int8)).astype(np.int8)


def _suspected(suite: Suite, first: Screened) -> bool | None:
    """Whether the suite as a whole looks slower (or, False, faster); None where it does not look moved.

    Both its geomean and its median case must reject the margin, pair by pair.
    """
    known = first.stage.known
    if known.sum() < suite.rule.systemic_least:
        return None
    d_KP = first.d[known]
    series = np.vstack([_over_cases(np.mean, d_KP), _over_cases(np.median, d_KP)])
    m = moments(series)
    direction = _flags(suite, m, plain(m))
    return None if direction[0] == 0 or direction[0] != direction[1] else bool(direction[0] > 0)


def _confirm_with_shift(suite: Suite, first: Screened, flagged: Ints, slower: bool) -> tuple[list[Stage], Shift | None]:
    """The panel and what stands out of the suite, on the same fresh pairs; all that was flagged if none is found."""
    rule, known = suite.rule, first.stage.known
    relative = first.d - _over_cases(np.median, first.d[known])
    m = moments(relative)
    out = np.where(known, _flags(suite, m, moderated(m)), np.int8(0)).astype(np.int8)
    inside = np.flatnonzero(known & (out == 0))
    panel = inside[np.argsort(np.abs(m.mean[inside]), kind="stable")[: rule.panel]]
    standing_out = np.flatnonzero(out)
    measure = _measuring(suite, standing_out, panel)
    got = measure("confirm", np.arange(len(standing_out)), rule.confirm_pairs)
    assert got.common is not None
    screened = float(np.nanmean(first.stage.moments.mean[known]))
    bound = float(np.median(suite.bounds[known]))
    shift = _shift(suite, got.common, slower, len(flagged), screened, bound)
    if shift.found or not shift.asked:
        return _looks(suite, standing_out, out[standing_out], measure, got), shift
    rows = np.union1d(flagged, standing_out)
    direction = np.where(first.direction[rows] != 0, first.direction[rows], out[rows]).astype(np.int8)
    measured = np.isin(rows, standing_out)
    fresh = np.full((len(rows), rule.confirm_pairs), np.nan)
    fresh[measured, : got.d.shape[1]] = got.d
    more = suite.ask("confirm", rows[~measured], rule.confirm_pairs)
    fresh[~measured, : more.shape[1]] = more
    return _looks(suite, rows, direction, _measuring(suite, rows), Fresh(fresh, None)), shift


def _shift(suite: Suite, common: Floats, slower: bool, flagged: int, screened: float, bound: float) -> Shift:
    m = moments(common[None, :])
    spread, level = plain(m), suite.rule.level * suite.rule.systemic_level_share
    p = p_above(m, spread, suite.margin) if slower else p_below(m, spread, -suite.margin)
    asked = bool(m.n[0] >= suite.rule.confirm_least)
    confirmed = asked and bool(p[0] <= level)
    return Shift(flagged, slower, screened, m, spread, float(p[0]), level, confirmed, asked, bound)


class Fresh(NamedTuple):
    """D of fresh pairs [row, pair], and what the panel had in common in each of them, if there is a panel."""

    d: Floats
    common: Floats | None


Measure = Callable[[StageName, Ints, int], Fresh]  # (look, places in the rows, pairs)


def _measuring(suite: Suite, rows: Ints, panel: Ints | None = None) -> Measure:
    """Measures some of `rows`, always together with the panel if there is one."""

    def measure(look: StageName, places: Ints, pairs: int) -> Fresh:
        if panel is None:
            return Fresh(suite.ask(look, rows[places], pairs), None)
        d_RP = suite.ask(look, rows[places], pairs, panel=panel)
        return Fresh(d_RP[: len(places)], _over_cases(np.median, d_RP[len(places) :]))

    return measure


def _looks(suite: Suite, rows: Ints, direction: Signs, measure: Measure, got: Fresh | None = None) -> list[Stage]:
    """The confirm, and one extension for what it left open."""
    rule, everything = suite.rule, np.arange(len(rows))
    if not len(rows):
        return []
    got = got or measure("confirm", everything, rule.confirm_pairs)
    look = rule.level * rule.confirm_level_share
    first = _tested(suite, "confirm", rows, direction, got, level=look, family=len(rows), before=None)
    words = words_of([first], suite.bounds)[rows]
    left = np.flatnonzero(words == INCONCLUSIVE)
    if not len(left) or not rule.extend_pairs or "confirm" in suite.short:
        return [first]
    more = measure("extension", left, rule.extend_pairs)
    if not more.d.shape[1]:
        return [first]
    common = None if got.common is None or more.common is None else np.concatenate([got.common, more.common])
    both = Fresh(np.hstack([got.d[left], more.d]), common)
    second = _tested(
        suite, "extension", rows[left], direction[left], both, level=rule.level * rule.extend_level_share,
        family=len(rows), before=first.rejected[left],
    )  # fmt: skip
    return [first, second]


def _tested(
    suite: Suite, name: StageName, rows: Ints, direction: Signs, got: Fresh, *, level: float, family: int,
    before: Bools | None,
) -> Stage:  # fmt: skip
    """A look at fresh pairs by plain t, against the margin and, where the suite has a shift, against that too."""
    m = moments(got.d)
    spread, beyond = plain(m), np.full(len(rows), np.nan)
    p = _p_in(direction, m, spread, suite.margin)
    if got.common is not None:
        apart = moments(got.d - got.common)
        p, beyond = np.maximum(p, _p_in(direction, apart, plain(apart), suite.margin)), apart.mean
    p = np.where(m.n >= suite.rule.confirm_least, p, 1.0)
    rejected = holm(p, level, family)
    return Stage(
        name, rows, m, spread, p, rejected if before is None else rejected | before, beyond, level, family,
        suite.rule.pass_level / 4 if suite.rule.extend_pairs else suite.rule.pass_level / 2, suite.rule.confirm_least,
    )  # fmt: skip


def _p_in(direction: Signs, m: Moments, spread: Spread, margin: float) -> Floats:
    return np.where(direction > 0, p_above(m, spread, margin), p_below(m, spread, -margin))


def _over_cases(statistic: Callable[..., Floats], d_CP: Floats) -> Floats:
    """The mean or median of each pair's finite values, NaN where it has none."""
    if np.isfinite(d_CP).all() and len(d_CP):
        return np.asarray(statistic(d_CP, axis=0), dtype=np.float64)
    columns = [column[np.isfinite(column)] for column in d_CP.T]
    return np.array([float(statistic(c)) if len(c) else np.nan for c in columns])
