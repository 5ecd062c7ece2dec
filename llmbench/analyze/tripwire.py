"""The stored gate against a store of baselines: times by their history, counts exactly, creep since acceptance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmbench.analyze.change import Change, change
from llmbench.analyze.compare import ONE_PROCESS
from llmbench.analyze.history import ALPHA, MIN_RUNS, PACED, SUSPICION, Key, Standing, standings
from llmbench.analyze.limits import Limits, limits_of, named_facts
from llmbench.analyze.pace import Move, moves_of, pace_of, told
from llmbench.analyze.stored import Inconclusive, Outcome, gate, refuse_quick, without_baseline
from llmbench.analyze.verdict import Correction, Finding, Word, judge_change, pace_text, percent
from llmbench.metrics import DETERMINISTIC
from llmbench.store.baselines import Store
from llmbench.store.entry import when
from llmbench.store.origin import Evidence
from llmbench.store.past import FIRST, Levels, Past, levels_of, read_past, versions_text
from llmbench.store.query import Row
from llmbench.store.sentinels import sentinel_levels

LEAST_CORRECTION = 0.0005  # of a time: what a sentinel moved by less is none to speak of
MOST = 0.9  # of the times that follow no sentinel: if they are slower, and sentinels are, the machine may have done it


def gate_by_store(store: Store, head: Evidence, *, inconclusive: Inconclusive = "fail") -> Outcome:
    """Judges every case of the run by the current segment of its suite, device and software in a store.

    Status and counts are compared with the latest run there, as `gate` does, and counts with the first one too. Times
    are judged by all its runs. Cumulated drift since the segment's start is REGRESSED, and not a warning: the segment's
    start is what was accepted last, each run alone stays below every limit, and a history that drifts would take its
    own drift for usual; who wants it so says it with `baseline accept`.

    Raises: UsageError when the run is a quick one; what reading the store raises.
    """
    refuse_quick("RUN", head)
    past = read_past(store, head)
    if isinstance(past, str):
        return without_baseline(head, past, inconclusive=inconclusive)
    limits = limits_of(head.run.manifest.header.suite)
    watched = [e.sentinels for e in past.runs]
    pace = pace_of(watched, sentinel_levels(head.run.manifest.sentinels), least=MIN_RUNS)
    tested = [name for name in limits.metrics if name not in DETERMINISTIC]
    gated = _gated(levels_of(head.run.rows), head.run.rows, limits)
    known, moves = standings(past.levels, gated, tested, pace), moves_of(pace)
    slowed = _slowed(moves, known)
    judge = _Judge(known, _rows(past.first.run.rows), _rows(head.run.rows), store.url, slowed)
    outcome = gate(past.last, head, inconclusive=inconclusive, by=judge)
    others = [w for w in outcome.warnings if w != ONE_PROCESS]
    warnings = (*_moved(moves, known), *_doubts(outcome, known), *others)
    return replace(outcome, history=_history(past, known), warnings=warnings)


def told_slower(store: Store, head: Evidence) -> str | None:
    """`30 % slower than usual in 1 case, more than its history allows`, of a run beyond it; None for any other.

    Raises: as `gate_by_store`.
    """
    outcome = gate_by_store(store, head)
    times = [f for v in outcome.verdicts for f in v.findings if f.word == "REGRESSED" and f.runs is not None]
    ratios = [f.change.ratio for f in times if f.change.ratio is not None and f.change.ratio >= 1 + f.limit]
    if not ratios:
        return None
    cases = f"{len(ratios)} case{'s' if len(ratios) > 1 else ''}"
    most = f"{'up to ' if len(ratios) > 1 else ''}{pace_text(max(ratios))}"
    return f"{most} than usual in {cases}, more than its history allows"


@dataclass(frozen=True)
class _Judge:
    """Judges a metric of a case by its standing, a count by the latest and the first run."""

    standings: dict[Key, Standing]
    first: dict[Key, list[Row]]
    head: dict[Key, list[Row]]
    url: str
    slowed: Move | None  # what the machine did where nearly all times that follow no sentinel are slower

    def __call__(self, case_id: str, changed: Change, limit: float) -> Finding:
        key = case_id, changed.metric
        if changed.metric in DETERMINISTIC:
            found = judge_change(changed, limit)
            since = change(changed.metric, self.first.get(key, []), self.head.get(key, []))
            if found.word not in ("PASS", "IMPROVED") or since is None or since.a is None:
                return found
            crept = judge_change(since, limit)
            reason = f"{crept.reason.replace('the baseline', 'the first run since acceptance')}; {_accept(self.url)}"
            return replace(crept, reason=reason) if crept.word == "REGRESSED" else found
        standing = self.standings.get(key)
        if standing is None:
            return judge_change(changed, limit)
        word, reason = judge_standing(changed.metric, standing, limit, self.url)
        seen, correction = _as_change(changed, standing), correction_of(standing)
        is_slower = word in ("REGRESSED", "INCONCLUSIVE") and _is_paced(key, standing)
        if self.slowed is not None and standing.follows is None and is_slower:
            word = "INCONCLUSIVE" if standing.ratio < (1 + limit) * self.slowed.ratio else word
            told = "and whether that slows this case its history does not tell"
            reason = f"{reason}; but the machine was {self.slowed.text}, too, {told}"
        detectable = standing.detectable(limit)
        return Finding(changed.metric, word, reason, limit, detectable, seen, standing.runs, correction=correction)


def judge_standing(metric: str, standing: Standing, limit: float, url: str) -> tuple[Word, str]:
    """Word and reason of a metric with a history; `url` of the store, `limit` the share by which it may grow."""
    top, ratio = 1 + limit, standing.ratio
    runs = f"{standing.runs} run{'s' if standing.runs > 1 else ''}"
    seen, correction = f"{metric} ratio {ratio:.4g} to the baseline's {runs}", correction_of(standing)
    if correction is not None:
        seen += f" on a machine that was {correction.text}, which is taken out"
    if standing.more is None or standing.less is None or standing.crept is None or standing.crept_more is None:
        missing = MIN_RUNS - standing.runs
        return "INCONCLUSIVE", f"{seen}; baseline too young: {standing.runs} of {MIN_RUNS} runs, {missing} missing"
    sight = _sight(standing, limit)
    slower, crept = ratio >= top and ratio > 1, standing.crept >= top and standing.crept > 1
    if slower and standing.more <= ALPHA:
        return "REGRESSED", f"{seen}, beyond what unchanged runs do ({_odds(standing.more)}) and the limit {top:.4g}"
    if crept and standing.crept_more <= ALPHA:
        told = f"{metric} has crept to {standing.crept:.4g} of the first {FIRST} runs since acceptance, in the latest "
        told += f"{FIRST} with this one; {_odds(standing.crept_more)}, limit {top:.4g}; {_accept(url)}"
        return "REGRESSED", told
    if slower and standing.more <= SUSPICION:
        odds = _odds(standing.more)
        return "INCONCLUSIVE", f"{seen}, reaches the limit {top:.4g}, but on too little evidence ({odds}); {sight}"
    if crept and standing.crept_more <= SUSPICION:
        told = f"{metric} may have crept to {standing.crept:.4g} of the first {FIRST} runs since acceptance"
        return "INCONCLUSIVE", f"{told}, on too little evidence ({_odds(standing.crept_more)}); {sight}"
    if ratio <= 1 / top and standing.less <= ALPHA:
        return "IMPROVED", f"{seen}, less than unchanged runs take ({_odds(standing.less)}); {_accept(url)}"
    if slower:
        return "PASS", f"{seen}, above {top:.4g} but within the prediction limit {standing.limit:.4g}; {sight}"
    return "PASS", f"{seen}, below the limit {top:.4g}; {sight}"


def correction_of(standing: Standing) -> Correction | None:
    """What was taken out of the ratio, if anything to speak of."""
    if standing.follows is None or abs(standing.moved - 1) < LEAST_CORRECTION:
        return None
    return Correction(standing.follows, standing.moved)


def _is_paced(key: Key, standing: Standing) -> bool:
    """Whether it is a time, with a history to be judged by."""
    return key[1] in PACED and standing.more is not None


def _slowed(moves: Sequence[Move], known: dict[Key, Standing]) -> Move | None:
    """What the machine did that may explain times that follow no sentinel: if it is slower, and nearly all of them are.

    Such a time is a regression only where it is slower by more than the machine and its limit together.
    """
    slower = [move for move in moves if move.ratio > 1]
    free = [s.ratio > 1 for key, s in known.items() if _is_paced(key, s) and s.follows is None]
    if not slower or sum(free) < MOST * len(free):
        return None
    return max(slower, key=lambda move: move.ratio)


def _moved(moves: Sequence[Move], known: dict[Key, Standing]) -> Sequence[str]:
    """What the machine did, if that is unusual, and what was done about it."""
    if not moves:
        return []
    cases = {key[0] for key, s in known.items() if _is_paced(key, s)}
    own = {key[0] for key, s in known.items() if correction_of(s) is not None}
    done = f"times were corrected in {len(own)} of {len(cases)} case{'s' if len(cases) > 1 else ''}"
    if not own:
        follow = any(s.follows is not None for s in known.values())
        why = (
            "those that follow a sentinel follow one that did not move" if follow else "none has a history of following"
        )
        done = f"no time was corrected, as {why}"
    return [f"{told(moves, than=f'in the last {moves[0].runs} runs')}: {done}"]


def _as_change(changed: Change, standing: Standing) -> Change:
    """The change from what is usual, instead of from the latest run."""
    low, high = standing.interval or (None, None)
    return replace(
        changed, a=standing.usual, b=standing.seen, ratio=standing.ratio, low=low, high=high,
        basis="history" if standing.interval else "none", log_error=standing.error, freedom=standing.freedom,
    )  # fmt: skip


def _history(past: Past, known: dict[Key, Standing]) -> str:
    """`12 runs with torch 2.13.0 since 2026-05-01 12:00 UTC, when X was accepted: why; ...`"""
    accepted, runs = past.segment.accepted, len(past.runs)
    text = f"{runs} run{'s' if runs > 1 else ''} with {versions_text(past.segment.soft)}"
    if accepted is not None:
        text += f" since {accepted.run.run_id} was accepted on {when(accepted)}: {accepted.why}"
    tests = 2 * sum(s.more is not None for s in known.values())
    if not tests:
        return text
    text += f"; unchanged code regresses in {percent(ALPHA)} of runs (one-sided, Holm over {tests} tests)"
    corrected = sum(correction_of(s) is not None for s in known.values())
    times = sum(_is_paced(key, s) for key, s in known.items())
    return f"{text}; {corrected} of {times} times corrected by sentinels" if corrected else text


def _doubts(outcome: Outcome, known: dict[Key, Standing]) -> Sequence[str]:
    """What a pass does not say."""
    found = [f for v in outcome.verdicts for f in v.findings if f.runs is not None]
    told = []
    young = [s.runs for s in known.values() if s.more is None]
    if young:
        told.append(
            f"baseline too young in {len(young)} of {len(known)} times: {min(young)} of {MIN_RUNS} runs, "
            f"{MIN_RUNS - min(young)} missing"
        )
    within = sum(f.word == "PASS" and (f.change.ratio or 0) >= 1 + f.limit > 1 for f in found)
    if within:
        cases = f"{within} time{'s' if within > 1 else ''}"
        told.append(f"{cases} above the limit but within what unchanged runs do: this history cannot settle them")
    return told


def _sight(standing: Standing, limit: float) -> str:
    return f"minimum detectable effect {percent(standing.detectable(limit) or 0)}"


def _odds(probability: float) -> str:
    return f"p = {probability:.2g}" if probability >= 1e-6 else "p < 1e-6"


def _accept(url: str) -> str:
    return f"if it is meant: llmbench baseline accept RUN --store {url} --why TEXT"


def _gated(levels: Levels, rows: Sequence[Row], limits: Limits) -> Levels:
    """The levels of metrics that are gated in their case: what is left out is no test either."""
    own = {row.case_id: limits.of(named_facts(row)).shares for row in {r.case_id: r for r in rows}.values()}
    return {(case, metric): level for (case, metric), level in levels.items() if metric in own[case]}


def _rows(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """The rows of whole cases by case and metric, one a process."""
    found: dict[Key, list[Row]] = {}
    for row in rows:
        if row.metric is not None and row.part is None:
            found.setdefault((row.case_id, row.metric), []).append(row)
    return found
