"""Whatever the text, loading it gives a Suite or a SuiteError with a place, never a traceback."""

import json
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from suite_catalog import ATTENTION, CPU, H100, IMPLS, TOY

from llmbench.codec import from_plain
from llmbench.errors import SuiteError, UsageError
from llmbench.suite.bundled import bundled_suites
from llmbench.suite.case import expand
from llmbench.suite.catalog import Catalog
from llmbench.suite.load import canonical, parse, resolve
from llmbench.suite.narrow import quick, suite_filter
from llmbench.suite.spec import MeasureSpec, SuiteSpec
from llmbench.suite.suite import Suite

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
VALID = [b.path.read_text(encoding="utf-8") for b in bundled_suites()]
PARAMS = [p.name for p in (*ATTENTION.params, *TOY.params)]
WORDS = [
    *SuiteSpec.model_fields, *MeasureSpec.model_fields, *PARAMS, *IMPLS, *ATTENTION.phases,
    "match", "why", "impl",
    "phase", "cpu", "cuda", "sm90", "time", "attention", "toy", "heads", "mha", "causal", "float32", "memory",
    "cold", "2 GiB",
]  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from(WORDS),
    st.integers(-2, 200),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


def check(text: str | bytes) -> None:
    """Loads it on two devices; a suite that comes out must expand, narrow and travel."""
    for catalog in (CPU, H100):
        outcome = load(text, catalog)
        if isinstance(outcome, str):
            assert re.fullmatch(r"s\.yaml:[1-9]\d*:[1-9]\d*: [^\n]+", outcome)
        else:
            expand(quick(outcome))
            assert from_plain(Suite, json.loads(json.dumps(canonical(outcome), allow_nan=False))) == outcome


def load(text: str | bytes, catalog: Catalog) -> Suite | str:
    """The suite, or what the user is told."""
    try:
        return resolve(parse(text, path="s.yaml"), catalog)
    except SuiteError as error:
        return str(error)


@FUZZ
@given(st.text() | st.binary())
def test_any_text(text: str | bytes) -> None:
    check(text)


@FUZZ
@given(
    st.lists(st.sampled_from([*WORDS, *"{}[]:,-?&*!|>'\"%@`#~\n\t ", ": ", "\n  ", "\n- ", "*a", "&a "]), max_size=40)
)
def test_any_tokens(tokens: list[str]) -> None:
    check("op: toy\n" + "".join(tokens))


@FUZZ
@given(st.data())
def test_mutated_suites(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(VALID))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = (
            text[:start]
            + data.draw(st.sampled_from([*WORDS, "", " ", "\n", "0", "-1", ".nan", "[", "}", "~"]))
            + text[end:]
        )
    check(text)


@FUZZ
@given(
    st.dictionaries(st.sampled_from(list(SuiteSpec.model_fields)), TREES, max_size=6),
    st.sampled_from(["attention", "toy"]),
)
def test_any_structure_of_the_vocabulary(tree: dict[str, Any], op: str) -> None:
    check(_flow({"op": op, **{k: v for k, v in tree.items() if k != "op"}}))


@FUZZ
@given(st.data())
def test_nearly_right_suites(data: st.DataObject) -> None:
    few = st.lists(st.sampled_from([1, 2, 3, 4, 8, 8, 12, 1.0, True, "x"]), min_size=1, max_size=3)
    params = st.dictionaries(
        st.sampled_from([p.name for p in ATTENTION.params]), st.sampled_from([1, 2, 4, "causal"]), max_size=3
    )
    axes = st.dictionaries(
        st.sampled_from([*PARAMS, "heads"]), few | st.dictionaries(st.sampled_from("ab"), params), max_size=2
    )
    tree = {
        "op": data.draw(st.sampled_from(["attention", "attention", "toy"])),
        "impls": data.draw(st.lists(st.sampled_from(IMPLS[:4]), min_size=1, max_size=3)),
        "fixed": {"seq_len": 8, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, **data.draw(params)},
        "axes": data.draw(axes),
        "baseline": {"impl": data.draw(st.sampled_from(IMPLS[:4]))},
        "on": data.draw(
            st.dictionaries(st.sampled_from(["cpu", "cuda", "sm90"]), st.fixed_dictionaries({"axes": axes}))
        ),
    }
    for key in data.draw(st.sets(st.sampled_from(["impls", "axes", "baseline", "on"]))):
        del tree[key]
    check(_flow(tree))


@FUZZ
@given(st.lists(st.sampled_from([*WORDS, "impl=naive", "seq_len=64"]) | st.text(), max_size=3))
def test_any_filter(only: list[str]) -> None:
    suite = resolve(parse(VALID[-1], path="s.yaml"), CPU)
    told = "--only "
    try:
        suite_filter([f"{only[0]}={v}" for v in only[1:]] if len(only) > 1 else only, suite)
    except UsageError as error:
        told = str(error)
    assert told.startswith("--only ")


def _flow(value: Any) -> str:
    """YAML of plain data in flow style, with YAML's own words for what JSON lacks."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return ".nan" if value != value else ".inf"
    return json.dumps(value)
