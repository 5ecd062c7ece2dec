"""Rules of an op between values of a suite: what breaks one is told, what is skipped may."""

from dataclasses import replace

import pytest
from suite_catalog import CPU, TRAIN_STEP

from llmbench.errors import SuiteError
from llmbench.suite.case import expand
from llmbench.suite.load import parse, resolve
from llmbench.suite.suite import Suite

CATALOG = replace(CPU, ops=(TRAIN_STEP,))
STEP = "op: train_step\nphases: [step]\n"
SWEPT = f"{STEP}axes: {{loss: [sft, dpo], cross_entropy: [eager, chunked]}}\nfixed: {{seq_len: 8}}\n"
UNSKIPPED = (
    "s.yaml:3:49: cross_entropy 'chunked' has no effect with loss 'dpo' (at cross_entropy=chunked loss=dpo); "
    "skip it, or have both in one axis with labels"
)
BROKEN = {
    "own": (
        f"{STEP}axes: {{num_heads: [4, 3]}}\nfixed: {{seq_len: 8}}\n",
        "s.yaml:3:23: num_heads 3 is not a multiple of num_kv_heads 2, the own of 'tiny' (at num_heads=3)",
    ),
    "own_of_an_axis": (
        f"{STEP}axes: {{model: [125m, tiny]}}\nfixed: {{seq_len: 8, num_kv_heads: 8}}\n",
        "s.yaml:4:35: num_heads 12, the own of '125m', is not a multiple of num_kv_heads 8 (at model=125m)",
    ),
    "two_axes": (SWEPT, UNSKIPPED),
    "skipped_in_part": (
        f"{SWEPT}skip: [{{match: {{loss: dpo, cross_entropy: chunked, impl: compiled}}, why: no}}]\n", UNSKIPPED,
    ),
    "skipped_elsewhere": (f"{SWEPT}skip: [{{match: {{loss: sft}}, why: no}}]\n", UNSKIPPED),
}  # fmt: skip


def suite(text: str) -> Suite:
    return resolve(parse(text, path="s.yaml"), CATALOG)


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_rule_is_told(name: str) -> None:
    text, message = BROKEN[name]
    with pytest.raises(SuiteError) as caught:
        suite(text)
    assert str(caught.value) == message


SKIPS = {
    "the pair": ["{loss: dpo, cross_entropy: chunked}"],
    "one of it": ["{loss: dpo}"],
    "the other": ["{cross_entropy: [chunked]}"],
    "and what is fixed": ["{loss: dpo, cross_entropy: chunked, seq_len: 8}"],
    "and all that there is": ["{loss: dpo, cross_entropy: chunked, phase: step, impl: [eager, compiled]}"],
    "in two": [f"{{loss: dpo, cross_entropy: chunked, impl: {impl}}}" for impl in ("eager", "compiled")],
}


@pytest.mark.parametrize("name", SKIPS)
def test_what_is_skipped_may_break_a_rule_of_the_op(name: str) -> None:
    rules = ", ".join(f"{{match: {match}, why: the loss is another}}" for match in SKIPS[name])
    points = expand(suite(f"{SWEPT}skip: [{rules}]\n"))
    assert len(points) == 4
    cases = [c for p in points for c in p.cases]
    assert all(c.skip for c in cases if (c.params["loss"], c.params["cross_entropy"]) == ("dpo", "chunked"))


def test_a_rule_that_a_bundle_keeps_is_kept() -> None:
    stages = "stage: {sft: {loss: sft, cross_entropy: chunked}, dpo: {loss: dpo}}"
    text = f"{STEP}axes: {{{stages}}}\nfixed: {{seq_len: 8}}\n"
    assert len(expand(suite(text))) == 2
    skipped = text.replace("dpo: {loss: dpo}", "dpo: {loss: dpo, cross_entropy: chunked}")
    with pytest.raises(SuiteError, match=r"has no effect with loss 'dpo' \(at stage=dpo\)$"):
        suite(skipped)
    assert expand(suite(f"{skipped}skip: [{{match: {{stage: dpo}}, why: no}}]\n"))


def test_heads_fit_the_presets_that_they_are_asked_of() -> None:
    assert len(expand(suite(f"{STEP}axes: {{model: [tiny, 125m]}}\nfixed: {{seq_len: 8, num_kv_heads: 4}}\n"))) == 2
