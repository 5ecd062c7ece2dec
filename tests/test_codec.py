"""Plain data and back: everything that travels between processes or lies on disk."""

import json
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest

from llmbench.codec import from_plain, to_plain
from llmbench.machine.fingerprint import Machine
from llmbench.store.record import Check, Measurement, Record
from llmbench.suite.case import Case, Point, expand
from llmbench.suite.catalog import Catalog, Constraint, DeviceSpec, ImplSpec, OpSpec, ParamSpec
from llmbench.suite.suite import Axis, AxisValue, GateCase, Measure, Skip, Suite


class Colour(Enum):
    """An enum."""

    red = "r"


@dataclass(frozen=True)
class Everything:
    """One field of every kind that the codec reads."""

    number: int | float
    real: float
    flag: bool
    mode: Literal["a", "b"]
    colour: Colour
    pair: tuple[int, str]
    many: tuple[float, ...] = ()
    maybe: int | None = None
    nested: dict[str, list[int]] = field(default_factory=dict)


GOOD = Everything(1, 2.0, True, "a", Colour.red, (1, "x"), (0.5, 1.0), None, {"k": [1, 2]})
OP = OpSpec(
    "attention", 1, "Attends.",
    (ParamSpec("seq_len", "int", minimum=1), ParamSpec("dtype", "str", "float32", choices=("float32",))),
    ("infer", "bwd"), (ImplSpec("naive", "S x S", ("infer",), ("cuda",), "needs a CUDA device"),),
    (Constraint("multiple_of", "num_heads", "num_kv_heads"),), "case",
)  # fmt: skip
SUITE = Suite(
    "s", OP, "cpu", ("naive",), ("infer",),
    (Axis("seq_len", (AxisValue({"seq_len": 16}), AxisValue({"seq_len": 32}))), Axis("b", (AxisValue({}, "none"),))),
    {"dtype": "float32"}, {"impl": "naive"}, (Skip({"seq_len": (32,)}, "too long"),),
    Measure(memory_limit=2**30, target_ci=1e-6), ("memory",), {"time": 0.03},
    (GateCase({"impl": ("naive",)}, {"time": 0.1, "peak_memory": None}, "short"),), 3, ("toy:load",),
)  # fmt: skip
RECORD = Record(
    "c" * 16, 1, "ok",
    measurements=[Measurement("time", 1.5e-9, "forward", 1e-9, None, [0.1, 1e300], [7], [0], [1], [""])],
    check=Check("oracle", True, allowed=0.5), grad="on", order="apart", flop=1e18,
)  # fmt: skip
CATALOG = Catalog(DeviceSpec("cuda:0", "sm90", "H100"), (OP,), {"torch": "2.6"}, ("a note",))
MACHINE = Machine("cpu", "EPYC", "cpu", 2**40, 0, {"cores": 2, "ecc": None, "mig": False}, {"load": 0.5})


def through_json(value: object) -> object:
    return from_plain(type(value), json.loads(json.dumps(to_plain(value), allow_nan=False)))


@pytest.mark.parametrize(
    "value", [GOOD, OP, SUITE, RECORD, CATALOG, MACHINE, *expand(SUITE)], ids=lambda v: type(v).__name__
)
def test_what_comes_back_is_equal(value: object) -> None:
    assert through_json(value) == value


def test_a_resolved_suite_expands_to_the_same_cases_afterwards() -> None:
    back = through_json(SUITE)
    assert isinstance(back, Suite) and expand(back) == expand(SUITE)
    assert [c.skip for p in expand(back) for c in p.cases] == [None, "too long"]


def test_an_int_stays_an_int_and_a_float_becomes_one() -> None:
    back = from_plain(Everything, {**to_plain(GOOD), "number": 3, "real": 4})
    assert type(back.number) is int and type(back.real) is float
    assert type(from_plain(Everything, {**to_plain(GOOD), "number": 3.0}).number) is float
    case = expand(SUITE)[0].cases[0]
    kinds = {
        k: type(v)
        for k, v in from_plain(Case, to_plain(replace(case, params={"a": True, "b": 1, "c": 1.0}))).params.items()
    }
    assert kinds == {"a": bool, "b": int, "c": float}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("number", "1"), ("real", "x"), ("real", True), ("flag", 1), ("mode", "c"), ("colour", "blue"), ("pair", [1]),
        ("pair", [1, 2]), ("pair", "1x"), ("many", [0.1, None]), ("maybe", 0.5), ("maybe", True), ("nested", []),
        ("nested", {"k": ["x"]}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=name if name != "colour" else "blue"):
        from_plain(Everything, {**to_plain(GOOD), name: wrong})


def test_a_missing_field_is_named_with_its_place() -> None:
    plain = to_plain(SUITE)
    del plain["op"]["params"][0]["type"]
    with pytest.raises(ValueError, match=r"Suite\.op\.params\.type is missing"):
        from_plain(Suite, plain)


def test_a_newer_reader_takes_older_data_and_an_older_one_newer() -> None:
    plain = to_plain(RECORD)
    del plain["grad"], plain["tokens"]
    assert from_plain(Record, plain) == replace(RECORD, grad=None)
    assert from_plain(Record, {**to_plain(RECORD), "from_the_future": 1}) == RECORD


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_no_object_is_no_record(data: object) -> None:
    with pytest.raises(ValueError, match="Record"):
        from_plain(Record, data)
    with pytest.raises(ValueError, match="Point"):
        from_plain(Point, data)


def test_paths_are_not_data() -> None:
    assert to_plain({Path("a"): (1,)}) == {"a": [1]}
