"""What a run will do: its units in order, and how long that will take."""

from collections.abc import Sequence
from pathlib import Path

from llmbench.errors import RunError
from llmbench.run.fork_server import can_fork
from llmbench.run.protocol import Unit
from llmbench.store.runs import find_run, read_manifest
from llmbench.suite.case import Case, Point
from llmbench.suite.suite import Suite

START_S = 4.0  # a worker's imports, as seen on a 2-core machine
MADE_ANEW_S = 6.0  # more, where each case has its worker: 7.2 s a case of train_step on 2 cores, forked
CASE_S = 1.0  # build, check and memory pass of a case without history; compiling takes longer, tiny kernels less


BLOCKS_OF_AN_ATTEMPT = 2**20  # more than any attempt has: blocks of two attempts have no number in common
APART = 1024  # cases of a point that have no number in common: their product is kept in 32 bits


def units_of(suite: Suite, points: Sequence[Point], *, ignore_prediction: bool = False) -> list[Unit]:
    """Every unit of work: the points in order, once a process, process by process so that drift meets them alike.

    Where each case has its worker, each is a unit.
    """
    last = next((p.point_id for p in reversed(points) if any(case.skip is None for case in p.cases)), None)
    alone = suite.isolation == "case"
    return [
        Unit(
            unit_id, process, cases, suite.measure, suite.probes, suite.seed, ignore_prediction,
            first_block=number % APART * BLOCKS_OF_AN_ATTEMPT, closes=alone or unit_id == last,
        )
        for process in range(suite.measure.processes)
        for point in points
        for number, (unit_id, cases) in enumerate(_units_of(point, alone=alone))
    ]  # fmt: skip


def _units_of(point: Point, *, alone: bool) -> list[tuple[str, tuple[Case, ...]]]:
    return [(case.case_id, (case,)) for case in point.cases] if alone else [(point.point_id, point.cases)]


def to_measure(unit: Unit) -> int:
    """Cases of a unit that are not skipped."""
    return sum(case.skip is None for case in unit.cases)


def estimate_s(suite: Suite, units: Sequence[Unit], results: Path) -> float:
    """Wall seconds that the units will take, from the newest run of this suite on this device where there is one."""
    known = _unit_wall_s(suite, results)
    alone = suite.isolation == "case"
    starts_each = alone and not can_fork(suite.device)
    case_s = suite.measure.max_s + CASE_S + MADE_ANEW_S * alone + START_S * starts_each
    guess = [known.get(u.unit_id, to_measure(u) * case_s) for u in units]
    return sum(guess) + (0.0 if starts_each else START_S * len({u.process for u in units}))


def _unit_wall_s(suite: Suite, results: Path) -> dict[str, float]:
    try:
        manifest = read_manifest(find_run(f"latest:{suite.name}", results))
    except RunError:
        return {}
    same = manifest.header.suite.device == suite.device and manifest.header.suite.measure == suite.measure
    return manifest.unit_wall_s if same else {}
