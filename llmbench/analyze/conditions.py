"""Conditions: what the machine did while two runs were measured, which their times show beside the code."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from llmbench.analyze.summary import Line, Summary
from llmbench.store.origin import Evidence
from llmbench.store.runs import Header

SLOWED = frozenset({"time", "compile_time", "energy", "power"})
"""Metrics that a slowed machine moves. Peak memory and counts are the same on a slow one."""

MOSTLY = 0.5  # of the samples of a case, above which it was measured on a throttled device
APART = 0.25  # between the two sides, from which they were measured on different states of the device
"""Both sides throttled alike can be compared: a large product runs into its power limit always."""

LEAST = 0.01  # a common change below this is the drift between any two runs
ALIKE = 1 / 3  # of the mean, on the log scale: 1.3 and all between 1.19 and 1.42
MIN_CASES, MIN_IMPLS = 3, 2


@dataclass(frozen=True)
class Conditions:
    """What the machine did while a case was measured."""

    throttled: float  # share of its samples of time that were taken while the device was throttled
    busy_cores: float  # of the CPU that was measured, kept busy by other programs; 0 where they are too few to matter


def conditions_of(line: Line, header: Header) -> Conditions:
    """The conditions of a case of the run with that header."""
    flag, load = line.flag("throttled"), header.load
    throttled = flag.share if flag and flag.share else 0.0
    return Conditions(throttled, load.busy_cores if load and load.heavy else 0.0)


def disturbance(a: Conditions, b: Conditions, *, slower: bool, not_slower: bool) -> str | None:
    """Why what is said of a time of the run (B) against its baseline (A) may be the machine's doing; None if it stands.

    Said is that B is `slower`, that it is `not_slower`, or neither. Load only ever slows: what is no slower in spite of
    it is no slower, and what is slower than a baseline under load is slower.
    """
    if max(a.throttled, b.throttled) > MOSTLY and abs(a.throttled - b.throttled) >= APART:
        shares = f"{b.throttled:.0%} of the run's samples and {a.throttled:.0%} of the baseline's"
        return f"the device was throttled in {shares}: the times compare its states, not code"
    busy = []
    if b.busy_cores and (a.busy_cores or not not_slower):
        busy.append(f"{b.busy_cores:.1f} cores during the run")
    if a.busy_cores and (b.busy_cores or not slower):
        busy.append(f"{a.busy_cores:.1f} cores during the baseline")
    return f"other programs kept busy {' and '.join(busy)}: it may be their doing" if busy else None


def notes(a: Line, b: Line, names: tuple[str, str]) -> Iterator[str]:
    """What differs in how a case was measured on the two sides."""
    for fact in ("timer", "order", "grad"):
        before, after = getattr(a, fact), getattr(b, fact)
        if before != after and before and after:
            yield f"{fact} {before} in {names[0]}, {after} in {names[1]}"
    marked = [side for side, line in zip(names, (a, b), strict=True) if line.flag("throttled")]
    if marked:
        yield f"throttled in {' and '.join(marked)}"


def weaknesses(summary: Summary, evidence: Evidence, name: str) -> Iterator[str]:
    """What weakens the numbers of the run that `name` stands for."""
    manifest = evidence.run.manifest
    load = manifest.header.load
    if load is not None and load.heavy:
        busy = f"{load.busy_cores:.1f} of {load.cores} cores"
        yield f"{name} shared its CPU with other programs, which kept {busy} busy: its times are off"
    if not manifest.complete:
        yield f"{name} is incomplete: it stopped before its last case"
    if evidence.origin.quick:
        yield f"{name} is a quick run: fit to see that it works, not to decide"
    if manifest.header.code.dirty:
        yield f"{name} had uncommitted changes: its commit does not name its code"
    for flag, text in (("throttled", "sampled while the device was throttled"), ("unchecked", "not checked")):
        cases = sum(f.name == flag for line in summary.lines for f in line.flags)
        if cases:
            yield f"{name} has {cases} case{'s' if cases > 1 else ''} {text}"


def moved_together(ratios: Sequence[tuple[str, float]]) -> str | None:
    """What to say when the times of all cases, as (implementation, ratio), changed by a similar factor; or None.

    A machine does that to every implementation; a change of code to one, as a rule.
    """
    logs = [math.log(ratio) for _, ratio in ratios]
    if len(logs) < MIN_CASES or len({impl for impl, _ in ratios}) < MIN_IMPLS:
        return None
    mean = fmean(logs)
    if abs(mean) < math.log1p(LEAST) or max(abs(x - mean) for x in logs) > ALIKE * abs(mean):
        return None
    way, factors = "longer" if mean > 0 else "shorter", f"{math.exp(min(logs)):.3g} to {math.exp(max(logs)):.3g}"
    return (
        f"all {len(logs)} times became {way} by a similar factor, {factors}:"
        " rather the machine (clock, driver, load) or what all share than the code of an implementation"
    )
