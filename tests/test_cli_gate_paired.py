"""The paired gate through the command line: what it leaves behind, its forms, Ctrl-C; and on this CPU."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from paired_repository import REAL_KERNELS, SIMULATED, SIMULATED_SUITE, commit, git, write
from paired_repository import real_repository as real
from paired_repository import simulated_repository as simulated

from llmbench.analyze.paired import PairedRule, judge_pairs
from llmbench.run.paired.source import Replay
from llmbench.store.pairs import read_pairs

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]
SLOWER = SIMULATED.replace('"mine": 1.0', '"mine": 1.1')
MORE = SIMULATED.replace("MORE_BYTES = 0", "MORE_BYTES = 2**20")


@pytest.fixture
def judged(llmbench: Llmbench, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The document of a paired gate of the working tree in `tmp_path` against main."""

    def run(*args: str, rc: int, **more: str) -> dict[str, Any]:
        done = llmbench("gate", "paired", "suite.yaml", "--base", "main", "--json", *args, rc=rc, **more)
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["schema"] == "llmbench.gate.paired/1" and document["exit_code"] == rc
        return document

    return run


def of(document: dict[str, Any], impl: str) -> dict[str, Any]:
    """The worst verdict on an implementation, or on a whole side."""
    found = [v for v in document["verdicts"] if v["label"].startswith(f"{impl} ") or (not impl and not v["case_id"])]
    assert found, document["verdicts"]
    return found[0]  # type: ignore[no-any-return]


def trees(folder: Path) -> int:
    return len(git(folder, "worktree", "list").splitlines())


def test_what_was_measured_can_be_judged_again_from_the_evidence(
    judged: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    simulated(tmp_path)
    write(tmp_path, {"sim_kernels.py": SLOWER})
    document = judged(rc=1)
    folder = tmp_path / document["paired"]["folder"]
    kept = json.loads((folder / "gate.json").read_text())
    assert kept["verdicts"] == document["verdicts"] and folder.name.endswith("-paired")
    decisions = document["paired"]["decisions"]
    again = judge_pairs(dict.fromkeys(decisions, 0.03), Replay(read_pairs(folder)).take, rule=PairedRule())
    assert {key: d.word for key, d in again.decisions.items()} == {key: d["word"] for key, d in decisions.items()}
    ratios = [(d.ratio, decisions[key]["ratio"]) for key, d in again.decisions.items()]
    np.testing.assert_allclose(*zip(*ratios, strict=True))


def test_the_document_tells_how_it_was_measured(judged: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    simulated(tmp_path)
    document = judged("--pairs", "5", "--only", "impl=mine", rc=0)
    paired = document["paired"]
    assert paired["layout"] == "both" and paired["same_code"] and paired["pairs"] == 5
    assert paired["rule"]["screen_pairs"] == 5 and paired["rule"]["confirm_pairs"] == 15
    assert [s["file"] for s in paired["sides"]["base"]["sources"]] == ["sim_kernels.py"]
    assert paired["sides"]["base"]["sources_hash"] == paired["sides"]["head"]["sources_hash"]
    assert "both sides are the same code: what differs is noise" in document["warnings"]
    assert {v["label"].split()[0] for v in document["verdicts"]} == {"mine"}
    time_ = next(f for f in document["verdicts"][0]["findings"] if f["metric"] == "time")
    assert (
        time_["basis"] == "pairs" and time_["processes"] == [5, 5] and time_["baseline"] == pytest.approx(1e-3, rel=0.1)
    )


def test_outputs_reach_the_terminal_markdown_and_junit(llmbench: Llmbench, tmp_path: Path) -> None:
    simulated(tmp_path)
    write(tmp_path, {"sim_kernels.py": MORE})
    args = ("gate", "paired", "suite.yaml", "--base", "main", "--pairs", "5")
    text = llmbench(*args, "--junit", "out.xml", rc=1).stdout
    assert "REGRESSED  mine infer level=0.001" in text and "base      sim_kernels (1 module, " in text
    assert max(map(len, text.splitlines())) <= 120
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert len(root.findall(".//failure")) == 2 and len(root.findall(".//testcase")) == 4
    assert "| REGRESSED | mine infer level=0.001 |" in llmbench(*args, "--markdown", rc=1).stdout


def test_ctrl_c_leaves_no_tree_and_no_process_behind(tmp_path: Path, env: dict[str, str]) -> None:
    simulated(tmp_path)
    write(tmp_path, {"suite.yaml": SIMULATED_SUITE.replace("0.005, process", "0.3, process")})
    command = [sys.executable, "-m", "llmbench", "gate", "paired", "suite.yaml", "--base", "main", "--pairs", "5000"]
    gate = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert gate.stderr is not None
    for line in gate.stderr:
        if "pair 2 of" in line:
            break
    deadline = time.monotonic() + 30
    while len(workers := psutil.Process(gate.pid).children(recursive=True)) != 2:
        assert time.monotonic() < deadline, workers  # between two pairs there are none
    gate.send_signal(signal.SIGINT)
    _, said = gate.communicate(timeout=60)
    assert gate.returncode == 130 and "interrupted: nothing is judged" in said and trees(tmp_path) == 1
    folder = next(tmp_path.glob("results/suite/*/*-paired"))
    assert read_pairs(folder) and not (folder / "gate.json").exists()
    assert not [worker for worker in workers if worker.is_running()]


@pytest.mark.slow
def test_a_real_kernel_that_is_three_times_slower_is_found(llmbench: Llmbench, tmp_path: Path) -> None:
    real(tmp_path)
    write(tmp_path, {"src/double_op/kernels.py": REAL_KERNELS.replace("REPEATS = 1", "REPEATS = 3")})
    args = ("gate", "paired", "bench/double.yaml", "--base", "main", "--device", "cpu", "--json")
    document = json.loads(llmbench(*args, "--only", "impl=mul", "--pairs", "5", "--max-minutes", "2", rc=1).stdout)
    verdict = of(document, "mul")
    assert verdict["verdict"] == "REGRESSED" and {f["metric"] for f in verdict["findings"]} >= {"time", "peak_memory"}
    time_ = next(f for f in verdict["findings"] if f["metric"] == "time")
    assert time_["verdict"] == "REGRESSED" and 1.8 < time_["ratio"] < 4
    assert [s["module"] for s in document["paired"]["sides"]["head"]["sources"]] == ["double_op", "double_op.kernels"]


@pytest.mark.slow
def test_a_mebibyte_more_is_found_before_anything_is_timed(llmbench: Llmbench, tmp_path: Path) -> None:
    real(tmp_path)
    commit(tmp_path, {"src/double_op/kernels.py": REAL_KERNELS.replace("MORE_BYTES = 0", "MORE_BYTES = 2**20")})
    args = ("gate", "paired", "bench/double.yaml", "--base", "main", "--head", "feature", "--device", "cpu", "--json")
    document = json.loads(llmbench(*args, "--max-minutes", "0", rc=1).stdout)
    memory = next(f for f in of(document, "mul")["findings"] if f["metric"] == "peak_memory")
    assert memory["verdict"] == "REGRESSED" and memory["run"] - memory["baseline"] == 2**20


@pytest.mark.slow
def test_unchanged_code_on_this_cpu_is_never_red(tmp_path: Path, env: dict[str, str]) -> None:
    real(tmp_path)
    gate = (sys.executable, "-m", "llmbench", "gate", "paired", "bench/double.yaml", "--base", "main", "--json")
    more = ("--device", "cpu", "--max-minutes", "0.7")
    done = subprocess.run([*gate, *more], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 5), done.stdout + done.stderr
    paired = json.loads(done.stdout)["paired"]
    assert paired["pairs"] >= 1 and paired["same_code"] and paired["wall_s"] < 60
