"""Pairs of real processes on the simulated device: both layouts, what a pair costs that fails, the exact tier."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import cast

import numpy as np
import psutil
import pytest
from paired_repository import SIMULATED, simulated_repository, write

from llmbench.run.local import WorkerDied
from llmbench.run.lock import DeviceLock
from llmbench.run.paired.cores import Cores, cores_for
from llmbench.run.paired.pair import Plan, Setting, measure_pair
from llmbench.run.paired.process import Crew, NotStarted, SideBroken
from llmbench.run.paired.source import Source
from llmbench.run.paired.subject import Asked, Sides, open_sides
from llmbench.run.paired.tier import Tier, look_at
from llmbench.run.paired.turns import QUADS, SIDES
from llmbench.run.protocol import Hello, Offer, Offered
from llmbench.suite.case import Case, expand
from llmbench.suite.load import parse, resolve
from llmbench.suite.suite import Suite

ONCE = '''
import os
from pathlib import Path


class Dies:
    """Works until the file `die` is there, which it takes with it."""

    def __init__(self, p):
        self.kernel = SimulatedKernel(p)

    def __call__(self, x):
        if DIE.exists():
            DIE.unlink()
            os.abort()
        return self.kernel(x)


DIE = Path({path!r})
import dataclasses
simulated.impls["mine"] = dataclasses.replace(simulated.impls["mine"], setup=Dies)
'''


class NoLock:
    """A lock that nobody asks for."""

    def uses(self, pid: int) -> None:
        """Notes nothing."""


def silent(text: str) -> None:
    """Hears what nobody needs to know here."""


@dataclass
class Bench:
    """A crew that is at work on the suite of a repository."""

    crew: Crew
    suite: Suite
    cases: list[Case]
    setting: Setting
    tier: Tier
    plans: list[Plan]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pair")


@pytest.fixture
def die(folder: Path) -> Path:
    return folder / "die"


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Bench]:
    own = simulated_repository(folder / "repo")
    write(own, {"sim_kernels.py": SIMULATED + ONCE.format(path=str(folder / "die"))})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(own)
        yield from at_work(folder)


def at_work(folder: Path) -> Iterator[Bench]:
    """A crew on the suite of the working directory."""
    with open_sides(Asked("suite.yaml", base="main")) as sides:
        crew = Crew(sides, "simulated", sides.plugins, folder, None, cast(DeviceLock, NoLock()), silent)
        try:
            pair = crew.pair()
            catalog = pair.head.ask(Offer(), Offered, timeout_s=60).catalog
            suite = resolve(parse(sides.suite_path.read_bytes()), catalog)
            cases = [case for point in expand(suite) for case in point.cases]
            setting = Setting(suite.measure, suite.seed, Cores())
            tier = look_at(
                cases, crew, setting, pair, isolation="point", packages=["sim_kernels"], say=lambda text: None
            )
            yield Bench(crew, suite, cases, setting, tier, tier.plans(cases))
        finally:
            crew.drop()


def test_pairs_in_both_layouts_hold_every_block_of_every_case(bench: Bench, die: Path) -> None:
    assert len(bench.plans) == 4 and bench.tier.fits_together(bench.plans)
    both = measure_pair(bench.plans, bench.crew, bench.setting, Random(1), layout="both", look=1, number=0)
    apart = measure_pair(bench.plans, bench.crew, bench.setting, Random(1), layout="sequential", look=1, number=1)
    for found, processes in ((both, 1), (apart, 2)):
        assert found.complete and not found.losses
        assert set(Counter((b.case_id, b.side) for b in found.blocks).values()) == {2 * QUADS}
        for side in SIDES:
            assert len({b.process for b in found.blocks if b.side == side}) == processes
        assert [b.order for b in found.blocks] == list(range(len(found.blocks)))
        sizes = {p.key: p.size for p in bench.plans}
        assert all(len(b.time_s) == sizes[b.case_id].samples and b.counts for b in found.blocks)

    late = replace(bench.setting, deadline=0.0)
    cut = measure_pair(bench.plans, bench.crew, late, Random(1), layout="both", look=1, number=2)
    assert not cut.complete and not any(b.counts for b in cut.blocks)

    die.touch()
    lost = measure_pair(bench.plans, bench.crew, bench.setting, Random(2), layout="both", look=1, number=3)
    (loss,) = lost.losses
    assert loss.side == "head" and loss.record is not None and loss.record.status == "crashed"
    assert "SIGABRT" in loss.why and lost.complete
    left = {b.case_id for b in lost.blocks if b.counts}
    assert left == {p.key for p in bench.plans} - {loss.key} and len(left) == 3


def test_a_source_gives_a_column_a_pair_and_none_when_the_time_is_up(
    bench: Bench, die: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source(setting: Setting) -> Source:
        plans = {p.key: p for p in bench.plans}
        return Source(bench.crew, setting, plans, "both", "point", Random(3), lambda text: None)

    keys = [p.key for p in bench.plans]
    firsts: list[str] = []
    start = bench.crew.pair
    monkeypatch.setattr(bench.crew, "pair", lambda first: (firsts.append(first), start(first))[1])
    given = source(bench.setting)
    d_CP = given.take(keys, 3)
    assert firsts in (["base", "head", "head"], ["head", "base", "base"])
    assert d_CP.shape == (4, 3) and bool(np.isfinite(d_CP).all()) and float(np.abs(d_CP).max()) < 0.02
    assert len({round(float(d), 12) for d in d_CP.ravel()}) == 12, "pairs are fresh: none is like another"
    alone = given.alone(keys[:2], 1)
    assert alone.shape == (2, 1) and all(b.alone for b in given.blocks if b.look == -1)
    assert not any(b.alone for b in given.blocks if b.look == 1) and (given.pairs, given.looks) == (4, 1)
    spent = source(replace(bench.setting, deadline=0.0))
    assert spent.take(keys, 3).shape == (4, 0) and spent.spent


def test_the_exact_tier_has_two_processes_a_side_and_agrees_on_the_block_once(bench: Bench) -> None:
    for case in bench.cases:
        for side in SIDES:
            records = bench.tier.records[side, case.case_id]
            assert [r.status for r in records] == ["ok", "ok"] and records[0].process != records[1].process
            assert {"peak_memory", "launches"} <= {m.metric for m in records[0].measurements}
    assert not bench.tier.disagreeing(bench.cases)
    assert {p.size.calls for p in bench.plans} == {1} and {p.timer for p in bench.plans} == {"simulated"}
    assert [s.module for s in bench.tier.sources["base"]] == ["sim_kernels"]
    assert bench.tier.sources["base"][0].digest != bench.tier.sources["head"][0].digest
    small = replace(bench.tier, free_bytes=1000.0)
    assert not small.fits_together(bench.plans)


def test_a_side_that_does_not_import_is_named_and_the_other_one_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = simulated_repository(tmp_path / "repo")
    write(folder, {"sim_kernels.py": "raise ValueError('not today')\n"})
    monkeypatch.chdir(folder)
    with open_sides(Asked("suite.yaml", base="main")) as sides:
        crew = Crew(sides, "simulated", sides.plugins, tmp_path, None, cast(DeviceLock, NoLock()), lambda text: None)
        with pytest.raises(SideBroken) as broken:
            crew.pair()
        assert list(broken.value.why) == ["head"] and "ValueError: not today" in broken.value.why["head"]
        assert not crew.up


@dataclass
class Stub:
    """A worker that greets, or ends before it does."""

    end: WorkerDied | None

    def greeting(self, *, within_s: float) -> Hello:
        if self.end is not None:
            raise self.end
        return cast(Hello, None)

    def kill(self) -> None:
        """Nothing is there to be killed."""


SIGKILLED, EXITED = WorkerDied(-9, ""), WorkerDied(7, "some output")
NO_PLUGIN = WorkerDied(2, "llmbench: plugin 'sim_kernels' cannot be loaded: ValueError: not now")


@pytest.mark.parametrize(
    ("head", "error", "why"),
    [
        ([SIGKILLED, None, None], None, "head: a process did not start (killed by SIGKILL): another one was started"),
        ([SIGKILLED, SIGKILLED], NotStarted, "killed by SIGKILL, in two tries"),
        ([SIGKILLED, EXITED], SideBroken, "head: some output"),
        ([EXITED], SideBroken, "head: some output"),
        ([None, EXITED, None], None, "head: a process did not start (exited with code 7; last output: some output)"),
        ([NO_PLUGIN], SideBroken, "head: plugin 'sim_kernels' cannot be loaded: ValueError: not now"),
        ([None, NO_PLUGIN, NO_PLUGIN], NotStarted, "exited with code 2; last output: llmbench: plugin 'sim_kernels'"),
    ],
)
def test_what_a_process_that_does_not_start_is_put_down_to(
    monkeypatch: pytest.MonkeyPatch, head: list[WorkerDied | None], error: type[Exception] | None, why: str
) -> None:
    """How processes of the head end before they greet, one after the other; two pairs of fresh ones are wanted."""
    ends = {"head": iter(head), "base": iter([None, None])}
    monkeypatch.setattr(Crew, "_worker", lambda crew, side: Stub(next(ends[side])))
    monkeypatch.setattr(Sides, "of", lambda sides, name: name)
    sides, notes = object.__new__(Sides), list[str]()
    crew = Crew(sides, "cpu", (), Path(), None, cast(DeviceLock, NoLock()), notes.append)
    if error is None:
        assert len({crew.pair().head.number, crew.pair().head.number}) == 2
        assert len(notes) == 1 and notes[0].startswith(why)
        return

    def all_tries() -> None:
        for _ in head:
            crew.pair()
            crew.drop()

    with pytest.raises(error, match=re.escape(why)) as raised:
        all_tries()
    assert getattr(raised.value, "side", "head") == "head" and not crew.up


def test_each_side_has_extensions_of_its_own_over_all_pairs(bench: Bench) -> None:
    """torch.utils.cpp_extension finds what it built by name: the head would run the base's kernels."""
    bench.crew.drop()
    seen = []
    for _ in range(2):
        pair = bench.crew.pair()
        seen.append([psutil.Process(p.worker.pid).environ()["TORCH_EXTENSIONS_DIR"] for p in pair])
        bench.crew.drop()
    (base, head), again = seen
    assert again == [base, head] and base != head and len(base) == len(head)
    trees = [side.path for side in (bench.crew.sides.base, bench.crew.sides.head)]
    assert [Path(base).parent, Path(head).parent] == [tree.parent for tree in trees if tree is not None]


def test_workers_and_parent_have_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert cores_for("cpu", threads=1) == Cores((3,), (0, 1, 2))
    assert cores_for("cpu", threads=2).text == "both sides on cores 2, 3, the parent on 0, 1"
    assert cores_for("cpu", threads=4) == Cores((0, 1, 2, 3), ())
    assert cores_for("cpu", threads=8) == cores_for("cuda:0", threads=1) == Cores()
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    assert cores_for("cpu", threads=1).text == "both sides on core 0"
