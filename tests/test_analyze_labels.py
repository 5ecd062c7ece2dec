"""A label names one case, in whichever of two runs it is."""

import xml.etree.ElementTree as ET
from pathlib import Path

from example_runs import HEADS, STEADY, cases_of, make_row, make_suite, stored_run

from llmbench.analyze.compare import Comparison, compare
from llmbench.analyze.labels import facts_by_case, label
from llmbench.analyze.stored import gate
from llmbench.report import junit
from llmbench.store.origin import read_evidence
from llmbench.suite.suite import Axis, AxisValue, Suite

BOTH = {"naive": STEADY, "flash": STEADY}


def compared(folder: Path, a: Suite, b: Suite) -> Comparison:
    sides = [stored_run(folder / name, BOTH, suite=suite) for name, suite in (("a", a), ("b", b))]
    return compare(*map(read_evidence, sides))


def heads(**sets: dict[str, int]) -> Axis:
    return Axis("heads", tuple(AxisValue(dict(params), name) for name, params in sets.items()))


def test_what_varies_between_the_runs_is_in_the_labels(tmp_path: Path) -> None:
    found = compared(tmp_path, make_suite(fixed={"batch": 1}), make_suite(fixed={"batch": 2}))
    assert sorted(p.label for p in found.pairs) == [
        "flash fwd batch=1", "flash fwd batch=2", "naive fwd batch=1", "naive fwd batch=2",
    ]  # fmt: skip
    assert [p.facts["batch"] for p in found.pairs if p.kind == "only in A"] == [1, 1]
    outcome = gate(read_evidence(tmp_path / "a"), read_evidence(tmp_path / "b"))
    assert [(v.word, v.label) for v in outcome.verdicts] == [
        ("MISSING", "flash fwd batch=1"), ("MISSING", "naive fwd batch=1"),
        ("NEW", "flash fwd batch=2"), ("NEW", "naive fwd batch=2"),
    ]  # fmt: skip
    names = [case.attrib["name"] for case in ET.fromstring(junit.render(outcome)).iter("testcase")]
    assert len({*names}) == len(names) == 4


def test_what_all_cases_share_is_not(tmp_path: Path) -> None:
    found = compared(tmp_path, make_suite(), make_suite())
    assert [p.label for p in found.pairs] == ["naive fwd", "flash fwd"]


def test_a_bundle_that_sets_other_parameters_in_the_other_run_is_told_by_them(tmp_path: Path) -> None:
    other = heads(mha={"num_heads": 32, "num_kv_heads": 32}, gqa={"num_heads": 8, "num_kv_heads": 2})
    found = compared(
        tmp_path, make_suite(axes=(make_suite().axes[0], HEADS)), make_suite(axes=(make_suite().axes[0], other))
    )
    assert sorted(p.label for p in found.pairs) == [
        "flash fwd num_heads=32 num_kv_heads=32", "flash fwd num_heads=8 num_kv_heads=8",
        "naive fwd num_heads=32 num_kv_heads=32", "naive fwd num_heads=8 num_kv_heads=8",
    ]  # fmt: skip


def test_the_order_is_that_of_the_suite_and_a_bundle_stands_for_its_parameters() -> None:
    lengths = Axis("seq_len", tuple(AxisValue({"seq_len": n}) for n in (512, 64)))
    suite = make_suite(axes=(HEADS, lengths))
    rows = {c.case_id: make_row(c) for c in cases_of(suite)}
    labels = [label(facts) for facts in facts_by_case(rows, suite).values()]
    assert labels[0] == "naive fwd heads=mha seq_len=512" and len({*labels}) == 12


def test_what_nothing_tells_apart_is_told_by_its_id() -> None:
    rows = {key: make_row(case_id=key) for key in ("0123456789abcdef", "fedcba9876543210")}
    found = facts_by_case(rows, make_suite())
    assert [label(f) for f in found.values()] == ["naive fwd case=01234567", "naive fwd case=fedcba98"]
    cached = {key: make_row(case_id=key, cache=key) for key in ("cold", "warm")}
    assert [label(f) for f in facts_by_case(cached, make_suite()).values()] == [
        "naive fwd cache=cold", "naive fwd cache=warm",
    ]  # fmt: skip
