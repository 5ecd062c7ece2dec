"""Measuring on a GPU against known truth: cycles, bytes, and a whole unit through a worker."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from llmbench.codec import to_plain
from llmbench.measure.clock import EventClock
from llmbench.measure.memory import peak_memory
from llmbench.ops import OPS
from llmbench.run.protocol import Found, Hello, Telemetry, Unit, decode
from llmbench.suite.case import expand
from llmbench.suite.suite import Axis, AxisValue, Measure, Suite


def test_event_time_grows_as_the_cycles_of_a_spin_kernel() -> None:
    clock, cycles = EventClock(), 2_000_000
    clock.block([[lambda: torch.cuda._sleep(cycles)]] * 20, before=None)  # clocks up
    short = min(r.time_s for r in clock.block([[lambda: torch.cuda._sleep(cycles)]] * 50, before=None))
    long = min(r.time_s for r in clock.block([[lambda: torch.cuda._sleep(4 * cycles)]] * 50, before=None))
    assert abs(long / short / 4 - 1) < 0.02


def test_peak_memory_is_exact_on_an_allocation_of_known_size() -> None:
    held = torch.empty(2**20, dtype=torch.uint8, device="cuda")
    size_bytes = 64 * 2**20

    def call() -> torch.Tensor:
        return torch.empty(size_bytes, dtype=torch.uint8, device="cuda")

    peaks = [peak_memory(call, torch.device("cuda")) for _ in range(5)]
    assert [p["peak_memory"] for p in peaks] == [size_bytes] * 5
    assert held.numel() == 2**20


def test_a_worker_measures_a_point_on_the_gpu(tmp_path: Path) -> None:
    op = OPS["attention"].spec("cuda")
    suite = Suite(
        name="gpu", op=op, device="cuda:0", impls=("naive", "sdpa_math", "sdpa_flash"), phases=("fwd", "bwd"),
        axes=(Axis("seq_len", (AxisValue({"seq_len": 512}),)),),
        fixed={"num_heads": 8, "num_kv_heads": 2, "head_dim": 64, "mask": "causal", "dtype": "bfloat16"},
        baseline={"impl": "sdpa_flash"}, measure=replace(Measure(), max_s=0.3), probes=("memory", "power"),
    )  # fmt: skip
    units = [Unit(p.point_id, 0, p.cases, suite.measure, suite.probes, 0) for p in expand(suite)]
    plan = {"schema": "llmbench.plan/1", "device": "cuda:0", "units": [to_plain(u) for u in units]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "llmbench", "worker", "--cases", tmp_path / "plan.json"]
    subprocess.run([*command, "--out", tmp_path / "out.jsonl"], check=True, cwd=Path(__file__).parents[2])
    messages = [decode(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    hello = next(m for m in messages if isinstance(m, Hello))
    assert hello.machine.arch.startswith("sm")
    records = [m.record for m in messages if isinstance(m, Found)]
    assert len(records) == 6
    assert {r.status for r in records} == {"ok"}, [(r.status, r.why) for r in records]
    for record in records:
        metrics = {m.metric: m for m in record.measurements}
        assert metrics["time"].timer in ("cuda_event", "cuda_graph")
        assert metrics["peak_memory"].value > 0
    if not any("not recorded" in note for note in hello.notes):
        assert any(isinstance(m, Telemetry) and m.rows for m in messages)
