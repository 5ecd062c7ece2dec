"""The stored gate on a machine that is slower today: end to end on the simulated device, and by hand-made runs."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import llmbench_in
from example_runs import STEADY, stored_run
from gate_commands import Command, judged, of

from llmbench.analyze.history import Standing
from llmbench.analyze.pace import Move
from llmbench.analyze.stored import Outcome, gate
from llmbench.analyze.tripwire import _moved, gate_by_store
from llmbench.machine.probe import describe_device, probe, versions
from llmbench.machine.simulated import DEVICE, SLOWED_BY
from llmbench.ops.op import Impl
from llmbench.ops.registry import OPS, catalog
from llmbench.ops.simulated import SimulatedKernel
from llmbench.report import stored_page
from llmbench.run.journal import Journal
from llmbench.run.plan import units_of
from llmbench.run.protocol import Found, Message, UnitDone, Watched
from llmbench.run.session import close
from llmbench.run.worker import measure_unit, open_bench
from llmbench.store.baselines import Store, open_store
from llmbench.store.origin import read_evidence
from llmbench.store.runs import Code, Header, read_manifest
from llmbench.store.sentinels import Look
from llmbench.suite.case import expand
from llmbench.suite.load import parse, resolve

RUNS, SIX = 14, "1.06"
OWN = """\
op: simulated
impls: [mine]
plugins: [my_kernel]
phases: [infer]
axes: {level: [0.001, 0.0011, 0.0012, 0.0013, 0.0014, 0.0015, 0.0016, 0.0017, 0.0018, 0.0019, 0.002, 0.0021]}
fixed: {process_sigma: 0.002, sigma: 0.005}
measure: {cache: warm, max_s: 0.05, sentinels: true}
probes: [memory]
gate: {time: 0.03, peak_memory: 0}
"""
PLUGIN = """\
from llmbench.ops.simulated import SimulatedKernel, simulated

@simulated.impl("mine", needs=["simulated"])
def mine(p):
    return SimulatedKernel(p, times=SLOWER if p.level == 0.0015 else 1.0)
"""


def history_run(folder: Path, seed: int, slowed_by: float) -> Path:
    """A run of the suite as a worker measures it, in this very process: to start one takes seconds."""
    device = describe_device("simulated")
    suite = replace(resolve(parse(OWN.encode(), path="own.yaml"), catalog(device, versions(), [])), seed=seed)
    header = Header(
        folder.name, suite, "own.yaml", {}, False, probe("simulated"), versions(), Code(None, False, "f" * 40),
        f"2026-05-01T12:{seed:02}:00Z", {p.name: p.type for p in suite.op.params},
    )  # fmt: skip
    folder.mkdir(parents=True)
    journal = Journal(folder)
    journal.header(header)
    said: list[Message] = []
    bench = open_bench(torch.device("cpu"), header.machine, said.append, lambda stage, case_id: None)
    DEVICE.slowed_by = slowed_by
    for unit in units_of(suite, expand(suite)):
        said.clear()
        measure_unit(unit, bench)
        for message in said:
            if isinstance(message, Found):
                journal.record(unit.key, message.record)
            elif isinstance(message, Watched):
                journal.sentinels(Look(unit.process, message.unix_s, message.visits))
            elif isinstance(message, UnitDone):
                journal.unit(unit.key, message.wall_s, message.ledger_s)
    journal.close()
    assert close(folder, complete=True).counts == {"ok": 12}
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a store of runs on a machine whose pace wobbles by 0.7 %."""
    folder = tmp_path_factory.mktemp("pace")
    rng, store = np.random.default_rng(1), open_store(str(folder / "store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            OPS["simulated"].impls, "mine", Impl("mine", SimulatedKernel, ("infer",), needs=("simulated",))
        )  # fmt: skip
        patch.setattr(DEVICE, "slowed_by", 1.0)
        for i in range(RUNS):
            run = history_run(folder / "history" / f"h{i}", i + 1, float(np.exp(0.012 * rng.standard_normal())))
            store.add(run, by="ci@runner", why=None)
        yield folder


def measured(home: Path, *, slowed_by: str, sentinels: bool = True, code: float = 1.0) -> Path:
    """A run through the command line, of code that takes so many times as long in one case."""
    (home / "my_kernel.py").write_text(PLUGIN.replace("SLOWER", str(code)))
    (home / "own.yaml").write_text(OWN if sentinels else OWN.replace("sentinels: true", "sentinels: false"))
    done = llmbench_in(home, "run", "own.yaml", "--json", **{SLOWED_BY: slowed_by})
    return home / json.loads(done.stdout)["folder"]


def by_store(home: Path, run: Path, *, rc: int) -> dict[str, Any]:
    return judged(lambda *args, **more: llmbench_in(home, *args, **more), run, home / "store", rc=rc)


def test_a_slower_machine_is_no_regression_and_is_told(home: Path) -> None:
    run = measured(home, slowed_by=SIX)
    assert len(read_manifest(run).sentinels) == 3 and read_manifest(run).counts == {"ok": 12}
    document = by_store(home, run, rc=0)
    assert document["counts"] == {"PASS": 12}
    (warning,) = [w for w in document["warnings"] if w.startswith("this machine was ")]
    assert "% slower than in the last 14 runs by the sentinel gemm (limit " in warning
    assert warning.endswith(": times were corrected in 12 of 12 cases")
    assert document["history"].endswith("; 12 of 12 times corrected by sentinels")
    for verdict in document["verdicts"]:
        time = next(f for f in verdict["findings"] if f["metric"] == "time")
        assert time["correction"]["sentinel"] in ("gemm", "copy", "launch")
        assert time["correction"]["ratio"] == pytest.approx(1.06, abs=0.01)
        assert time["ratio"] == pytest.approx(1.0, abs=0.01) and time["run"] / time["baseline"] > 1.04
        assert "on a machine that was " in time["reason"] and "which is taken out" in time["reason"]
        memory = next(f for f in verdict["findings"] if f["metric"] == "peak_memory")
        assert memory["correction"] is None
    page = llmbench_in(home, "gate", "stored", run, "--baseline", home / "store", "--html", "gate.html")
    assert "this machine was " in page.stdout
    html = (home / "gate.html").read_text()
    assert "taken out" in html and "slower by the sentinel " in html


def test_without_sentinels_it_is_called_one(home: Path) -> None:
    run = measured(home, slowed_by=SIX, sentinels=False)
    assert read_manifest(run).sentinels == ()
    document = by_store(home, run, rc=1)
    assert document["counts"].get("REGRESSED", 0) >= 10
    assert not any("machine" in w for w in document["warnings"]) and "sentinels" not in document["history"]


def test_a_regression_of_six_percent_on_a_slower_machine_is_found(home: Path) -> None:
    document = by_store(home, measured(home, slowed_by=SIX, code=1.06), rc=1)
    assert document["counts"] == {"REGRESSED": 1, "PASS": 11}
    reason = document["verdicts"][0]["reason"]
    assert "0.0015" in document["verdicts"][0]["label"] and reason.startswith("time ratio 1.0")
    assert "slower by the sentinel " in reason and "beyond what unchanged runs do" in reason


def test_a_machine_as_usual_is_not_told(home: Path) -> None:
    run = read_evidence(history_run(home / "usual", 40, 1.005))
    found = gate_by_store(open_store(str(home / "store")), run)
    assert found.counts == {"PASS": 12} and not any("machine" in w for w in found.warnings)
    assert "12 of 12 times corrected by sentinels" in str(found.history)


def test_a_factor_that_is_none_is_refused(home: Path) -> None:
    (home / "my_kernel.py").write_text(PLUGIN.replace("SLOWER", "1.0"))
    (home / "own.yaml").write_text(OWN)
    said = llmbench_in(home, "run", "own.yaml", rc=2, **{SLOWED_BY: "fast"}).stderr
    assert said == f"llmbench: {SLOWED_BY} is 'fast'; wanted: a factor above 0, such as 1.06\n"


def filled(folder: Path, *, watched: bool = True, runs: int = 12) -> Store:
    """A store of hand-made runs that differ by 0.5 %, on a machine that never moves by more than 0.1 %."""
    rng, store = np.random.default_rng(2), open_store(str(folder / "store"))
    for i in range(runs):
        moved = np.exp(0.005 * rng.standard_normal(2))
        times = {impl: tuple(m * t for t in STEADY) for impl, m in zip(("naive", "flash"), moved, strict=True)}
        sentinels = {"gemm": 1e-3 * float(np.exp(0.001 * rng.standard_normal()))} if watched else None
        run = stored_run(folder / f"h{i}", times, sentinels=sentinels, started=f"2026-05-01T12:{i:02}:00Z")
        store.add(run, by="ci@runner", why=None)
    return store


def outcome(folder: Path, store: Store, times: dict[str, float], sentinel_s: float | None = None) -> Outcome:
    own = {impl: tuple(f * t for t in STEADY) for impl, f in times.items()}
    run = stored_run(folder / f"run{sentinel_s}", own, sentinels={"gemm": sentinel_s} if sentinel_s else None)
    return gate_by_store(store, read_evidence(run))


def test_where_no_history_tells_who_follows_a_slower_machine_leaves_it_open(tmp_path: Path) -> None:
    store = filled(tmp_path)
    found = outcome(tmp_path, store, {"naive": 1.06, "flash": 1.06}, 1.06e-3)
    assert found.exit_code == 5
    told = "; but the machine was 5.97 % slower by the sentinel gemm (limit "
    assert all(v.word == "INCONCLUSIVE" and told in v.reason for v in found.verdicts), found.verdicts[0].reason
    assert found.warnings[0].endswith(": no time was corrected, as none has a history of following")
    worse = outcome(tmp_path, store, {"naive": 1.2, "flash": 1.06}, 1.059e-3)
    assert [v.word for v in worse.verdicts] == ["REGRESSED", "INCONCLUSIVE"], "1.2 is more than 1.06 x 1.03"
    usual = outcome(tmp_path, store, {"naive": 1.06, "flash": 1.06}, 1e-3)
    assert usual.exit_code == 1 and not any("machine" in text for text in (*usual.warnings, usual.verdicts[0].reason))
    one = outcome(tmp_path, store, {"naive": 1.06, "flash": 0.99}, 1.061e-3)
    assert "machine" in one.warnings[0] and "machine" not in one.verdicts[0].reason, "flash is not slower"
    assert "taken out" not in stored_page.render(one)


def test_runs_and_stores_without_sentinels_are_read_as_ever(tmp_path: Path) -> None:
    store = filled(tmp_path, watched=False)
    assert all(e.sentinels == () for e in store.entries())
    for sentinel_s in (None, 2e-3):
        found = outcome(tmp_path, store, {"naive": 1.0, "flash": 1.0}, sentinel_s)
        assert found.exit_code == 0 and not any("machine" in text for text in found.warnings)
    run = json.loads((tmp_path / "h0" / "run.json").read_text())
    del run["sentinels"]
    (tmp_path / "h0" / "run.json").write_text(json.dumps(run))
    assert read_manifest(tmp_path / "h0").sentinels == ()


@pytest.mark.parametrize(
    ("moved", "corrected"), [(1 - 8.88e-16, False), (1.0004, False), (0.9996, False), (1.001, True)]
)
def test_a_correction_of_no_size_is_none(tmp_path: Path, moved: float, corrected: bool) -> None:
    rng, store = np.random.default_rng(3), open_store(str(tmp_path / "store"))
    pace = np.exp(0.01 * rng.standard_normal(12))
    for i, p in enumerate(pace):
        times = {impl: tuple(p * t for t in STEADY) for impl in ("naive", "flash")}
        run = stored_run(tmp_path / f"h{i}", times, sentinels={"gemm": 1e-3 * p}, started=f"2026-05-01T12:{i:02}:00Z")
        store.add(run, by="ci@runner", why=None)
    usual = float(np.exp(np.mean(np.log(pace)))) * moved
    found = outcome(tmp_path, store, {"naive": usual, "flash": usual}, 1e-3 * usual)
    times_found = [f for v in found.verdicts for f in v.findings if f.metric == "time"]
    assert [f.correction is not None for f in times_found] == [corrected] * 2
    assert [f.change.ratio for f in times_found] == [pytest.approx(1.0, abs=1e-6)] * 2, "the sums are as ever"
    assert ["taken out" in f.reason for f in times_found] == [corrected] * 2
    assert ("2 of 2 times corrected by sentinels" in str(found.history)) is corrected
    assert ("corrected" in str(found.history)) is corrected


def test_a_machine_that_moved_where_nobody_follows_is_told_as_that() -> None:
    alone = Standing(runs=12, processes=3, usual=1.0, seen=1.0, error=0.01, freedom=9.0, level=0.01, more=1.0)
    follower = replace(alone, follows="copy", moved=1 + 1e-9)
    (text,) = _moved([Move("gemm", 1.06, 1.02, 12)], {("case", "time"): follower})
    assert text.endswith(": no time was corrected, as those that follow a sentinel follow one that did not move")
    (text,) = _moved([Move("gemm", 1.06, 1.02, 12)], {("case", "time"): alone})
    assert text.endswith(": no time was corrected, as none has a history of following")


def test_an_entry_of_a_store_holds_the_levels_of_its_run(tmp_path: Path) -> None:
    entries = filled(tmp_path, runs=2).entries()
    assert [(s.name, s.version, s.work, s.samples) for e in entries for s in e.sentinels] == [
        ("gemm", 1, "test", 1)
    ] * 2
    assert all(s.level_s == pytest.approx(1e-3, rel=0.01) for e in entries for s in e.sentinels)


def test_against_one_run_a_slower_machine_is_a_warning_and_nothing_is_corrected(
    llmbench: Command, tmp_path: Path
) -> None:
    def run(name: str, factor: float) -> Path:
        times = {"flash": tuple(factor * t for t in STEADY)}
        return stored_run(tmp_path / name, times, sentinels={"gemm": factor * 1e-3, "copy": 2e-3})

    base = run("base", 1.0)
    document = judged(llmbench, run("slow", 1.1), base, rc=1)
    assert document["warnings"][0] == (
        "this machine was 10 % slower than in the baseline by the sentinel gemm: a change of all times may be its "
        "doing; only a store of runs tells which times to correct"
    )
    (time,) = [f for f in of(document, "flash")["findings"] if f["metric"] == "time"]
    assert time["correction"] is None and time["ratio"] == pytest.approx(1.1)
    near = gate(read_evidence(base), read_evidence(run("near", 1.014)))
    assert not any("machine" in text for text in near.warnings), "less than half of the limit of time"
