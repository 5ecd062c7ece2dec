"""The audit of timers on a GPU: every tool that is installed, on a sleep of known cycles."""

from pathlib import Path

import pytest
import torch

from llmbench.run.timers.child import measure
from llmbench.run.timers.functions import gpu_cycles_per_s
from llmbench.run.timers.subjects import functions_for, tools_for

TOOLS = [tool.name for tool in tools_for("cuda:0") if tool.why_not is None]


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_times_a_sleep_of_known_cycles(tool: str, tmp_path: Path) -> None:
    cycles, device = gpu_cycles_per_s(), torch.device("cuda:0")
    answer = measure(tool, "busy_1ms", device=device, budget_s=0.2, folder=tmp_path, cycles_per_s=cycles)
    assert answer.why is None, answer.why
    assert answer.value_s is not None and abs(answer.value_s / 1e-3 - 1) < 0.1
    assert answer.loop_error is not None and abs(answer.loop_error) < 0.05


@pytest.mark.parametrize("function", [f.name for f in functions_for("cuda")])
def test_llmbench_times_every_function(function: str, tmp_path: Path) -> None:
    device = torch.device("cuda:0")
    answer = measure("llmbench", function, device=device, budget_s=0.2, folder=tmp_path, cycles_per_s=1.5e9)
    assert answer.why is None and answer.value_s, answer.why
