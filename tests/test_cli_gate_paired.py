"""The paired gate through the command line: on the simulated device against a known truth, and on this CPU."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from paired_repository import REAL, REAL_KERNELS, REAL_SUITE, SIMULATED, SIMULATED_SUITE, commit, git, write
from paired_repository import real_repository as real
from paired_repository import simulated_repository as simulated

from llmbench.analyze.paired import PairedRule, judge_pairs
from llmbench.run.paired.source import Replay
from llmbench.store.pairs import read_pairs

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]
SLOWER = SIMULATED.replace('"mine": 1.0', '"mine": 1.1')
MORE = SIMULATED.replace("MORE_BYTES = 0", "MORE_BYTES = 2**20")


def plugin(kernels: dict[str, str]) -> str:
    """A plugin with these implementations, each by the expression that makes its function from `p`."""
    head = ['"""Kernels, one a behaviour."""', "import ctypes", "import torch"]
    head += ["from llmbench.ops.simulated import SimulatedKernel, simulated", "def fails(why): raise why"]
    for name, made in kernels.items():
        head += [f"def make_{name}(p): return {made}", f'simulated.impl("{name}", needs=["simulated"])(make_{name})']
    return "\n".join(head) + "\n"


SAME, MORE_MEMORY = "SimulatedKernel(p)", "SimulatedKernel(p, more_bytes=2**20)"
FAILS = "fails(RuntimeError('no kernel today'))"

# implementation -> as the base has it, as the head has it, its verdict, what its reason says
BEHAVIOURS: dict[str, tuple[str | None, str | None, str, str]] = {
    "same": (SAME, SAME, "PASS", "below the limit 1.03"),
    "slower": (SAME, "SimulatedKernel(p, times=1.1)", "REGRESSED", "slower by more than 0.5 %"),
    "faster": (SAME, "SimulatedKernel(p, times=0.9)", "IMPROVED", "faster by more than 0.5 %"),
    "fatter": (SAME, MORE_MEMORY, "REGRESSED", "peak_memory 1048576 B against 256 B in the baseline: +1048320 B"),
    "leaner": (MORE_MEMORY, SAME, "IMPROVED", "-1048320 B"),
    "failing": (SAME, FAILS, "BROKEN", "ok in the baseline, error: RuntimeError: no kernel today"),
    "failing_always": (FAILS, FAILS, "NO_RESULT", "in the baseline error too"),
    "fixed": (FAILS, SAME, "FIXED", "ok in the run, in the baseline error: RuntimeError: no kernel today"),
    "wrong": (SAME, "lambda x: (SimulatedKernel(p)(x), x + 1)[1]", "BROKEN", "ok in the baseline, wrong: "),
    "hungry": (
        SAME, "fails(torch.OutOfMemoryError('out of memory: 80 GiB'))", "BROKEN", "oom: OutOfMemoryError: out of",
    ),
    "crashing": (SAME, "lambda x: ctypes.string_at(0)", "BROKEN", "crashed: build: worker killed by SIGSEGV"),
    "fresh": (None, SAME, "NEW", "ok in the run, in the baseline unavailable: op 'simulated' has no implementation"),
    "gone": (SAME, None, "MISSING", "in the suite of main, not in that of the head"),
}  # fmt: skip


def suite_of(impls: Iterable[str]) -> str:
    """The suite with these implementations, at one level."""
    found = SIMULATED_SUITE.replace("impls: [mine, other]", f"impls: [{', '.join(impls)}]")
    return found.replace("[0.001, 0.002]", "[0.001]")


def two_commits(folder: Path, names: Iterable[str]) -> None:
    """Base (main) and head (the working tree) with the behaviours of these names."""
    base, head = ({n: made for n in names if (made := BEHAVIOURS[n][side]) is not None} for side in (0, 1))
    simulated(folder)
    git(folder, "checkout", "-q", "main")
    commit(folder, {"sim_kernels.py": plugin(base), "suite.yaml": suite_of(base)})
    write(folder, {"sim_kernels.py": plugin(head), "suite.yaml": suite_of(head)})


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


def test_every_behaviour_has_its_verdict(judged: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    two_commits(tmp_path, BEHAVIOURS)
    document = judged(rc=1)
    for name, (_, _, word, said) in BEHAVIOURS.items():
        verdict = of(document, name)
        assert (name, verdict["verdict"]) == (name, word) and said in verdict["reason"], verdict["reason"]
    assert len(document["verdicts"]) == len(BEHAVIOURS) and trees(tmp_path) == 1
    assert of(document, "crashing")["reason"].count("crashed") == 1


@pytest.mark.parametrize(
    ("names", "rc"), [(["same", "faster", "leaner", "fixed", "fresh", "failing_always"], 0), (["same", "gone"], 4)]
)
def test_the_exit_code_is_that_of_the_worst(
    judged: Callable[..., dict[str, Any]], tmp_path: Path, names: list[str], rc: int
) -> None:
    two_commits(tmp_path, names)
    assert {v["label"].split()[0] for v in judged(rc=rc)["verdicts"]} == set(names)


@pytest.mark.parametrize(
    ("base", "head", "rc", "word", "said"),
    [
        (
            SIMULATED,
            "import nothing\n",
            1,
            "BROKEN",
            "does not import: plugin 'sim_kernels' cannot be loaded: Module",
        ),
        (
            "1 / 0\n",
            SIMULATED,
            4,
            "MISSING",
            ") does not import: plugin 'sim_kernels' cannot be loaded: ZeroDiv",
        ),
        ("1 / 0\n", "import nothing\n", 4, "MISSING", "nor does the head: plugin 'sim_kernels' cannot be loaded"),
    ],
)
def test_a_side_that_does_not_import_is_told_from_one_that_is_slower(
    judged: Callable[..., dict[str, Any]], tmp_path: Path, base: str, head: str, rc: int, word: str, said: str
) -> None:
    simulated(tmp_path)
    git(tmp_path, "checkout", "-q", "main")
    commit(tmp_path, {"sim_kernels.py": base})
    write(tmp_path, {"sim_kernels.py": head})
    (verdict,) = judged(rc=rc)["verdicts"]
    assert verdict["verdict"] == word and said in verdict["reason"], verdict["reason"]


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


SKIP = "skip:\n  - {match: {impl: mine}, why: flaky}\n"


def test_a_case_that_the_head_skips_is_missed_unless_the_base_skips_it_too(
    judged: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    simulated(tmp_path)
    write(tmp_path, {"sim_kernels.py": SIMULATED.replace('"mine": 1.0', '"mine": 3.0')})
    write(tmp_path, {"suite.yaml": SIMULATED_SUITE + SKIP})
    verdict = of(judged("--pairs", "5", rc=4), "mine")
    assert (verdict["verdict"], verdict["reason"]) == ("MISSING", "skipped by the head: flaky")
    git(tmp_path, "checkout", "-q", "main")
    commit(tmp_path, {"suite.yaml": SIMULATED_SUITE + SKIP})
    verdict = of(judged("--pairs", "5", rc=0), "mine")
    assert (verdict["verdict"], verdict["reason"]) == ("NO_RESULT", "skipped: flaky")


def test_a_suite_that_is_slower_as_a_whole_is_one_finding(
    judged: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    names = [f"k{i}" for i in range(8)]
    simulated(tmp_path)
    git(tmp_path, "checkout", "-q", "main")
    commit(tmp_path, {"sim_kernels.py": plugin(dict.fromkeys(names, SAME)), "suite.yaml": suite_of(names)})
    write(tmp_path, {"sim_kernels.py": plugin(dict.fromkeys(names, "SimulatedKernel(p, times=1.1)"))})
    document = judged(rc=1)
    assert [v["label"] for v in document["verdicts"] if v["verdict"] == "REGRESSED"] == ["the whole suite (SYSTEMIC)"]
    assert document["counts"] == {"REGRESSED": 1, "INCONCLUSIVE": 8}


def test_a_suite_that_is_slower_within_its_limit_is_a_warning(
    judged: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    names = [f"k{i}" for i in range(8)]
    suite = suite_of(names).replace("sigma: 0.005, process_sigma: 0.002", "sigma: 0.002, process_sigma: 0.001")
    simulated(tmp_path)
    git(tmp_path, "checkout", "-q", "main")
    base = {"sim_kernels.py": plugin(dict.fromkeys(names, SAME)), "suite.yaml": f"{suite}gate: {{time: 0.10}}\n"}
    commit(tmp_path, base)
    write(tmp_path, {"sim_kernels.py": plugin(dict.fromkeys(names, "SimulatedKernel(p, times=1.01)"))})
    document = judged(rc=0)
    assert document["counts"] == {"PASS": 8}
    (warning,) = [w for w in document["warnings"] if w.startswith("the suite as a whole: ")]
    assert "all of it is slower, but does not reach the limit 1.1" in warning


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


def test_a_budget_that_is_spent_leaves_it_open(judged: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    simulated(tmp_path)
    document = judged("--max-minutes", "0", rc=5)
    verdict = of(document, "mine")
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert verdict["reason"] == "the budget was spent before it was examined"
    more = "none was finished: give more minutes, fewer cases (--only), or a suite with cache: warm"
    assert f"the budget was spent after 0 pairs: fewer than asked; {more}" in document["warnings"]
    told = judged("--max-minutes", "0", "--inconclusive", "pass", rc=5)["warnings"]
    assert "nothing was timed, so nothing passes, whatever --inconclusive says" in told


def test_a_device_that_is_throttled_on_one_side_says_nothing_of_code(
    judged: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    simulated(tmp_path)
    kernel_of, hot = "SimulatedKernel(p,", "SimulatedKernel(dataclasses.replace(p, throttled_after=1e-6),"
    write(tmp_path, {"sim_kernels.py": SIMULATED.replace(kernel_of, hot).replace("import torch", "import dataclasses")})
    verdict = of(judged("--pairs", "5", rc=3), "mine")
    assert (
        verdict["verdict"] == "ENV_ERROR"
        and "the device was throttled in 100% of the run's samples" in verdict["reason"]
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


@pytest.mark.parametrize(
    ("args", "rc", "said"),
    [
        (("--base", "mian"), 2, "--base mian: no revision of"),
        ((), 2, "give --base REV, or --base-python"),
        (("--base", "main", "--only", "impl=mien"), 2, "suite 'suite' has no impl 'mien'; did you mean 'mine'?"),
        (("--base", "main", "--device", "cuda:9"), 3, "device 'cuda:9' is not on this machine"),
        (("--base", "main", "--json", "--markdown"), 2, "choose one"),
    ],
)
def test_bad_input_is_one_message(
    llmbench: Llmbench, tmp_path: Path, args: tuple[str, ...], rc: int, said: str
) -> None:
    simulated(tmp_path)
    done = llmbench("gate", "paired", "suite.yaml", *args, rc=rc)
    assert said in done.stderr and not done.stdout and trees(tmp_path) == 1
    assert not list(tmp_path.glob("results/*/*/*"))


def test_a_mistake_in_the_suite_is_told_with_the_name_that_was_given(llmbench: Llmbench, tmp_path: Path) -> None:
    simulated(tmp_path)
    write(tmp_path, {"suite.yaml": SIMULATED_SUITE.replace("level:", "levle:")})
    said = llmbench("gate", "paired", "suite.yaml", "--base", "main", rc=2).stderr
    assert "suite.yaml:6:" in said and "llmbench-gate-" not in said and trees(tmp_path) == 1


def test_the_self_test_finds_nothing_in_what_is_the_same(llmbench: Llmbench, tmp_path: Path) -> None:
    simulated(tmp_path)
    done = json.loads(llmbench("gate", "self-test", "suite.yaml", "--json").stdout)
    assert done["counts"] == {"PASS": 4} and done["paired"]["self_test"]
    assert done["paired"]["sides"]["base"]["commit"] == git(tmp_path, "rev-parse", "HEAD")


def test_the_self_test_calls_an_improvement_a_false_alarm_too(llmbench: Llmbench, tmp_path: Path) -> None:
    """Code that behaves by the side that it is on: what no commit can do, but a bias can."""
    simulated(tmp_path)
    biased = SIMULATED.replace('"mine": 1.0,', '"mine": 0.9 if "/head/" in __file__ else 1.0,')
    commit(tmp_path, {"sim_kernels.py": biased})
    done = json.loads(llmbench("gate", "self-test", "suite.yaml", "--json", rc=1).stdout)
    assert done["counts"]["IMPROVED"] == 2 and done["summary"].endswith(": exit 1, a false alarm")


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
def test_a_head_that_multiplies_twice_is_found_before_anything_is_timed(llmbench: Llmbench, tmp_path: Path) -> None:
    real(tmp_path)
    git(tmp_path, "checkout", "-q", "main")
    square = REAL.replace("torch.randn(p.size, generator", "torch.randn(p.size, p.size, generator")
    files = {"src/double_op/__init__.py": square, "src/double_op/kernels.py": PRODUCT}
    commit(tmp_path, {**files, "bench/double.yaml": REAL_SUITE.replace("30000", "48")})
    write(tmp_path, {"src/double_op/kernels.py": PRODUCT.replace("REPEATS = 1", "REPEATS = 2")})
    args = ("gate", "paired", "bench/double.yaml", "--base", "main", "--device", "cpu", "--json")
    document = json.loads(llmbench(*args, "--max-minutes", "0", rc=1).stdout)
    assert document["paired"]["pairs"] == 0
    flop = next(f for f in of(document, "mul")["findings"] if f["metric"] == "counted_flop")
    assert (flop["verdict"], flop["baseline"], flop["run"]) == ("REGRESSED", 2 * 48**3, 2 * 2 * 48**3)
    assert "counted_flop 442368 FLOP against 221184 FLOP in the baseline" in of(document, "mul")["reason"]
    assert "counted_flop" not in {f["metric"] for f in of(document, "add")["findings"]}, "no product: no number"


@pytest.mark.slow
def test_unchanged_code_on_this_cpu_is_never_red(tmp_path: Path, env: dict[str, str]) -> None:
    real(tmp_path)
    gate = (sys.executable, "-m", "llmbench", "gate", "paired", "bench/double.yaml", "--base", "main", "--json")
    more = ("--device", "cpu", "--max-minutes", "0.7")
    done = subprocess.run([*gate, *more], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 5), done.stdout + done.stderr
    paired = json.loads(done.stdout)["paired"]
    assert paired["pairs"] >= 1 and paired["same_code"] and paired["wall_s"] < 60
