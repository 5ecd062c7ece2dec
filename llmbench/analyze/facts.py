"""What is true of a whole run: what was measured where, what its cases share, what its reader must know first."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from llmbench.analyze.limits import noise_limits
from llmbench.store.query import Row, Run
from llmbench.suite.catalog import Scalar
from llmbench.suite.suite import Suite


@dataclass(frozen=True)
class Facts:
    """A run in a few lines. `bundles`: axis -> label -> the parameters that it sets, for labels that vary."""

    run_id: str
    folder: str
    suite: str
    op: str
    device: str
    device_name: str
    arch: str
    started: str
    wall_s: float
    commit: str | None
    dirty: bool
    quick: bool
    complete: bool
    versions: dict[str, str]
    cache: str
    order: str
    processes: int
    target_ci: float
    baseline: dict[str, Scalar]
    constants: dict[str, Scalar]
    told: tuple[str, ...]  # the constants that are worth saying: set by the suite or not at their default
    varying: tuple[str, ...]
    bundles: dict[str, dict[str, dict[str, Scalar]]]
    counts: dict[str, int]  # cases by status, each by its worst process
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def facts_of(run: Run, *, counts: Mapping[str, int], flagged: Mapping[str, int]) -> Facts:
    """The facts of a run; `counts` cases by status, `flagged` cases by flag."""
    header, suite, machine = run.manifest.header, run.manifest.header.suite, run.manifest.header.machine
    changing = varying(run.rows, suite)
    constants = _constants(run.rows, suite, changing)
    return Facts(
        run_id=header.run_id,
        folder=str(run.folder),
        suite=suite.name,
        op=suite.op.name,
        device=machine.device,
        device_name=machine.device_name,
        arch=machine.arch,
        started=header.started,
        wall_s=run.manifest.wall_s,
        commit=header.code.commit,
        dirty=header.code.dirty,
        quick=header.quick,
        complete=run.manifest.complete,
        versions=dict(header.versions),
        cache=suite.measure.cache,
        order=suite.order,
        processes=len({r.process for r in run.rows}),
        target_ci=suite.measure.target_ci,
        baseline=dict(suite.baseline),
        constants=constants,
        told=tuple(k for k, v in constants.items() if _is_told(suite, k, v)),
        varying=changing,
        bundles={k: v for k, v in _bundles(suite).items() if k in changing},
        counts=dict(counts),
        warnings=tuple(_warnings(run, flagged)),
        notes=tuple(dict.fromkeys((*header.notes, *run.manifest.notes))),
    )


def varying(rows: Iterable[Row], suite: Suite) -> tuple[str, ...]:
    """Axes and parameters that take several values in these rows, axes first, in the order of the suite and the op.

    Parameters that a named bundle sets are left out: its label stands for them.
    """
    seen: dict[str, set[Scalar | None]] = {name: set() for name in _names(suite)}
    for facts in _combinations(rows):
        for name in facts:
            seen.setdefault(name, set())
        for name, values in seen.items():
            values.add(facts.get(name))
    many = [name for name, values in seen.items() if len(values) > 1]
    labelled = {k for axis, labels in _bundles(suite).items() if axis in many for v in labels.values() for k in v}
    return tuple(name for name in many if name not in labelled)


def _combinations(rows: Iterable[Row]) -> Iterator[dict[str, Scalar]]:
    """The parameters and axes that occur: rows share theirs, so most are told to be the same without a look inside."""
    for row in {(id(r.params), id(r.axes)): r for r in rows}.values():
        yield {**row.params, **row.axes}


def _constants(rows: Iterable[Row], suite: Suite, changing: tuple[str, ...]) -> dict[str, Scalar]:
    """What every case shares, by name, in the order of the axes and the op."""
    shared: dict[str, Scalar] | None = None
    for facts in _combinations(rows):
        shared = facts if shared is None else {k: v for k, v in shared.items() if facts.get(k) == v}
    left = {k: v for k, v in (shared or {}).items() if k not in changing}
    names = _names(suite)
    return dict(sorted(left.items(), key=lambda kv: names.index(kv[0]) if kv[0] in names else len(names)))


def _is_told(suite: Suite, name: str, value: Scalar) -> bool:
    spec = suite.op.param(name)
    if name == "dtype":  # no number means anything without it
        return True
    return spec is None or name in suite.fixed or spec.default != value or name in {a.name for a in suite.axes}


def _bundles(suite: Suite) -> dict[str, dict[str, dict[str, Scalar]]]:
    """The named bundles of the suite: axis -> label -> parameters."""
    found = {a.name: {v.label: dict(v.params) for v in a.values if v.label is not None} for a in suite.axes}
    return {name: labels for name, labels in found.items() if labels}


def _names(suite: Suite) -> list[str]:
    return list(dict.fromkeys([*(a.name for a in suite.axes), *(p.name for p in suite.op.params)]))


def _noise_text(suite: Suite) -> str:
    """`±3%`, or `±3% to ±10%` where cases have limits of their own."""
    return " to ".join(f"±{limit:.0%}" for limit in dict.fromkeys(noise_limits(suite)))


def _warnings(run: Run, flagged: Mapping[str, int]) -> Iterable[str]:
    """What makes the numbers weaker than they look, most important first."""
    header = run.manifest.header
    if not run.manifest.complete:
        yield "incomplete: the run stopped before its last case"
    if header.quick:
        yield "quick run: short budgets on the ends of the axes; fit to see that it works, not to decide"
    if header.code.dirty:
        yield "uncommitted changes were measured: the commit does not name this code"
    texts = {
        "noisy": f"an interval wider than {_noise_text(header.suite)} of the median, too wide to decide on",
        "few_samples": "fewer than six samples, so no interval",
        "throttled": "samples taken while the device was throttled",
        "drift": "a time that changed while it was sampled",
        "autocorrelated": "samples that follow each other, so that their intervals are too narrow",
        "modes": "two modes, of which a median shows one",
        "processes_differ": "processes whose intervals do not overlap",
        "apart": "no interleaving with the rest of their point, so drift is in their speed-ups",
        "unchecked": "no check of their outputs",
        "skipped_steps": "updates that loss scaling skipped for an overflow, so that they learned less",
    }
    for name, text in texts.items():
        if flagged.get(name):
            yield f"{flagged[name]} case{'s' if flagged[name] > 1 else ''} with {text}"
