"""Cases: identities that are frozen, the order they come in, and skip marks."""

from dataclasses import replace

import pytest
from suite_catalog import ATTENTION, CPU, H100

from llmbench.suite.case import Case, case_id, ends, expand, only, point_id
from llmbench.suite.catalog import Catalog, ParamSpec
from llmbench.suite.load import load, parse, resolve
from llmbench.suite.suite import Axis, AxisValue, Suite

SHAPE = {
    "batch": 1,
    "seq_len": 128,
    "num_heads": 8,
    "num_kv_heads": 2,
    "head_dim": 64,
    "mask": "full",
    "dtype": "float32",
}
TEXT = """
op: attention
impls: [naive, sdpa_flash]
baseline: {impl: sdpa_flash}
axes: {seq_len: [64, 128], heads: {mha: {num_heads: 4, num_kv_heads: 4}, mqa: {num_heads: 4, num_kv_heads: 1}}}
fixed: {head_dim: 32}
skip:
  - {match: {impl: naive, seq_len: 128}, why: slow}
"""


def suite(text: str = TEXT, catalog: Catalog = CPU, path: str = "s.yaml") -> Suite:
    return resolve(parse(text, path=path), catalog)


def cases(of: Suite) -> list[Case]:
    return [c for p in expand(of) for c in p.cases]


def ids(of: Suite) -> list[str]:
    return [c.case_id for c in cases(of)]


def identity(**changes: object) -> str:
    facts = {"impl": "naive", "phase": "fwd", "params": SHAPE, "cache": "cold", "timer_class": "wall", **changes}
    return case_id(ATTENTION, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "golden"),
    [
        ({}, "d51f1df0f46f69ff"),
        ({"impl": "tiled", "phase": "bwd"}, "564cff2501a7a7f6"),
        ({"cache": "warm", "timer_class": "device"}, "b953b4c9437f185f"),
        ({"params": {**SHAPE, "mask": "causal", "dtype": "bfloat16"}}, "4bcefc096b94cc4b"),
    ],
    ids=str,
)
def test_golden_case_ids(changes: dict[str, object], golden: str) -> None:
    assert identity(**changes) == golden


def test_golden_ids_of_the_bundled_suite() -> None:
    first, last = expand(load("attention", CPU))[0], expand(load("attention", CPU))[-1]
    assert (first.point_id, first.cases[0].case_id) == ("9e69ae33a481db90", "d9c295062e29b4f7")
    assert (last.point_id, last.cases[-1].case_id) == ("60583f1faa9d94e0", "1b2c63beb5a4854e")
    first, last = expand(load("attention", H100))[0], expand(load("attention", H100))[-1]
    assert (first.point_id, first.cases[0].case_id) == ("3274668f8aff9669", "7244b00bd47ce598")
    assert (last.point_id, last.cases[-1].case_id) == ("04f01483ed05e65c", "d894aabebe5d39da")


@pytest.mark.parametrize(
    "change",
    [
        {"impl": "tiled"},
        {"phase": "bwd"},
        {"cache": "warm"},
        {"timer_class": "device"},
        {"params": {**SHAPE, "seq_len": 256}},
        {"params": {**SHAPE, "mask": "causal"}},
    ],
    ids=str,
)
def test_what_is_measured_is_in_the_identity(change: dict[str, object]) -> None:
    assert identity(**change) != identity()


def test_version_of_the_op_is_in_the_identity() -> None:
    newer = replace(suite(), op=replace(ATTENTION, version=2))
    assert not set(ids(newer)) & set(ids(suite()))


def test_name_seed_budget_probes_and_skips_are_not_in_the_identity() -> None:
    other = (
        TEXT.replace("why: slow", "why: too slow")
        + "seed: 7\nprobes: [memory]\nmeasure: {max_s: 9, target_ci: 0.1, processes: 4}\n"
    )
    assert ids(suite(other, path="renamed.yaml")) == ids(suite())


def test_order_of_axes_values_and_implementations_is_not_in_the_identity() -> None:
    turned = replace(suite(), axes=tuple(reversed(suite().axes)), impls=tuple(reversed(suite().impls)))
    assert ids(turned) != ids(suite())
    assert set(ids(turned)) == set(ids(suite()))
    assert {p.point_id for p in expand(turned)} == {p.point_id for p in expand(suite())}


def test_bundle_and_plain_parameters_give_one_identity() -> None:
    plain = "op: attention\nimpls: [naive]\nfixed: {seq_len: 64, head_dim: 32, num_heads: 4, num_kv_heads: 4}\n"
    assert ids(suite(plain))[0] == ids(suite())[0]


def test_parameter_at_its_default_is_not_in_the_identity() -> None:
    assert ids(suite(TEXT.replace("head_dim: 32", "head_dim: 32, mask: full, batch: 1"))) == ids(suite())


def test_new_parameter_with_a_default_does_not_rename() -> None:
    grown = replace(ATTENTION, params=(*ATTENTION.params, ParamSpec("window", "int", 0)))
    assert ids(replace(suite(), op=grown)) == ids(suite())
    assert ids(replace(suite(), op=grown, fixed={"head_dim": 32, "window": 64})) != ids(suite())


def test_point_holds_what_the_baseline_tells_apart() -> None:
    same = {"phase": "fwd", "params": SHAPE, "cache": "cold", "timer_class": "wall", "without": {"impl"}}
    assert point_id(ATTENTION, impl="naive", **same) == point_id(ATTENTION, impl="tiled", **same)  # type: ignore[arg-type]
    points = expand(suite())
    assert [[c.impl for c in p.cases] for p in points] == [["naive", "sdpa_flash"]] * 4
    assert [c.is_baseline for c in points[0].cases] == [False, True]


def test_baseline_by_bundle_makes_points_across_the_bundle() -> None:
    points = expand(suite(TEXT.replace("{impl: sdpa_flash}", "{heads: mha}")))
    assert len(points) == 4
    assert [[c.axes["heads"] for c in p.cases] for p in points] == [["mha", "mqa"]] * 4
    assert all([c.is_baseline for c in p.cases] == [True, False] for p in points)


def test_baseline_by_parameter_makes_points_across_it() -> None:
    points = expand(suite(TEXT.replace("{impl: sdpa_flash}", "{seq_len: 64}")))
    assert [[c.params["seq_len"] for c in p.cases] for p in points] == [[64, 128]] * 4


def test_cases_come_in_the_order_of_the_axes() -> None:
    facts = [(c.params["seq_len"], c.axes["heads"], c.impl) for c in cases(suite())]
    assert facts == [(s, h, i) for s in (64, 128) for h in ("mha", "mqa") for i in ("naive", "sdpa_flash")]


def test_skip_marks_and_never_drops() -> None:
    every = cases(suite())
    assert len(every) == 8
    assert [c.skip for c in every if c.impl == "naive"] == [None, None, "slow", "slow"]
    assert all(c.skip is None for c in every if c.impl != "naive")


def test_everything_may_be_skipped_and_the_baseline_too() -> None:
    every = cases(suite(TEXT.replace("{impl: naive, seq_len: 128}", "{impl: [naive, sdpa_flash]}")))
    assert [c.skip for c in every] == ["slow"] * 8


def test_combinations_that_come_to_the_same_are_one_case() -> None:
    axis = Axis("batch", (AxisValue({"batch": 1}), AxisValue({"batch": 1})))
    assert ids(replace(suite(), axes=(*suite().axes, axis))) == ids(suite())


def test_only_keeps_what_matches_and_leaves_out_empty_points() -> None:
    kept = only(expand(suite()), {"impl": ("naive",), "seq_len": (64,)})
    assert [[c.impl for c in p.cases] for p in kept] == [["naive"], ["naive"]]


def test_ends_of_an_axis() -> None:
    axis = Axis("n", tuple(AxisValue({"n": n}) for n in (1, 2, 3)))
    assert [v.params["n"] for v in ends(axis).values] == [1, 3]
    assert ends(ends(axis)) == ends(axis)
