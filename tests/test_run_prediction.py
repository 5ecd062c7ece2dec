"""What cases need is told before they are run: those that do not fit are skipped, and larger ones inferred."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmbench.store.query import read_run
from llmbench.suite.case import Case, needs_as_much

OP = """\
from dataclasses import dataclass

import torch
from llmbench.ops import Op, register


@dataclass(frozen=True)
class Params:
    rows: int
    columns: int = 1


def needs(p, impl):
    if impl == "unknown":
        return "nobody knows"
    if p.columns == 3:
        raise RuntimeError("cannot say")
    return float(p.rows * 2**40)


op = register(
    Op(
        "needy", version=1, params=Params, inputs=lambda p, g: [torch.randn(8, generator=g)],
        reference=lambda p: lambda x: x * 2, predicted_memory=needs, phases=("infer",), sizes=("rows",),
    )
)


def full(p):
    def call(x):
        if p.rows >= 2:
            raise torch.OutOfMemoryError("out of memory")
        return x * 2
    return call


op.impl("known")(lambda p: lambda x: x * 2)
op.impl("unknown")(full)
"""
SUITE = """\
op: needy
plugins: [needy]
impls: [known, unknown]
phases: [infer]
axes: {rows: [1, 2, 4], columns: [1, 2]}
measure: {max_s: 0.01, cache: warm}
probes: [memory]
"""


@pytest.fixture
def needy(tmp_path: Path) -> Path:
    (tmp_path / "needy.py").write_text(OP.replace("2**40", "2**20"))
    (tmp_path / "needy.yaml").write_text(SUITE)
    return tmp_path


def statuses(folder: Path) -> dict[tuple[Any, ...], tuple[str, str | None]]:
    rows = read_run(folder).rows
    return {(r.impl, r.params["rows"], r.params["columns"]): (r.status, r.why) for r in rows}


def test_what_does_not_fit_is_skipped_with_both_sizes_and_can_be_run_all_the_same(needy: Path, llmbench: Any) -> None:
    (needy / "needy.py").write_text(OP.replace("p.rows * 2**40", "2**60 if p.rows == 4 else 2**20"))
    done = json.loads(llmbench("run", "needy.yaml", "--only", "impl=known", "--json", rc=0).stdout)
    found = statuses(needy / done["folder"])
    assert {k: v[0] for k, v in found.items()} == {
        ("known", r, c): "skipped" if r == 4 else "ok" for r in (1, 2, 4) for c in (1, 2)
    }
    why = found["known", 4, 1][1]
    assert why is not None and why.startswith("predicted 1.07e+09 GiB, device has ")
    assert "--ignore-prediction" in why
    values = [r.value for r in read_run(needy / done["folder"]).rows if r.metric == "predicted_peak_memory"]
    assert values == [2.0**20] * 4
    done = json.loads(
        llmbench("run", "needy.yaml", "--only", "impl=known", "--ignore-prediction", "--json", rc=0).stdout
    )
    assert {v[0] for v in statuses(needy / done["folder"]).values()} == {"ok"}


def test_cases_above_one_that_ran_out_of_memory_are_inferred(needy: Path, llmbench: Any) -> None:
    done = json.loads(llmbench("run", "needy.yaml", "--only", "impl=unknown", "--json", rc=0).stdout)
    found = statuses(needy / done["folder"])
    assert {k[1:]: v[0] for k, v in found.items()} == {
        (1, 1): "ok", (1, 2): "ok", (2, 1): "oom", (2, 2): "oom", (4, 1): "inferred", (4, 2): "inferred",
    }  # fmt: skip
    assert found["unknown", 4, 1][1] == "a case that is no larger ran out of memory (rows=2)"
    assert done["counts"] == {"ok": 2, "oom": 2, "inferred": 2}


def test_a_resumed_run_remembers_what_ran_out_of_memory(needy: Path, llmbench: Any) -> None:
    done = json.loads(llmbench("run", "needy.yaml", "--only", "impl=unknown", "--json", rc=0).stdout)
    folder = needy / done["folder"]
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if json.loads(line)["type"] == "unit"]
    journal.write_text("".join(lines[: ends[3] + 1]))  # as if it had been killed when those of two rows were done
    (folder / "run.json").unlink()
    again = json.loads(llmbench("run", "--resume", "latest", "--json", rc=0).stdout)
    assert again["complete"] and again["counts"] == {"ok": 2, "oom": 2, "inferred": 2}


def test_a_plan_tells_what_cases_need_without_running_them(needy: Path, llmbench: Any) -> None:
    said = llmbench("plan", "needy.yaml", "--predict", rc=0).stdout
    assert "0.00391 GiB" in said and "not known: nobody knows" in said
    assert "peak memory predicted for 6 of 12 cases; 0 need more than the" in said
    plan = json.loads(llmbench("plan", "needy.yaml", "--predict", "--json", rc=0).stdout)
    by_impl = {
        c["case_id"]: (c["impl"], c["params"]["rows"]) for u in plan["units"] for c in u["cases"]
    }  # fmt: skip
    assert len(plan["predictions"]) == 12 and plan["device_memory_bytes"] > 2**30
    for case_id, told in plan["predictions"].items():
        impl, rows = by_impl[case_id]
        wanted = (rows * 2.0**20, None) if impl == "known" else (None, "nobody knows")
        assert (told["memory_bytes"], told["why"]) == wanted


def test_a_limit_below_what_predicting_takes_skips_what_is_predicted_all_the_same(
    tmp_path: Path, llmbench: Any
) -> None:
    (tmp_path / "least.yaml").write_text(
        "op: train_step\nimpls: [eager]\nbaseline: {impl: eager}\naxes: {attention: [naive]}\n"
        "fixed: {model: tiny, layers: 1, seq_len: 32}\nmeasure: {memory_limit: 1MiB}\n"
    )
    done = json.loads(llmbench("run", "least.yaml", "--json", rc=0).stdout)
    ((status, why),) = {(r.status, r.why) for r in read_run(tmp_path / done["folder"]).rows}
    assert status == "skipped" and (why or "").endswith("memory_limit is 0.000977 GiB (--ignore-prediction runs it)")


def test_a_limit_of_the_suite_stands_for_a_card_that_is_elsewhere(needy: Path, llmbench: Any) -> None:
    suite = (needy / "needy.yaml").read_text().replace("measure: {", "measure: {memory_limit: 3MiB, ")
    (needy / "needy.yaml").write_text(suite)
    said = llmbench("plan", "needy.yaml", "--predict", rc=0).stdout
    assert "peak memory predicted for 6 of 12 cases; 2 need more than the 0.00293 GiB of measure.memory_limit" in said
    assert said.count("  too large") == 2
    args = ("--only", "impl=known", "--only", "rows=4")
    done = json.loads(llmbench("run", "needy.yaml", *args, "--json", rc=0).stdout)
    found = statuses(needy / done["folder"])
    assert {status for status, _ in found.values()} == {"skipped"} and len(found) == 2
    assert (found["known", 4, 1][1] or "").startswith("predicted 0.00391 GiB, memory_limit is 0.00293 GiB")


def test_an_op_that_cannot_say_stops_nobody(needy: Path, llmbench: Any) -> None:
    (needy / "needy.yaml").write_text(SUITE.replace("columns: [1, 2]", "columns: [3]").replace("known, un", "known, "))
    (needy / "needy.yaml").write_text((needy / "needy.yaml").read_text().replace("[known, known]", "[known]"))
    said = llmbench("plan", "needy.yaml", "--predict", rc=0).stdout
    assert "not known: RuntimeError: cannot say" in said
    done = json.loads(llmbench("run", "needy.yaml", "--json", rc=0).stdout)
    assert done["counts"] == {"ok": 3}


def test_a_plan_of_ops_that_predict_nothing_says_so(llmbench: Any) -> None:
    said = llmbench("plan", "smoke", "--predict", rc=0).stdout
    assert "peak memory predicted for 0 of" in said and "their op predicts nothing" in said


def case(**params: Any) -> Case:
    impl = params.pop("impl", "a")
    return Case(
        case_id=f"{impl} {params}", point_id="p", op="o", op_version=1, impl=impl, phase="infer", params=params,
        cache="warm", timer_class="wall",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("larger", "wanted"),
    [
        ({"rows": 4, "mask": "full"}, True),
        ({"rows": 1, "mask": "full"}, False),
        ({"rows": 4, "mask": "causal"}, False),
        ({"rows": 4, "mask": "full", "impl": "b"}, False),
        ({"rows": 2, "mask": "full"}, False),  # itself
    ],
)
def test_only_the_same_made_larger_needs_as_much(larger: dict[str, Any], wanted: bool) -> None:
    assert needs_as_much(case(**larger), case(rows=2, mask="full"), ("rows",)) is wanted
    assert not needs_as_much(case(**larger), case(rows=2, mask="full"), ())


@pytest.mark.slow
def test_a_model_of_eight_billion_parameters_is_predicted_on_a_laptop(tmp_path: Path, llmbench: Any) -> None:
    (tmp_path / "big.yaml").write_text(
        "op: train_step\nimpls: [eager]\nphases: [step]\naxes: {checkpointing: [full]}\n"
        "fixed: {model: llama3_8b, seq_len: 8192, dtype: bfloat16, cross_entropy: chunked}\n"
    )
    plan = json.loads(llmbench("plan", "big.yaml", "--predict", "--json", rc=0).stdout)
    (told,) = plan["predictions"].values()
    parameters = 8_030_261_248 * 2
    assert (
        4 * parameters < told["memory_bytes"] < 6 * parameters
    )  # weights, gradients, two moments, and what is between
