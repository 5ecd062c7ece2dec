"""The simulated device: runner, report and gate from end to end against a known truth, without a GPU and waiting."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmbench.store.query import Row, read_run

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]

SUITE = """\
op: simulated
impls: [base, candidate]
baseline: {{impl: base}}
phases: [infer]
fixed: {{{fixed}}}
measure: {{cache: warm, {measure}}}
gate: {{time: 0.03, peak_memory: 0}}
"""


@pytest.fixture
def measured(llmbench: Llmbench, tmp_path: Path) -> Callable[..., Path]:
    """A run of a suite of these parameters and this measure."""

    def run(fixed: str, measure: str = "max_s: 0.5", *, rc: int = 0) -> Path:
        (tmp_path / "s.yaml").write_text(SUITE.format(fixed=fixed, measure=measure))
        done = llmbench("run", "s.yaml", "--json", rc=rc)
        return tmp_path / json.loads(done.stdout)["folder"]

    return run


def times(folder: Path) -> dict[str, Row]:
    return {r.impl: r for r in read_run(folder).rows if r.metric == "time"}


def report(llmbench: Llmbench, folder: Path) -> dict[str, Any]:
    lines = json.loads(llmbench("report", str(folder), "--json").stdout)["lines"]
    return {line["impl"]: line for line in lines}


def test_a_run_finds_what_was_described(measured: Callable[..., Path]) -> None:
    found = times(measured("level: 0.01, ratio: 0.8, sigma: 0.02, throttled_after: 5", "max_s: 10, target_ci: 0.0001"))
    base, candidate = found["base"], found["candidate"]
    assert base.timer == "simulated" and (base.device, base.device_name) == ("simulated", "simulated device")
    assert base.stop_reason == "max_s" and 500 < (base.n or 0) < 1200
    cold = [s for s, f in zip(base.samples or [], base.sample_flags or [], strict=True) if f != "throttled"]
    assert sorted(cold)[len(cold) // 2] == pytest.approx(0.01, rel=0.005)
    hot = [s for s, f in zip(base.samples or [], base.sample_flags or [], strict=True) if f == "throttled"]
    assert sorted(hot)[len(hot) // 2] == pytest.approx(0.012, rel=0.005)
    assert candidate.value is not None and base.value is not None
    assert candidate.value / base.value == pytest.approx(0.8, rel=0.01)


def test_interleaving_takes_drift_out_of_a_speed_up_and_measuring_apart_does_not(
    measured: Callable[..., Path], llmbench: Llmbench
) -> None:
    """Two equal kernels, on a device that gets 3 % slower over the run, from its first sample to its last."""
    drift = "level: 0.001, sigma: 0.01, drift_per_s: 0.015"  # two seconds for both
    measure = "max_s: 1, target_ci: 0.00001, order: "
    together = report(llmbench, measured(drift, measure + "interleaved"))["candidate"]["speedup"]
    apart = report(llmbench, measured(drift, measure + "apart"))["candidate"]["speedup"]
    assert together["paired"] and not apart["paired"]
    assert abs(together["value"] - 1) < 0.003
    assert abs(apart["value"] - 1) > 0.01


@pytest.mark.parametrize(
    ("failure", "status", "says"),
    [
        ("error, fails_after: 40", "error", "a simulated error"),
        ("oom, fails_after: 40", "oom", "simulated: out of memory"),
        ("crash, fails_after: 40", "crashed", "killed by SIGSEGV"),
        ("hang, fails_after: 40", "timeout", "longer than 2 s"),
        ("wrong", "wrong", "off by 1"),
        ("wrong, fails_after: 20", "wrong", "after timing: out is off by 1"),
    ],
)
def test_a_simulated_failure_ends_as_a_real_one_does(
    measured: Callable[..., Path], failure: str, status: str, says: str
) -> None:
    folder = measured(f"failure: {failure}", "max_s: 0.2, timeout_s: 2", rc=0 if status == "oom" else 6)
    rows = {r.impl: r for r in read_run(folder).rows}
    assert rows["base"].status == "ok"
    assert rows["candidate"].status == status and says in (rows["candidate"].why or "")


PLUGIN = """\
from llmbench.ops.simulated import SimulatedKernel, simulated

@simulated.impl("mine", needs=["simulated"])
def mine(p):
    return SimulatedKernel(p, times={times}, more_bytes={more_bytes})
"""
OWN = """\
op: simulated
impls: [base, mine]
plugins: [my_kernel]
baseline: {impl: base}
phases: [infer]
fixed: {process_sigma: 0.002, scratch: 100000}
measure: {cache: warm, max_s: 0.3, processes: 3}
probes: [memory]
gate: {time: 0.03, peak_memory: 0}
"""


def test_a_change_of_code_goes_through_run_and_gate(llmbench: Llmbench, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)

    def run(**kernel: float) -> str:
        (tmp_path / "my_kernel.py").write_text(PLUGIN.format(**kernel))
        return str(json.loads(llmbench("run", "own.yaml", "--json").stdout)["folder"])

    base = run(times=1.0, more_bytes=0)
    slower = run(times=1.3, more_bytes=512)
    text = llmbench("gate", "stored", slower, "--baseline", base, "--all", rc=1).stdout
    assert re.search(r"^REGRESSED +mine infer", text, re.M) and re.search(r"^PASS +base infer", text, re.M)
    found = json.loads(llmbench("gate", "stored", slower, "--baseline", base, "--json", rc=1).stdout)
    mine, other = sorted(found["verdicts"], key=lambda v: v["label"], reverse=True)
    assert (mine["label"], mine["verdict"], other["verdict"]) == ("mine infer", "REGRESSED", "PASS")
    ratios = {f["metric"]: f["ratio"] for f in mine["findings"]}
    assert ratios["time"] == pytest.approx(1.3, rel=0.01) and 1.005 < ratios["peak_memory"] < 1.006


def test_other_ops_do_not_run_on_it_and_it_runs_nowhere_else(llmbench: Llmbench) -> None:
    rows = json.loads(llmbench("list", "impls", "--device", "simulated", "--json").stdout)["impls"]
    assert {r["op"] for r in rows if r["available"]} == {"simulated"}
    why = {r["why"] for r in rows if r["op"] == "attention"}
    assert why == {"cannot run on the device simulated, which has the op simulated only"}
    rows = json.loads(llmbench("list", "impls", "--device", "cpu", "--json").stdout)["impls"]
    why = {r["why"] for r in rows if r["op"] == "simulated"}
    assert why == {"needs the device simulated, this one is cpu"}
