"""A run from its first line to its last: folder, lock, journal, workers, and the closing of the books."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from llmbench.errors import Interrupted, LlmbenchError, MachineError, RunError
from llmbench.machine.fingerprint import slug
from llmbench.run.ceilings import kept_ceilings
from llmbench.run.code import code_of
from llmbench.run.journal import Journal, Journaled, UnitKey, read_journal
from llmbench.run.listener import Listener
from llmbench.run.load import load_note, load_now
from llmbench.run.lock import device_lock
from llmbench.run.plan import estimate_s, to_measure, units_of
from llmbench.run.protocol import Hello, Unit
from llmbench.run.runner import Runner, Workers, ran_out
from llmbench.store.record import FAILED, WORST_FIRST, Record, Status
from llmbench.store.runs import MANIFEST, Code, Header, Load, Manifest, read_manifest, write_run
from llmbench.store.sentinels import sentinels_of
from llmbench.suite.case import Case, Point, expand, only
from llmbench.suite.catalog import Catalog, DeviceSpec
from llmbench.suite.suite import Match, Suite


@dataclass(frozen=True)
class Order:
    """What is asked for: a suite, which of its cases, and where the results go."""

    suite: Suite
    suite_path: Path
    catalog: Catalog
    results: Path
    only: Match = field(default_factory=dict)
    quick: bool = False
    ignore_prediction: bool = False
    campaign_id: str | None = None


class Outcome(NamedTuple):
    """How a run ended. `counts`: cases by status; those that were not reached are in none."""

    folder: Path
    complete: bool
    interrupted: bool
    cases: int
    counts: dict[str, int]

    @property
    def failed(self) -> bool:
        """Whether any case is wrong, error, crashed or timed out."""
        return any(self.counts.get(status, 0) for status in FAILED)


def start(order: Order, listener: Listener, *, max_minutes: float | None = None) -> Outcome:
    """Runs a suite.

    Raises: MachineError when the device is in use, or no worker comes up; nothing is left behind then.
    """
    begin = monotonic()
    suite = order.suite
    load = load_now() if suite.device == "cpu" else None
    code = code_of(suite.plugins, order.suite_path.parent)
    with device_lock(suite.device, uuid=order.catalog.device.uuid, run=suite.name) as lock:
        folder = new_folder(order.results, suite.name, order.catalog.device, code=code.commit or code.source_hash)
        workers = Workers(suite, folder, order.suite_path.parent, lock)
        try:
            _, hello = workers.start(0)
            header = _header(order, code, hello, folder, load)
            journal = Journal(folder)
            journal.header(header)
        except BaseException as e:
            try:
                workers.close()
            finally:
                _take_back(folder)
            if isinstance(e, KeyboardInterrupt):
                raise Interrupted("interrupted before a case was measured; nothing is kept") from None
            raise
        return _carry_out(folder, Journaled(header), journal, workers, listener, begin, max_minutes, order.results)


def resume(
    folder: Path, listener: Listener, *, force: bool = False, max_minutes: float | None = None,
    changed_suite: str | None = None,
) -> Outcome:  # fmt: skip
    """Goes on with a run that was stopped, killed or interrupted. `changed_suite`: how its suite differs now, if so.

    Raises: RunError when there is nothing to resume; MachineError when device, torch, triton, code or suite are not
    what they were (`force` goes on and records it).
    """
    begin = monotonic()
    found = read_journal(folder)
    suite, path = found.header.suite, Path(found.header.suite_path).parent
    with device_lock(suite.device, uuid=str(found.header.machine.facts.get("uuid") or ""), run=str(folder)) as lock:
        found = read_journal(folder, mend=True)
        if _is_complete(folder):
            return _outcome(folder, found, complete=True, interrupted=False)
        workers = Workers(suite, folder, path, lock)
        try:
            _, hello = workers.start(_first_open(found))
            differences = _differences(found.header, hello, code_of(suite.plugins, path), changed_suite)
            if differences and not force:
                raise MachineError(
                    f"{folder}: not resumed, since it would mix what cannot be compared: {'; '.join(differences)}. "
                    "Go on all the same with --force, or run the suite anew"
                )
        except BaseException as e:
            workers.close()
            if isinstance(e, KeyboardInterrupt):
                raise Interrupted(f"{folder}: interrupted before a case was measured; it is as it was") from None
            raise
        journal = Journal(folder)
        for note in ["resumed", *(f"forced: {d}" for d in differences)]:
            journal.note(note)
            found.notes.append(note)
        (folder / MANIFEST).unlink(missing_ok=True)
        return _carry_out(folder, found, journal, workers, listener, begin, max_minutes, folder.parents[2])


def points_of(suite: Suite, match: Match) -> list[Point]:
    """The points of a run. Raises: RunError when `match` leaves none."""
    points = only(expand(suite), match)
    if not points:
        raise RunError(f"--only leaves no case of suite {suite.name!r}")
    return points


def _carry_out(
    folder: Path, found: Journaled, journal: Journal, workers: Workers, listener: Listener, begin: float,
    max_minutes: float | None, results: Path,
) -> Outcome:  # fmt: skip
    """Measures the units that are open, then closes the run, interrupted or not."""
    header = found.header
    interrupted = complete = False
    try:
        points = points_of(header.suite, header.only)
        units = units_of(header.suite, points, ignore_prediction=header.ignore_prediction)
        open_units = [u for u in units if u.key not in found.units]
        cases = sum(len(u.cases) for u in units)
        listener.begins(
            cases=cases,
            done=cases - sum(len(u.cases) for u in open_units),
            estimate_s=estimate_s(header.suite, open_units, results),
        )
        for note in header.notes:
            listener.note(note)
        complete = Runner(header.suite, workers, journal, listener, lost=_lost(units, found)).run(
            open_units, until=None if max_minutes is None else begin + max_minutes * 60
        )
        workers.stop()
    except KeyboardInterrupt:
        interrupted = True
    except (LlmbenchError, OSError) as e:
        # what was measured until then is closed as it is; the error is told after that
        with suppress(LlmbenchError, OSError):
            journal.note(f"ended by: {e}")
            close(folder, complete=False)
        raise
    finally:
        workers.close()
        journal.close()
        listener.ends()
    try:
        return close(folder, complete=complete, interrupted=interrupted)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{folder}: interrupted while its tables were written; nothing is lost: llmbench run --resume {folder}"
        ) from None


def close(folder: Path, *, complete: bool, interrupted: bool = False) -> Outcome:
    """Writes parquet and `run.json` from the journal."""
    found = read_journal(folder)
    header = found.header
    units = units_of(header.suite, points_of(header.suite, header.only))
    outcome = _outcome(folder, found, complete=complete, interrupted=interrupted)
    manifest = Manifest(
        header, complete, outcome.counts, notes=tuple(dict.fromkeys([*header.notes, *found.notes])),
        wall_s=sum(found.wall_s.values()),
        unit_wall_s=_mean_by_unit(found.wall_s), ledger_s=found.ledger_s,
        sentinels=sentinels_of(found.looks, started=header.started),
    )  # fmt: skip
    write_run(folder, manifest, list(_in_order(units, found)), found.telemetry)
    return outcome


def _lost(units: Sequence[Unit], found: Journaled) -> list[Case]:
    """The cases that ran out of memory before the run was stopped."""
    return [case for case, record in _in_order(units, found) if ran_out(record)]


def _in_order(units: Sequence[Unit], found: Journaled) -> list[tuple[Case, Record]]:
    """Every record with its case, in the order of the suite."""
    pairs = []
    for unit in units:
        records = {r.case_id: r for r in found.units.get(unit.key, ())}
        pairs += [(c, records[c.case_id]) for c in unit.cases if c.case_id in records]
    return pairs


def _outcome(folder: Path, found: Journaled, *, complete: bool, interrupted: bool) -> Outcome:
    points = points_of(found.header.suite, found.header.only)
    statuses: dict[str, list[Status]] = {}
    for records in found.units.values():
        for record in records:
            statuses.setdefault(record.case_id, []).append(record.status)
    counts = Counter(min(seen, key=WORST_FIRST.index) for seen in statuses.values())
    return Outcome(
        folder, complete, interrupted, cases=sum(len(p.cases) for p in points),
        counts={s: counts[s] for s in reversed(WORST_FIRST) if counts[s]},
    )  # fmt: skip


def _mean_by_unit(wall_s: Mapping[UnitKey, float]) -> dict[str, float]:
    by_unit: dict[str, list[float]] = {}
    for (unit_id, _), seconds in wall_s.items():
        by_unit.setdefault(unit_id, []).append(seconds)
    return {unit_id: sum(all_s) / len(all_s) for unit_id, all_s in by_unit.items()}


def _first_open(found: Journaled) -> int:
    """The process of the first unit that is not done."""
    units = units_of(found.header.suite, points_of(found.header.suite, found.header.only))
    return next((u.process for u in units if u.key not in found.units and to_measure(u)), 0)


def _is_complete(folder: Path) -> bool:
    return (folder / MANIFEST).exists() and read_manifest(folder).complete


def new_folder(results: Path, suite: str, device: DeviceSpec, *, code: str, kind: str = "") -> Path:
    """A folder that nobody else has: `results/<suite>/<device>/<utc>-<sha7><kind>`, by the commit or hash `code`.

    Raises: RunError when it cannot be made.
    """
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{code[:7]}{kind}"
    parent = results / suite / slug(device.device, device.name)
    refused = "{}: cannot write results here: {}; choose another folder with --results"
    why = None
    for suffix in ("", *(f"-{i}" for i in range(2, 100))):
        try:
            (parent / (name + suffix)).mkdir(parents=True)
            return parent / (name + suffix)
        except (FileExistsError, FileNotFoundError) as e:  # another run has that name, or takes its own folders back
            why = e.strerror
        except OSError as e:
            raise RunError(refused.format(parent, e.strerror)) from e
    raise RunError(f"{parent}: a hundred runs within one second" if parent.is_dir() else refused.format(parent, why))


def _take_back(folder: Path) -> None:
    """Removes a run's folder, and those above it where they are empty: of the device, and of the suite."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # other runs are there
        folder.parent.rmdir()
        folder.parents[1].rmdir()


def _header(order: Order, code: Code, hello: Hello, folder: Path, load: Load | None) -> Header:
    note = load_note(load) if load else None
    return Header(
        run_id="/".join(folder.parts[-3:]),
        suite=order.suite,
        suite_path=str(order.suite_path.resolve()),
        only=order.only,
        quick=order.quick,
        machine=hello.machine,
        versions=hello.versions,
        code=code,
        started=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        param_types={p.name: p.type for op in order.catalog.ops for p in op.params},
        campaign_id=order.campaign_id,
        ignore_prediction=order.ignore_prediction,
        notes=tuple(dict.fromkeys([*([note] if note else []), *order.catalog.notes, *hello.notes])),
        load=load,
        ceilings=kept_ceilings(hello.machine.device_key),
    )


def _differences(header: Header, hello: Hello, code: Code, changed_suite: str | None) -> list[str]:
    """What is not as it was when the run began, one text each."""
    pairs = [
        ("torch", header.versions.get("torch"), hello.versions.get("torch")),
        ("triton", header.versions.get("triton"), hello.versions.get("triton")),
        ("code", header.code.source_hash[:12], code.source_hash[:12]),
    ]
    found = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
    before, now = header.machine.key, hello.machine.key
    found += [
        f"device's {k} was {before.get(k)}, is {now.get(k)}" for k in {**before, **now} if before.get(k) != now.get(k)
    ]
    return found + ([changed_suite] if changed_suite else [])
