"""The watch of a worker: when it looks at the sentinels, and what becomes of what they took."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from llmbench.machine.fingerprint import Machine
from llmbench.machine.simulated import DEVICE, simulated_machine
from llmbench.measure import sentinels
from llmbench.run import watch
from llmbench.run.journal import Journal, read_journal
from llmbench.run.plan import units_of
from llmbench.run.protocol import Message, Stage, StageName, Telemetry, Unit, UnitDone, Watched
from llmbench.run.session import close
from llmbench.run.worker import Bench, measure_unit, open_bench
from llmbench.store.runs import Code, Header, read_manifest
from llmbench.store.sentinels import Look, Sentinel, Visit, sentinel_levels, sentinels_of
from llmbench.suite.case import expand
from llmbench.suite.catalog import OpSpec, ParamSpec
from llmbench.suite.suite import Axis, AxisValue, Measure, Skip, Suite

CPU = torch.device("cpu")
STARTED = "2026-01-01T00:00:00Z"


@pytest.fixture
def said() -> list[Message]:
    return []


@pytest.fixture
def bench(said: list[Message]) -> Iterator[Bench]:
    """That of a worker on the simulated device."""

    def stage(name: StageName, case_id: str | None) -> None:
        said.append(Stage(name, case_id))

    yield open_bench(CPU, simulated_machine(), said.append, stage)
    DEVICE.restart("0")


def unit(*, closes: bool = False, wanted: bool = True) -> Unit:
    return Unit("p", 0, (), Measure(sentinels=wanted), (), seed=0, closes=closes)


def looks(said: list[Message]) -> list[Watched]:
    return [m for m in said if isinstance(m, Watched)]


def test_a_worker_looks_when_it_begins_after_twenty_seconds_and_when_it_ends(
    bench: Bench, said: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_unit(unit(), bench)
    measure_unit(unit(), bench)
    assert len(looks(said)) == 1 and watch.EVERY_S == 20.0
    assert [v.name for v in looks(said)[0].visits] == ["gemm", "copy", "launch"]
    assert said[0] == Stage("sentinels"), "who hangs in there has a name"
    monkeypatch.setattr(watch, "perf_counter", lambda now=watch.perf_counter: now() + 20.1)
    measure_unit(unit(), bench)
    measure_unit(unit(), bench)
    assert len(looks(said)) == 2
    measure_unit(unit(closes=True), bench)
    assert len(looks(said)) == 3 and isinstance(said[-1], UnitDone) and isinstance(said[-2], Watched)
    done = [m for m in said if isinstance(m, UnitDone)]
    assert [m.ledger_s.get("sentinels", 0.0) > 0 for m in done] == [True, False, True, False, True]
    assert all(len(v.samples_s) == sentinels.SAMPLES for look in looks(said) for v in look.visits)


def test_a_suite_that_wants_none_has_none(bench: Bench, said: list[Message]) -> None:
    measure_unit(unit(wanted=False, closes=True), bench)
    assert [type(m) for m in said] == [UnitDone] and bench.watch.kernels is None


def test_slow_sentinels_are_looked_at_less_often(
    bench: Bench, said: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look takes at most a hundredth of the time between two."""
    ticks = iter(range(0, 10**6, 3))  # s: each look at the clock is three seconds after the one before
    monkeypatch.setattr(watch, "perf_counter", lambda: float(next(ticks)))
    bench.watch.before(unit())
    assert bench.watch.next_s == 6 + 3 * 100


def test_a_sentinel_that_fails_is_left_out_and_said(
    bench: Bench, said: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> object:
        raise RuntimeError("CUDA out of memory\nand more")

    bench.watch.make(unit())
    assert bench.watch.kernels is not None
    bench.watch.kernels[1] = bench.watch.kernels[1]._replace(call=fails)
    measure_unit(unit(closes=True), bench)
    assert [[v.name for v in look.visits] for look in looks(said)] == [["gemm", "launch"]] * 2
    notes = [m.note for m in said if isinstance(m, Telemetry)]
    assert notes == ["sentinel copy is left out: CUDA out of memory"]


def test_what_cannot_be_made_is_left_out_and_said(
    bench: Bench, said: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinels, "COPY_BYTES", {"cpu": 2**60})
    bench.watch.device_type = "cpu"
    bench.watch.make(unit())
    assert [k.name for k in bench.watch.kernels or ()] == ["gemm", "launch"]
    (note,) = [m.note for m in said if isinstance(m, Telemetry)]
    assert note is not None and note.startswith("sentinel copy is left out: ")


def suite(**changes: object) -> Suite:
    op = OpSpec("toy", 1, "", (ParamSpec("size", "int"),), ("infer",), ())
    axis = Axis("size", tuple(AxisValue({"size": n}) for n in (1, 2, 3)))
    given = {"name": "s", "op": op, "device": "cpu", "impls": ("mul",), "phases": ("infer",), "axes": (axis,)}
    return Suite(**{**given, "fixed": {}, "measure": Measure(processes=2), **changes})  # type: ignore[arg-type]


def test_a_worker_is_told_which_unit_is_its_last() -> None:
    whole = suite()
    assert [u.closes for u in units_of(whole, expand(whole))] == [False, False, True] * 2
    skipped = suite(skip=(Skip({"size": (3,)}, "too large"),))
    assert [u.closes for u in units_of(skipped, expand(skipped))] == [False, True, False] * 2


def test_what_was_seen_is_on_disk_at_once_and_in_the_run_when_it_is_closed(tmp_path: Path) -> None:
    header = Header(
        "s/cpu/now", suite(), "s.yaml", {}, False, Machine("cpu", "EPYC", "cpu", 1, 1), {"torch": "2.6"},
        Code(None, False, "f" * 40), STARTED, {"size": "int"},
    )  # fmt: skip
    journal = Journal(tmp_path)
    journal.header(header)
    seen = [
        Look(p, 1767225600.0 + at, (Visit("gemm", 1, "w", (1.0 + at, 2.0)), Visit("copy", 1, "w", (3.0,))))
        for p, at in ((0, 0.5), (0, 21.25), (1, 60.0))
    ]
    for look in seen:
        journal.sentinels(look)
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 4
    assert read_journal(tmp_path).looks == seen
    journal.close()
    outcome = close(tmp_path, complete=False)
    kept = read_manifest(tmp_path).sentinels
    assert kept[0] == Sentinel("gemm", 1, "w", 0, (1.5, 2.0, 22.25, 2.0), (0.5, 0.5, 21.25, 21.25))
    assert [(s.name, s.process) for s in kept] == [("gemm", 0), ("copy", 0), ("gemm", 1), ("copy", 1)]
    assert outcome.counts == {}, "a sentinel is no case"


def test_the_level_of_a_sentinel_is_the_median_of_its_logs_over_all_processes() -> None:
    found = sentinels_of(
        [
            Look(0, 0.0, (Visit("gemm", 1, "w", (1.0, 2.0, 9.0)),)),
            Look(1, 0.0, (Visit("gemm", 1, "w", (8.0, 0.0)), Visit("gemm", 2, "w", (5.0,)))),
        ],
        started=STARTED,
    )
    one, other = sentinel_levels(found)
    assert one.level_s == pytest.approx(4.0) and one.samples == 4, "2 and 8 are in the middle; 0 has no logarithm"
    assert (other.version, other.level_s) == (2, pytest.approx(5.0))
    assert sentinel_levels([]) == ()
