"""The trials of an audit of timers, in this very process: every tool on a busy loop, with a tiny budget."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from llmbench.errors import UsageError
from llmbench.machine.fingerprint import Machine
from llmbench.run.timers.campaign import order_of
from llmbench.run.timers.child import measure
from llmbench.run.timers.functions import call_of, loop_error
from llmbench.run.timers.subjects import LOOPS, TOOLS, chosen, functions_for, tools_for
from llmbench.run.timers.tools import TIMERS, read_nvbench
from llmbench.store.runs import Code
from llmbench.store.timers import TimerAudit, Trial, path_of, read_audit, write_audit

CPU = torch.device("cpu")
ON_CPU = [name for name, asked in TOOLS.items() if not asked.on_gpu_only]
MACHINE = Machine("cpu", "a CPU", "cpu", 1, 1)
AUDIT = TimerAudit("2026-01-02T03:04:05+00:00", MACHINE, {}, Code(None, False, ""), 1.0, 4, 1, 0, None,
                   functions_for("cpu"), tools_for("cpu"))  # fmt: skip


@pytest.mark.parametrize("tool", ON_CPU)
def test_every_tool_times_a_busy_loop(tool: str, tmp_path: Path) -> None:
    answer = measure(tool, "busy_100us", device=CPU, budget_s=0.01, folder=tmp_path)
    assert answer.why is None and answer.value_s is not None and answer.seconds is not None and answer.samples
    assert answer.value_s >= 100e-6, "a loop that waits for the clock takes at least its time"
    assert answer.seconds > answer.value_s
    assert answer.loop_error is not None and answer.loop_error >= 0


def test_a_tool_asked_twice_in_a_process_answers_twice(tmp_path: Path) -> None:
    for tool in ("pyperf", "pytest_benchmark"):
        answers = [measure(tool, "busy_10us", device=CPU, budget_s=0.01, folder=tmp_path) for _ in range(2)]
        assert [a.why for a in answers] == [None, None], tool


@pytest.mark.parametrize("name", [f.name for f in functions_for("cpu")])
def test_every_function_can_be_called(name: str) -> None:
    (function,) = (f for f in functions_for("cpu") if f.name == name)
    call = call_of(function, CPU, None)
    call()
    assert (loop_error(function, call, None) is None) == (function.truth_s is None)


def test_a_failure_is_an_answer_that_says_why(tmp_path: Path) -> None:
    answer = measure("do_bench", "busy_10us", device=CPU, budget_s=0.01, folder=tmp_path)
    assert answer.value_s is None and answer.why and "Error" in answer.why


def test_every_tool_has_its_timer_and_says_how_it_is_asked() -> None:
    assert set(TIMERS) == set(TOOLS) and all(asked.how for asked in TOOLS.values())


def test_what_cannot_be_asked_here_is_listed_with_its_reason() -> None:
    by_name = {tool.name: tool for tool in tools_for("cpu")}
    assert set(by_name) == set(TOOLS)
    assert by_name["do_bench"].why_not == by_name["cuda_bench"].why_not == "needs a CUDA device, this one is cpu"
    assert by_name["pyperf"].why_not is None and by_name["pyperf"].version
    on_gpu = {tool.name: tool for tool in tools_for("cuda:0")}
    assert on_gpu["pyperf"].how.endswith("; torch.cuda.synchronize() in each call")
    assert on_gpu["cuda_bench"].why_not is None or "pip install 'cuda-bench" in on_gpu["cuda_bench"].why_not


def test_a_tool_that_is_not_installed_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = TOOLS["pyperf"]._replace(distributions=("no-such-distribution",))
    monkeypatch.setitem(TOOLS, "pyperf", absent)
    (pyperf,) = (tool for tool in tools_for("cpu") if tool.name == "pyperf")
    assert pyperf.why_not == "no-such-distribution is not installed: pip install 'llmbench[audit]'"


def test_only_chooses_functions_and_tools() -> None:
    functions, tools = chosen(["tool=pyperf,llmbench", "function=gemm"], functions_for("cpu"), tools_for("cpu"))
    assert [f.name for f in functions] == ["gemm"] and [t.name for t in tools] == ["llmbench", "pyperf"]
    assert chosen([], functions_for("cpu"), tools_for("cpu")) == (functions_for("cpu"), tools_for("cpu"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gemm", "--only gemm: wanted key=value or key=value,value"),
        ("tol=llmbench", "--only tol=llmbench: 'tol' is neither function nor tool; did you mean 'tool'?"),
        ("tool=pyprf", "--only tool=pyprf: there is no tool 'pyprf'; did you mean 'pyperf'?"),
    ],
)
def test_an_unknown_choice_names_the_nearest(text: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        chosen([text], functions_for("cpu"), tools_for("cpu"))
    assert str(raised.value) == told


def test_every_repetition_asks_every_tool_of_every_function_in_an_order_of_its_own() -> None:
    order = order_of(AUDIT)
    cases = len(AUDIT.functions) * len(ON_CPU)
    repetitions = [order[i * cases : (i + 1) * cases] for i in range(AUDIT.repetitions)]
    for i, trials in enumerate(repetitions):
        assert {r for r, _, _ in trials} == {i} and len(set(trials)) == cases
        assert {tool for _, _, tool in trials} == set(ON_CPU), "those that cannot be asked are left out"
        apart = [f for (_, f, _), (_, g, _) in pairwise(trials) if f != g]
        assert len(apart) == len(AUDIT.functions) - 1, "the tools of a function follow each other"
    assert len({tuple((f, t) for _, f, t in trials) for trials in repetitions}) == AUDIT.repetitions
    assert order == order_of(AUDIT)


def test_an_audit_is_read_as_it_was_written(tmp_path: Path) -> None:
    audit = replace(
        AUDIT,
        trials=tuple(
            Trial(**said, repetition=0, function="gemm", tool=tool)  # type: ignore[arg-type]
            for tool, said in (("pyperf", {"value_s": 1.0, "seconds": 2.0, "samples": 3}), ("llmbench", {"why": "no"}))
        ),
    )
    path = path_of(audit, tmp_path)
    assert path == tmp_path / "audit" / "timers" / "cpu-a-cpu" / "20260102T030405Z.json"
    write_audit(path, audit)
    assert read_audit(path) == audit and [p.name for p in path.parent.iterdir()] == [path.name]


def test_what_is_no_audit_is_told(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"schema": "llmbench.run/1"}')
    with pytest.raises(UsageError, match=r"schema 'llmbench\.run/1', wanted 'llmbench\.audit\.timers\.trials/1'"):
        read_audit(tmp_path / "other.json")
    with pytest.raises(UsageError, match="No such file"):
        read_audit(tmp_path / "nowhere.json")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match="no audit of timers"):
        read_audit(tmp_path / "text")


def test_the_answer_of_nvbench_is_read_from_its_json() -> None:
    def summary(tag: str, kind: str, value: str) -> dict[str, object]:
        return {"tag": tag, "data": [{"name": "value", "type": kind, "value": value}]}

    state: dict[str, object] = {"is_skipped": False, "summaries": [
        summary("nv/cold/sample_size", "int64", "499"),
        summary("nv/cold/time/cpu/mean", "float64", "0.001009524801603207"),
        summary("nv/cold/time/gpu/mean", "float64", "0.0010034006580799991"),
    ]}  # fmt: skip
    assert read_nvbench(json.dumps({"benchmarks": [{"states": [state]}]})) == (0.0010034006580799991, 499)
    skipped = {"is_skipped": True, "skip_reason": "Deadlock"}
    with pytest.raises(RuntimeError, match="nvbench skipped it: Deadlock"):
        read_nvbench(json.dumps({"benchmarks": [{"states": [skipped]}]}))


def test_the_loops_are_of_the_lengths_that_they_say() -> None:
    assert [(f.label, f.truth_s) for f in LOOPS] == [
        ("busy loop 10 µs", 1e-5), ("busy loop 100 µs", 1e-4), ("busy loop 1 ms", 1e-3), ("busy loop 10 ms", 1e-2),
    ]  # fmt: skip
