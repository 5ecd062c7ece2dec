"""An audit of rules that gate on times: how often each calls what did not change a regression, and what each sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmbench.analyze.pair_noise import BLOCK, QUADS, Noise, SimulatedPairs
from llmbench.analyze.pair_rule import PairedRule
from llmbench.analyze.paired import Judged, judge_pairs
from llmbench.analyze.rival_rules import ASV_BY, HISTORY, RULES, Rule, Runs
from llmbench.analyze.step_pairs import halves, pool

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

EFFECTS = (0.02, 0.03, 0.05)
SAMPLES = 100  # of a process: what criterion takes, and pytest-benchmark gets in its second at 10 ms a call
STEPS = 40  # of a side in recorded runs, of which those of 100 steps are the most frequent
DRAWS = 2000  # D of each recorded run
PLANTED = 0.02  # of the cases for each effect: 6 % together stay below what asks about the suite as a whole
LIMITS = (0.01, 0.03)  # of our rule: below the effects, which an estimate must reach to be REGRESSED, and the default
OURS = PairedRule(spare_pairs=0)  # without a budget to spend on cases that cannot pass: rivals have no such verdict
TURNS, DROPPED = 3, 5  # of a quad, and the iterations that are dropped after each
ITERATION_S, START_S = 1e-3, 5.0  # what `seconds` assumes

Source = Literal["simulated", "recorded"]


@dataclass(frozen=True)
class Line:
    """A rule's record. Shares: of unchanged cases that are red, and of cases slowed by each of the effects.

    `undecided` is the share of unchanged cases that are INCONCLUSIVE, a word that is ours. Costs are means over
    unchanged suites: `iterations` of a case on both sides, `processes` of a suite, and its `seconds` at 1 ms an
    iteration and 5 s to start a process. What `history` runs of the base cost is not counted.
    """

    rule: str
    told: str
    source: str
    suites: int
    suites_red: int
    cases_red: float
    power: tuple[float, ...]
    iterations: float
    processes: float
    seconds: float
    history: int = 0
    undecided: float | None = None


@dataclass(frozen=True)
class GateAudit:
    """All rules over the same data; `missing`: rules that the data cannot judge, with why."""

    source: Source
    told: str
    suites: int
    cases: int
    seed: int
    lines: tuple[Line, ...]
    missing: tuple[tuple[str, str], ...]
    effects: tuple[float, ...] = EFFECTS
    asv_by: str = ASV_BY


def simulated(*, suites: int, cases: int, seed: int, noise: Noise | None = None) -> GateAudit:
    """Every rule over suites that are drawn from the noise model."""
    noise = noise or Noise()
    rng = np.random.default_rng(seed)
    theirs = _rivals(RULES, lambda: runs_of(noise, rng, cases), suites, SAMPLES)
    ours = tuple(_ours(limit, noise, rng, suites, cases) for limit in LIMITS)
    told = (
        f"sd of a run {noise.run:.2%}, of a case in a run {noise.case_run:.2%}, of a process {noise.process:.2%}, of "
        f"an iteration {noise.iteration:.2%} with lag-1 correlation {noise.correlation:g} and {noise.outliers:.0%} "
        f"outliers; so sigma of a pair {noise.sigma_pair:.2%}"
    )
    return GateAudit("simulated", told, suites, cases, seed, (*theirs, *ours), ())


def recorded(series: Sequence[Floats], *, suites: int, cases: int, seed: int) -> GateAudit:
    """The rules that compare two sides over recorded step times; cases of a suite are drawn from the series.

    A base and a head that are the same code: for tools that measure one after the other the two halves of a random
    window of 80 steps, for pairs random quads of single steps (`step_pairs`).
    """
    rng = np.random.default_rng(seed)
    rules = [rule for rule in RULES if not rule.history]

    def draw() -> Runs:
        picked = [series[i] for i in rng.integers(0, len(series), cases).tolist()]
        base, head = halves(picked, rng, STEPS)
        return Runs(base[:, None], head[:, None])

    theirs = _rivals(rules, draw, suites, STEPS)
    drawn = pool(series, rng, DRAWS)
    ours = tuple(_ours(limit, drawn, rng, suites, cases) for limit in LIMITS)
    missing = tuple((r.name, f"needs {r.history} earlier runs of the same code") for r in RULES if r.history)
    told = (
        f"{len(series)} recorded runs, {sum(map(len, series)):,} steps; base and head from one run, so nothing changed"
    )
    return GateAudit("recorded", told, suites, cases, seed, (*theirs, *ours), missing)


def runs_of(noise: Noise, rng: np.random.Generator, cases: int) -> Runs:
    """An unchanged suite as tools see it: base and head in runs of their own, two processes each, and a history."""
    scales = noise.scales(rng, cases)
    levels = _levels(noise, rng, cases, HISTORY + 3)  # history, base, head, and a second run of the head
    processes = noise.of_processes(rng, (2, cases, 2))
    iterations = noise.of_iterations(rng, (2, cases, 2, SAMPLES))
    sides = [
        np.exp((levels[:, [HISTORY + i], None] + processes[i][..., None] + iterations[i]) * scales[:, None, None])
        for i in range(2)
    ]
    others = np.r_[0:HISTORY, HISTORY + 2]
    alone = levels[:, others] + noise.of_processes(rng, (cases, len(others))) + noise.mean_offset
    means = np.exp((alone + noise.mean_sd(SAMPLES) * rng.standard_normal(alone.shape)) * scales[:, None])
    return Runs(sides[0], sides[1], means[:, :-1], means[:, -1])


def _levels(noise: Noise, rng: np.random.Generator, cases: int, runs: int) -> Floats:
    """[case, run]: what all cases of a run share, and each case of it."""
    return np.asarray(rng.normal(0, noise.run, runs) + rng.normal(0, noise.case_run, (cases, runs)))


def _rivals(rules: Sequence[Rule], draw: Callable[[], Runs], suites: int, samples: int) -> tuple[Line, ...]:
    """The same suites for every rule, unchanged and with every case slowed by each effect."""
    red = {rule.name: np.zeros((suites, 1 + len(EFFECTS))) for rule in rules}
    alarms, cases = dict.fromkeys(red, 0), 0
    for suite in range(suites):
        runs = draw()
        cases = len(runs.base)
        slowed = [runs, *(runs.slowed(effect) for effect in EFFECTS)]
        for rule in rules:
            seen = [rule.judge(some) for some in slowed]
            red[rule.name][suite] = [s.mean() for s in seen]
            alarms[rule.name] += bool(seen[0].any())
    lines = []
    for rule in rules:
        shares = red[rule.name].mean(axis=0).tolist()
        processes = rule.processes * (rule.runs if rule.history else 2)
        iterations = float(processes * samples)
        lines.append(
            Line(
                rule.name, rule.told, rule.source, suites, alarms[rule.name], shares[0], tuple(shares[1:]), iterations,
                processes, processes * START_S + iterations * cases * ITERATION_S, rule.history,
            )
        )  # fmt: skip
    return tuple(lines)


def _ours(limit: float, source: Noise | Floats, rng: np.random.Generator, suites: int, cases: int) -> Line:
    """Our gate over unchanged suites, and over as many with a few cases slowed by each effect."""
    limits = {str(i): limit for i in range(cases)}
    effects, planted = _planted(cases)
    alarms, measured, pairs = 0, 0, 0
    words = np.zeros((suites, 2))
    found = np.zeros((suites, len(EFFECTS)))
    for suite in range(suites):
        take = SimulatedPairs(tuple(limits), source, rng)
        judged = judge_pairs(limits, take, rule=OURS)
        alarms += judged.red
        words[suite] = [_share(judged, word, slice(None)) for word in ("REGRESSED", "INCONCLUSIVE")]
        measured += sum(asked * n for asked, n in take.asked)
        pairs += sum(n for _, n in take.asked)
        slowed = judge_pairs(limits, SimulatedPairs(tuple(limits), source, rng, effects=effects), rule=OURS)
        found[suite] = [_share(slowed, "REGRESSED", places) for places in planted]
    iterations = measured / suites / cases * QUADS * (2 * BLOCK + TURNS * DROPPED)
    processes = 2 * pairs / suites
    red, undecided = words.mean(axis=0).tolist()
    return Line(
        f"llmbench gate paired, limit {limit:.0%}", "8 pairs, then 24 fresh ones of what they flag",
        "llmbench/analyze/paired.py", suites, alarms, red, tuple(found.mean(axis=0).tolist()), iterations, processes,
        processes * START_S + iterations * cases * ITERATION_S, undecided=undecided,
    )  # fmt: skip


def _planted(cases: int) -> tuple[Floats, list[slice]]:
    """The effect of each case, as logs, and where each of `EFFECTS` is."""
    each = max(1, min(round(PLANTED * cases), cases // len(EFFECTS)))
    effects, places = np.zeros(cases), []
    for i, effect in enumerate(EFFECTS):
        places.append(slice(i * each, (i + 1) * each))
        effects[places[-1]] = np.log1p(effect)
    return effects, places


def _share(judged: Judged, word: str, places: slice) -> float:
    seen = judged.words[places]
    return sum(w == word for w in seen) / len(seen)
