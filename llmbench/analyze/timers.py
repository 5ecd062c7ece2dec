"""How good timers are: error against the truth, spread over fresh processes, seconds, and one score of the last two."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from llmbench.store.timers import Function, TimerAudit, Trial

OURS = "llmbench"
RESAMPLES = 4000
SEED = 0
LEAST = 5  # repetitions that an interval needs
QUANTILE = 1.96  # of the normal distribution, for 95 %

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A tool on a function. `spread` is the sd of log(value), `score` = spread x sqrt(seconds), both as fractions.

    The score is the spread that the tool would have in one second, were its noise white: less is better.
    """

    tool: str
    n: int
    failed: int
    value_s: float | None = None  # median over repetitions
    error: float | None = None  # of that median, as a share of the truth
    spread: float | None = None
    seconds: float | None = None  # mean
    score: float | None = None
    low: float | None = None
    high: float | None = None
    why: str | None = None  # of the last failure


@dataclass(frozen=True)
class Standing:
    """Our score over that of the best other tool, with its interval: at or below 1 we are at least as good."""

    other: str
    ratio: float
    low: float | None
    high: float | None

    @property
    def at_or_below(self) -> bool:
        """Whether our score is at or below the best other."""
        return self.ratio <= 1

    @property
    def decided(self) -> bool:
        """Whether the interval is on one side of 1."""
        return self.low is not None and self.high is not None and (self.high <= 1 or self.low > 1)


@dataclass(frozen=True)
class Findings:
    """A function by all tools. `truth_s` is what errors are against; where it is not `known`, the median of the tools.

    `loop_error` is by what share a busy loop misses its truth by its own account (median over trials).
    """

    function: Function
    truth_s: float | None
    known: bool
    loop_error: float | None
    lines: tuple[Line, ...]
    best: str | None
    standing: Standing | None


def findings(audit: TimerAudit) -> list[Findings]:
    """What the trials say, function by function, tools in the order of the audit."""
    tools = [t.name for t in audit.tools if t.why_not is None]
    return [_of_function(f, tools, [t for t in audit.trials if t.function == f.name], audit) for f in audit.functions]


def _of_function(function: Function, tools: Sequence[str], trials: Sequence[Trial], audit: TimerAudit) -> Findings:
    by_tool = {tool: [t for t in trials if t.tool == tool] for tool in tools}
    medians = {
        tool: median(values)
        for tool, found in by_tool.items()
        if (values := [t.value_s for t in found if t.value_s is not None])
    }
    truth_s = function.truth_s if function.truth_s is not None else median(medians.values()) if medians else None
    drawn = _resampled(by_tool, audit.repetitions)
    lines = tuple(_line(tool, by_tool[tool], truth_s, drawn.get(tool)) for tool in tools)
    scores = {line.tool: line.score for line in lines if line.score is not None}
    errors = [t.loop_error for t in trials if t.loop_error is not None]
    return Findings(
        function, truth_s, function.truth_s is not None, median(errors) if errors else None, lines,
        min(scores, key=scores.__getitem__) if scores else None, _standing(scores, drawn),
    )  # fmt: skip


def _line(tool: str, trials: Sequence[Trial], truth_s: float | None, drawn: Floats | None) -> Line:
    ok = [(t.value_s, t.seconds) for t in trials if t.value_s is not None and t.seconds is not None]
    failures = [t.why for t in trials if t.why is not None]
    why = failures[-1] if failures else None
    if not ok:
        return Line(tool, 0, len(failures), why=why)
    values, seconds = [v for v, _ in ok], [s for _, s in ok]
    value_s = median(values)
    error = value_s / truth_s - 1 if truth_s else None
    if len(ok) < 2:
        return Line(tool, 1, len(failures), value_s, error, seconds=seconds[0], why=why)
    spread = float(np.std(np.log(values), ddof=1))
    score = spread * math.sqrt(fmean(seconds))
    low, high = _interval(score, drawn)
    return Line(tool, len(ok), len(failures), value_s, error, spread, fmean(seconds), score, low, high, why)


def _resampled(by_tool: Mapping[str, Sequence[Trial]], repetitions: int) -> dict[str, Floats]:
    """Scores by tool over the same draws of repetitions, which all tools shared: drift hits their ratio less."""
    draws = np.random.default_rng(SEED).integers(0, repetitions, (RESAMPLES, repetitions))
    found = {}
    for tool, trials in by_tool.items():
        logs, seconds = np.full((2, repetitions), np.nan)
        for t in trials:
            if t.value_s is not None and t.seconds is not None:
                logs[t.repetition], seconds[t.repetition] = math.log(t.value_s), t.seconds
        if np.isfinite(logs).sum() >= LEAST:
            found[tool] = _scores(logs[draws], seconds[draws])
    return found


def _scores(logs: Floats, seconds: Floats) -> Floats:
    """The score of each row; NaN where a row holds fewer than two trials. NaN in a row is a trial that failed."""
    there = np.isfinite(logs)
    n = there.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, logs, 0).sum(axis=1) / n
        squares = (np.where(there, logs - mean[:, None], 0) ** 2).sum(axis=1)
        variance = np.where(n > 1, squares / (n - 1), np.nan)
        found: Floats = np.sqrt(variance * (np.where(there, seconds, 0).sum(axis=1) / n))
    return found


def _interval(found: float, drawn: Floats | None) -> tuple[float | None, float | None]:
    """`found` divided and multiplied by exp(1.96 x the sd of the log of its bootstrap draws); None where it has none.

    For the spread of ten normal values a nominal 95 % covers 93 %, where percentiles of the draws cover 77 %; of ten
    with heavy tails (Student's t, 3 degrees of freedom) 76 % and 52 %. The ratio to the best of four: 85 %.
    """
    if drawn is None or not found > 0:
        return None, None
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    if len(drawn) < RESAMPLES / 2:
        return None, None
    factor = math.exp(QUANTILE * float(np.std(np.log(drawn))))
    return found / factor, found * factor


def _standing(scores: Mapping[str, float], drawn: Mapping[str, Floats]) -> Standing | None:
    """Us against the best other, chosen anew in each draw: what is chosen for being least looks too good."""
    others = {tool: value for tool, value in scores.items() if tool != OURS}
    if OURS not in scores or not others:
        return None
    best = min(others, key=others.__getitem__)
    if others[best] <= 0:
        return None
    ratio = scores[OURS] / others[best]
    rivals = [drawn[tool] for tool in others if tool in drawn]
    if OURS not in drawn or not rivals:
        return Standing(best, ratio, None, None)
    least = np.fmin.reduce(rivals)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = _interval(ratio, drawn[OURS] / least)
    return Standing(best, ratio, low, high)
