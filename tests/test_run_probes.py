"""Probes in a run: what torch.compile did for a case, and that a probe that fails costs the case nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch
from command_line import llmbench_in
from torch import Tensor

from llmbench.analyze.stored import gate
from llmbench.measure.flop import COMPILED
from llmbench.run.compiled import Compiled, compiled_so_far
from llmbench.store.origin import read_evidence

SUITE = """\
op: attention
impls: [sdpa_flash, naive, toy_shy, toy_breaks, toy_whole]
baseline: {impl: naive}
plugins: [shy]
phases: [infer]
axes: {seq_len: [16]}
fixed: {num_heads: 2, num_kv_heads: 1, head_dim: 16}
measure: {max_s: 0.01, processes: 2}
probes: [kernels, energy]
gate: {launches: 0}
"""
PLUGIN = '''\
import torch
from llmbench.kernels.attention import naive_attention
from llmbench.ops import attention


@attention.impl("toy_shy")
def shy(p):
    """Works unless somebody looks."""
    def call(q, k, v):
        if torch.autograd._profiler_enabled():
            raise ValueError("not under\\nthe profiler")
        return naive_attention(q, k, v, causal=False)

    return call


@attention.impl("toy_breaks")
def breaks(p):
    """Compiled in two pieces."""
    def attend(q, k, v):
        q = q * 1.0
        torch._dynamo.graph_break()
        return naive_attention(q, k, v, causal=False)

    return torch.compile(attend, dynamic=False, backend="eager")


@attention.impl("toy_whole")
def whole(p):
    """Compiled in one piece, after the other."""
    return torch.compile(lambda q, k, v: naive_attention(q, k, v, causal=False), dynamic=False, backend="eager")
'''


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def compiled(function: Callable[..., object], **options: Any) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False, backend="eager", **options)


def whole(x: Tensor) -> Tensor:
    return x.sin() + x


def in_pieces(x: Tensor) -> Tensor:
    x = x.sin()
    torch._dynamo.graph_break()
    return x.cos()


def not_at_all(x: Tensor) -> Tensor:
    for _ in range(3):
        x = x.sin()
        torch._dynamo.graph_break()
    return x


def did(call: Callable[[], object]) -> Compiled:
    before = compiled_so_far()
    call()
    return compiled_so_far().since(before)


def test_one_graph_without_a_break() -> None:
    call = compiled(whole)
    found = did(lambda: [call(torch.ones(3)) for _ in range(3)])
    assert (found.graphs, found.graph_breaks, found.recompiles, found.anything) == (1, 0, 0, True)
    assert not did(lambda: call(torch.ones(3))).anything


def test_a_break_has_its_reason_in_one_line() -> None:
    call = compiled(in_pieces)
    found = did(lambda: call(torch.ones(3)))
    assert (found.graphs, found.graph_breaks, found.recompiles) == (2, 1, 0)
    (reason,) = found.reasons
    assert "torch._dynamo.graph_break()" in reason and "\n" not in reason


def test_what_is_given_up_is_a_break_too() -> None:
    for _ in range(2):
        found = did(lambda: compiled(not_at_all)(torch.ones(3)))
        assert (found.graphs, found.graph_breaks, len(found.reasons), found.anything) == (0, 1, 1, True)
        torch._dynamo.reset()


def test_breaks_of_others_are_not_counted_again() -> None:
    did(lambda: compiled(in_pieces)(torch.ones(3)))
    assert did(lambda: compiled(whole)(torch.ones(3))).graph_breaks == 0


def test_another_shape_is_a_recompile_and_another_implementation_of_the_same_function_is_not() -> None:
    call = compiled(whole)
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False):
        found = did(lambda: [call(torch.ones(n)) for n in (3, 4, 5)])
        assert (found.graphs, found.recompiles) == (3, 2)
        other = torch.compile(whole, dynamic=False, backend="aot_eager")
        found = did(lambda: other(torch.ones(3)))
        assert (found.graphs, found.recompiles) == (1, 0)


def test_without_dynamo_nothing_is_told_and_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo.utils")
    assert compiled_so_far() == Compiled() and not compiled_so_far().anything


def test_what_another_version_of_torch_does_not_count_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    utils = ModuleType("torch._dynamo.utils")
    utils.counters = {"stats": {}, "graph_break": {"why\nat length": 2, "why": 1}}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch._dynamo.utils", utils)
    monkeypatch.setitem(sys.modules, "torch._dynamo.convert_frame", ModuleType("convert_frame"))
    found = compiled_so_far().since(Compiled())
    assert (found.graphs, found.graph_breaks, found.reasons, found.recompiles) == (0, 3, ("why",), None)


class Ran(NamedTuple):
    """A run of `SUITE`: by implementation and process, value by metric and part; and what was said."""

    folder: Path
    values: dict[tuple[str, int], dict[tuple[str, str | None], float]]
    status: dict[str, str]
    notes: list[str]
    stderr: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("probes")
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "shy.py").write_text(PLUGIN)
    done = llmbench_in(folder, "run", "suite.yaml", "--json")
    run = folder / json.loads(done.stdout)["folder"]
    values: dict[tuple[str, int], dict[tuple[str, str | None], float]] = {}
    rows = pq.read_table(run / "records.parquet").to_pylist()
    for row in rows:
        values.setdefault((row["impl"], row["process"]), {})[row["metric"], row["part"]] = row["value"]
    notes = json.loads((run / "run.json").read_text())["notes"]
    return Ran(run, values, {r["impl"]: r["status"] for r in rows}, notes, done.stderr)


def test_launches_are_stored_as_a_whole_and_by_name(ran: Ran) -> None:
    for process in (0, 1):
        found = {k: v for k, v in ran.values["sdpa_flash", process].items() if k[0] == "launches"}
        assert found == {
            ("launches", None): 1,
            ("launches", "aten::_scaled_dot_product_flash_attention_for_cpu"): 1,
        }
        found = {k: v for k, v in ran.values["naive", process].items() if k[0] == "launches"}
        assert found.pop(("launches", None)) == sum(found.values()) == 5
        assert found["launches", "aten::bmm"] == 2


def test_a_probe_that_fails_costs_the_case_nothing_and_is_said_once(ran: Ran) -> None:
    assert ran.status == dict.fromkeys(("sdpa_flash", "naive", "toy_shy", "toy_breaks", "toy_whole"), "ok")
    for process in (0, 1):
        metrics = {metric for metric, _ in ran.values["toy_shy", process]}
        assert "time" in metrics and "launches" not in metrics
    said = "kernels of toy_shy infer not recorded: ValueError: not under the profiler"
    assert ran.notes.count(said) == ran.stderr.count(said) == 1


def test_graphs_and_breaks_are_those_of_the_case_and_reasons_are_notes(ran: Ran) -> None:
    for impl, counts in (("toy_breaks", [2, 1, 0]), ("toy_whole", [1, 0, 0])):
        found = ran.values[impl, 1]
        assert [found[m, None] for m in ("graphs", "graph_breaks", "recompiles")] == counts
    assert not {"graphs", "graph_breaks"} & {metric for metric, _ in ran.values["naive", 1]}
    said = [n for n in ran.notes if n.startswith("graph break of toy_breaks infer: ")]
    assert len(said) == 1 and "torch._dynamo.graph_break()" in said[0]


def test_flop_that_ran_are_stored_and_those_of_compiled_code_have_a_reason(ran: Ran) -> None:
    pairs = 4 * 2 * 16 * 16 * 16  # two products of 16 queries, 16 keys and 16 numbers, in two heads
    for process in (0, 1):
        for impl in ("sdpa_flash", "naive"):
            assert ran.values[impl, process]["counted_flop", None] == pairs
        for impl in ("toy_shy", "toy_breaks", "toy_whole"):
            assert ("counted_flop", None) not in ran.values[impl, process]
    for impl in ("toy_breaks", "toy_whole"):
        assert ran.notes.count(f"counted_flop of {impl} infer not recorded: {COMPILED}") == 1


def test_energy_of_a_device_without_a_counter_is_said_once_for_all(ran: Ran) -> None:
    assert [n for n in ran.notes if "energy" in n] == ["energy is not recorded: device cpu has no NVML"]
    assert ran.stderr.count("energy is not recorded") == 1


def test_what_the_run_counted_passes_its_own_gate(ran: Ran) -> None:
    evidence = read_evidence(ran.folder)
    findings = [f for v in gate(evidence, evidence).verdicts for f in v.findings if f.metric == "launches"]
    assert [(f.word, f.change.basis) for f in findings] == [("PASS", "exact")] * 4
