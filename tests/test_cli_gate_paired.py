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
from paired_repository import REAL, REAL_KERNELS, REAL_SUITE, SIMULATED, SIMULATED_SUITE, commit, git, suite_of, write
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


KILLED = """
import os
from pathlib import Path

GONE, CALLS = Path({gone!r}), 0
if GONE.exists() and "/head/" in __file__:
    os.kill(os.getpid(), 9)


class Dies(SimulatedKernel):
    def __call__(self, x):
        global CALLS
        CALLS += 1
        if CALLS == 600 and "/head/" in __file__:
            GONE.touch()
            os.abort()
        return super().__call__(x)
"""


def test_a_head_that_the_machine_kills_is_not_broken_and_its_pairs_are_kept(
    judged: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    simulated(tmp_path)
    dies = KILLED.format(gone=str(tmp_path / "gone"))
    mortal = SIMULATED.replace("return SimulatedKernel", "return Dies").replace("TIMES =", f"{dies}\nTIMES =")
    write(tmp_path, {"sim_kernels.py": mortal})
    document = judged("--only", "impl=mine", "--pairs", "5", rc=3)
    verdict = of(document, "")
    assert verdict["verdict"] == "ENV_ERROR" and "working tree" in verdict["reason"]
    assert "a process did not start: killed by SIGKILL" in verdict["reason"]
    folder = tmp_path / document["paired"]["folder"]
    assert document["paired"]["pairs"] >= 1 and read_pairs(folder) and (folder / "gate.json").exists()


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
    times = [f for v in document["verdicts"] for f in v["findings"] if f["metric"] == "time"]
    assert {f["verdict"] for f in times} == {"REGRESSED", "PASS"}
    for found in times:  # the confirm's, or the screen's, and not both
        assert found["run"] / found["baseline"] == pytest.approx(found["ratio"], rel=1e-9)
        assert found["processes"] == ([24, 24] if found["verdict"] == "REGRESSED" else [8, 8])


OWN_LIMITS = """\
gate:
  time: 0.03
  cases:
    - {match: {impl: mine}, time: 0.10, why: launches decide}
    - {match: {impl: third}, time: none, peak_memory: 0.01}
"""
FIVE_MORE = SIMULATED.replace('"mine": 1.0, "other": 1.0, "third": 1.0', '"mine": 1.05, "other": 1.05, "third": 2.0')


def test_each_case_passes_or_not_by_its_own_limit(llmbench: Llmbench, tmp_path: Path) -> None:
    simulated(tmp_path)
    git(tmp_path, "checkout", "-q", "main")
    commit(tmp_path, {"suite.yaml": suite_of(["mine", "other", "third"]) + OWN_LIMITS})
    write(tmp_path, {"sim_kernels.py": FIVE_MORE})
    args = ("gate", "paired", "suite.yaml", "--base", "main", "--json", "--html", "o.html", "--junit", "o.xml")
    document = json.loads(llmbench(*args, rc=1).stdout)
    words = {v["label"].split()[0]: v["verdict"] for v in document["verdicts"]}
    assert words == {"mine": "PASS", "other": "REGRESSED", "third": "PASS"}
    mine, third = of(document, "mine"), of(document, "third")
    (time_,) = (f for f in mine["findings"] if f["metric"] == "time")
    assert (time_["limit"], time_["limit_of"]) == (0.1, "launches decide") and 1.03 < time_["ratio"] < 1.07
    assert "below the limit 1.1; slower by more than 0.5 %, but within the limit; its own limit" in mine["reason"]
    limits = {f["metric"]: f["limit"] for f in third["findings"]}
    assert limits["peak_memory"] == 0.01 and "time" not in limits
    assert third["not_gated"] == {"time": "impl=third"} and "time is not gated: impl=third" in third["reason"]
    decisions = document["paired"]["decisions"]
    assert sorted(d["limit"] for d in decisions.values()) == [0.03, 0.1], "what is not gated is not timed"
    for name in ("o.html", "o.xml"):
        text = (tmp_path / name).read_text()
        assert "time +3 % (+10 % in 1 case, not gated in 1 case)" in text and "launches decide" in text


def test_the_self_test_has_the_limits_of_each_case(llmbench: Llmbench, tmp_path: Path) -> None:
    simulated(tmp_path)
    commit(tmp_path, {"suite.yaml": suite_of(["mine", "other", "third"]) + OWN_LIMITS})
    document = json.loads(llmbench("gate", "self-test", "suite.yaml", "--pairs", "8", "--json").stdout)
    own = {v["label"].split()[0]: {f["metric"]: f["limit"] for f in v["findings"]} for v in document["verdicts"]}
    assert {impl: (of.get("time"), of["peak_memory"]) for impl, of in own.items()} == {
        "mine": (0.1, 0.0), "other": (0.03, 0.0), "third": (None, 0.01),
    }  # fmt: skip


def test_the_document_tells_how_it_was_measured(judged: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    simulated(tmp_path)
    document = judged("--pairs", "5", "--only", "impl=mine", rc=0)
    paired = document["paired"]
    assert json.loads((tmp_path / paired["folder"] / "gate.json").read_text())["paired"]["seed"] == paired["seed"]
    assert judged("--pairs", "5", "--only", "impl=mine", rc=0)["paired"]["seed"] != paired["seed"]
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
    assert "REGRESSED  mine infer level=0.001" in text and "base code sim_kernels (1 module, " in text
    assert max(map(len, text.splitlines())) <= 120
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    cases = root.findall(".//testcase")
    assert all(float(case.attrib["time"]) > 0 for case in cases) and float(root[0].attrib["time"]) > 0
    assert len(root.findall(".//failure")) == 2 and len(root.findall(".//testcase")) == 4
    assert (
        "| REGRESSED | mine infer level=0.001 | peak_memory | 4096 | exact | 1 | peak_memory"
        in llmbench(*args, "--markdown", rc=1).stdout
    )


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
    document = json.loads(llmbench(*args, "--only", "impl=mul", "--pairs", "5", "--max-minutes", "5", rc=1).stdout)
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
    document = json.loads(llmbench(*args, "--only", "impl=mul", "--max-minutes", "0.5", rc=1).stdout)
    memory = next(f for f in of(document, "mul")["findings"] if f["metric"] == "peak_memory")
    assert memory["verdict"] == "REGRESSED" and memory["run"] - memory["baseline"] == 2**20


PRODUCT = """\
import torch

REPEATS = 1


def mul(p):
    \"\"\"A product with twice the unit matrix, as often as this commit likes.\"\"\"
    twice = 2 * torch.eye(p.size)

    def call(x):
        for _ in range(REPEATS):
            out = x @ twice
        return out

    return call


def add(p):
    \"\"\"x + x\"\"\"
    return lambda x: x + x
"""


@pytest.mark.slow
def test_a_head_that_multiplies_twice_is_found_by_its_flop(llmbench: Llmbench, tmp_path: Path) -> None:
    real(tmp_path)
    git(tmp_path, "checkout", "-q", "main")
    square = REAL.replace("torch.randn(p.size, generator", "torch.randn(p.size, p.size, generator")
    files = {"src/double_op/__init__.py": square, "src/double_op/kernels.py": PRODUCT}
    commit(tmp_path, {**files, "bench/double.yaml": REAL_SUITE.replace("30000", "48")})
    write(tmp_path, {"src/double_op/kernels.py": PRODUCT.replace("REPEATS = 1", "REPEATS = 2")})
    args = ("gate", "paired", "bench/double.yaml", "--base", "main", "--device", "cpu", "--json")
    document = json.loads(llmbench(*args, "--max-minutes", "0.5", rc=1).stdout)
    flop = next(f for f in of(document, "mul")["findings"] if f["metric"] == "counted_flop")
    assert (flop["verdict"], flop["baseline"], flop["run"]) == ("REGRESSED", 2 * 48**3, 2 * 2 * 48**3)
    assert "counted_flop 442368 FLOP against 221184 FLOP in the baseline" in of(document, "mul")["reason"]
    assert "counted_flop" not in {f["metric"] for f in of(document, "add")["findings"]}, "no product: no number"


@pytest.mark.slow
def test_unchanged_code_on_this_cpu_is_never_red(tmp_path: Path, env: dict[str, str]) -> None:
    real(tmp_path)
    gate = (sys.executable, "-m", "llmbench", "gate", "paired", "bench/double.yaml", "--base", "main", "--json")
    more = ("--device", "cpu", "--max-minutes", "1")
    done = subprocess.run([*gate, *more], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 5), done.stdout + done.stderr
    paired = json.loads(done.stdout)["paired"]
    assert paired["pairs"] >= 1 and paired["same_code"] and paired["wall_s"] < 78
