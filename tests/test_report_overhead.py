"""Where the wall time of a run went: the stages add up to it, and the harness's own share is told."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from example_runs import make_run

from llmbench.report.overhead import HARNESS, STAGES, harness_share, stages

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]
LEDGER = {"import": 2.0, "time": 5.0, "flush": 0.5, "sampler": 0.25, "build": 1.5, "idle": 0.25}


def test_the_stages_add_up_to_the_wall_and_what_no_stage_has_is_told() -> None:
    manifest = replace(make_run([]).manifest, ledger_s=LEDGER, wall_s=10.0)
    found = {s.name: s for s in stages(manifest)}
    assert sum(s.seconds for s in found.values()) == pytest.approx(10.0)
    assert found["unaccounted"].seconds == pytest.approx(0.5) and found["time"].share == 0.5
    assert list(found) == [name for name in STAGES if name in found]
    assert harness_share(manifest) == pytest.approx(0.15)


def test_a_real_run_has_no_gap(llmbench: Llmbench, tmp_path: Path) -> None:
    llmbench("run", "smoke", "--processes", "1")
    said = json.loads(llmbench("report", "--overhead", "--json").stdout)
    assert said["schema"] == "llmbench.overhead/1"
    found = {s["stage"]: s["seconds"] for s in said["stages"]}
    assert sum(found.values()) == pytest.approx(said["wall_s"], abs=0.01)
    assert abs(found.get("unaccounted", 0.0)) <= 0.01 * said["wall_s"]
    assert {"import", "build", "memory", "warm-up", "time", "sampler", "recheck"} <= set(found)
    assert said["harness_share"] == pytest.approx(sum(found.get(s, 0.0) for s in HARNESS) / said["wall_s"])
    text = llmbench("report", "--overhead").stdout
    assert "around timed samples" in text and "the harness itself (sampler, flush, idle, unaccounted):" in text


def test_it_stands_alone(llmbench: Llmbench) -> None:
    assert "--overhead stands alone" in llmbench("report", "--overhead", "--csv", rc=2).stderr
