"""YAML to Suite: what a suite means, and the whole message for each way to get it wrong."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from suite_catalog import A100, CPU, H100, IMPLS, SHIPPED

from llmbench.codec import from_plain
from llmbench.errors import SuiteError, UsageError
from llmbench.metrics import METRICS
from llmbench.suite.bundled import bundled, bundled_suites, find, names
from llmbench.suite.case import expand
from llmbench.suite.catalog import Catalog
from llmbench.suite.load import canonical, load, parse, read, resolve
from llmbench.suite.narrow import quick, suite_filter
from llmbench.suite.spec import GateCaseSpec, GateSpec, json_schema, size_bytes
from llmbench.suite.suite import GateCase, Measure, Suite

SHAPE = "op: attention\nfixed: {seq_len: 128, num_heads: 8, num_kv_heads: 2, head_dim: 64}\n"
KNOWN = ", ".join(names())

MALFORMED = {
    "unknown_axis": (
        (
            "op: attention\n"
            "impls: [naive]\n"
            "axes:\n"
            "  seqlen: [128]\n"
            "fixed: {num_heads: 8, num_kv_heads: 2, head_dim: 64}\n"
        ),
        "s.yaml:4:3: axes.seqlen is not a parameter of op 'attention'; did you mean 'seq_len'?",
    ),
    "unknown_op": ("op: atention\n", "s.yaml:1:5: op 'atention' is not known; did you mean 'attention'?"),
    "op_missing": ("impls: [naive]\n", "s.yaml:1:1: the suite has no key 'op', which it needs"),
    "op_of_another_kind": (
        "op: [attention]\n",
        "s.yaml:1:5: op is a list; wanted a name of letters, digits, _ . and -",
    ),
    "unknown_key": (SHAPE + "axis: {}\n", "s.yaml:3:1: axis is not a key of a suite; did you mean 'axes'?"),
    "unknown_impl": (
        SHAPE + "impls: [naive, sdpa_flsh]\n",
        "s.yaml:3:16: 'sdpa_flsh' is not an implementation of op 'attention'; did you mean 'sdpa_flash'?",
    ),
    "repeated_impl": (SHAPE + "impls: [naive, tiled, naive]\n", "s.yaml:3:23: impls[2] repeats 'naive' of impls[0]"),
    "empty_impls": (SHAPE + "impls: []\n", "s.yaml:3:8: impls is empty; wanted at least one"),
    "null_impls": (SHAPE + "impls:\n", "s.yaml:3:1: impls is nothing; wanted a list"),
    "unknown_phase": (
        SHAPE + "phases: [fwd, bdw]\n",
        "s.yaml:3:15: 'bdw' is not a phase of op 'attention'; did you mean 'bwd'?",
    ),
    "phase_of_another_op": (
        SHAPE + "phases: [step]\n",
        "s.yaml:3:10: 'step' is not a phase of op 'attention'; known: infer, fwd, bwd, fwd_bwd",
    ),
    "unknown_choice": (
        ("op: attention\nfixed: {seq_len: 128, num_heads: 8, num_kv_heads: 2, head_dim: 64, mask: casual}\n"),
        "s.yaml:2:74: fixed.mask is 'casual'; did you mean 'causal'?",
    ),
    "unknown_dtype": (
        ("op: attention\nfixed: {seq_len: 128, num_heads: 8, num_kv_heads: 2, head_dim: 64, dtype: fp16}\n"),
        "s.yaml:2:75: fixed.dtype is 'fp16'; known: float32, float16, bfloat16",
    ),
    "bool_for_int": (
        "op: attention\nfixed: {seq_len: true, num_heads: 8, num_kv_heads: 2, head_dim: 64}\n",
        "s.yaml:2:18: fixed.seq_len is true; wanted an integer",
    ),
    "fraction_for_int": (
        "op: attention\nfixed: {seq_len: 1.5, num_heads: 8, num_kv_heads: 2, head_dim: 64}\n",
        "s.yaml:2:18: fixed.seq_len is 1.5; wanted an integer",
    ),
    "float_for_int": (
        "op: attention\nfixed: {seq_len: 1e3, num_heads: 8, num_kv_heads: 2, head_dim: 64}\n",
        "s.yaml:2:18: fixed.seq_len is 1000.0; wanted an integer",
    ),
    "string_for_int": (
        "op: attention\nfixed: {seq_len: '128', num_heads: 8, num_kv_heads: 2, head_dim: 64}\n",
        "s.yaml:2:18: fixed.seq_len is '128'; wanted an integer",
    ),
    "no_is_a_string": (
        ("op: attention\nfixed: {seq_len: 128, num_heads: 8, num_kv_heads: 2, head_dim: 64, mask: no}\n"),
        "s.yaml:2:74: fixed.mask is 'no'; known: full, causal, window",
    ),
    "below_minimum": (
        "op: attention\nfixed: {seq_len: 0, num_heads: 8, num_kv_heads: 2, head_dim: 64}\n",
        "s.yaml:2:18: fixed.seq_len is 0; wanted 1 or more",
    ),
    "nan": (
        "op: toy\nfixed: {rate: .nan}\n",
        "s.yaml:2:15: fixed.rate is .nan; wanted a finite number, a string, true or false",
    ),
    "below_minimum_float": ("op: toy\nfixed: {rate: -1}\n", "s.yaml:2:15: fixed.rate is -1.0; wanted 0 or more"),
    "bool_wanted": ("op: toy\nfixed: {exact: 1}\n", "s.yaml:2:16: fixed.exact is 1; wanted true or false"),
    "missing": (
        "op: attention\nfixed: {seq_len: 128, num_heads: 8, head_dim: 64}\n",
        "s.yaml:2:1: parameter 'num_kv_heads' of op 'attention' has no value; set it under axes or fixed",
    ),
    "missing_without_axes": (
        "op: attention\n",
        "s.yaml:1:1: parameter 'seq_len' of op 'attention' has no value; set it under axes or fixed",
    ),
    "missing_label": (
        (
            "op: attention\n"
            "axes:\n"
            "  heads:\n"
            "    mha: {num_heads: 8, num_kv_heads: 8}\n"
            "    mqa: {num_kv_heads: 1}\n"
            "fixed: {seq_len: 128, head_dim: 64}\n"
        ),
        "s.yaml:5:5: axes.heads.mqa does not set 'num_heads', which axes.heads.mha sets",
    ),
    "constraint": (
        ("op: attention\naxes:\n  num_heads: [8, 12]\n  num_kv_heads: [2, 8]\nfixed: {seq_len: 128, head_dim: 64}\n"),
        "s.yaml:3:18: num_heads 12 is not a multiple of num_kv_heads 8 (at num_heads=12 num_kv_heads=8); "
        "skip it, or have both in one axis with labels",
    ),
    "constraint_bundle": (
        (
            "op: attention\n"
            "axes:\n"
            "  heads:\n"
            "    mha: {num_heads: 8, num_kv_heads: 8}\n"
            "    odd: {num_heads: 8, num_kv_heads: 3}\n"
            "fixed: {seq_len: 128, head_dim: 64}\n"
        ),
        "s.yaml:5:22: num_heads 8 is not a multiple of num_kv_heads 3 (at heads=odd)",
    ),
    "constraint_at_most": (
        "op: toy\naxes: {window: [2, 5]}\n",
        "s.yaml:2:20: window 5 is more than size 4 (at window=5)",
    ),
    "no_effect": (
        "op: attention\nfixed: {seq_len: 8, num_heads: 2, num_kv_heads: 2, head_dim: 8, mask: causal, window_left: 7}\n"
        "impls: [naive]\n",
        "s.yaml:2:92: window_left 7 has no effect with mask 'causal'",
    ),
    "constraint_default": ("op: toy\nfixed: {size: 3}\n", "s.yaml:2:15: window 4 is more than size 3"),
    "twice": (
        SHAPE + "axes:\n  seq_len: [64]\n",
        "s.yaml:2:9: parameter 'seq_len' is set twice; axes.seq_len in line 4 sets it too",
    ),
    "twice_axes": (
        (
            "op: attention\n"
            "axes:\n"
            "  num_heads: [8]\n"
            "  heads:\n"
            "    mha: {num_heads: 8, num_kv_heads: 8}\n"
            "fixed: {seq_len: 128, head_dim: 64}\n"
        ),
        "s.yaml:5:11: parameter 'num_heads' is set twice; axes.num_heads in line 3 sets it too",
    ),
    "axis_empty": (SHAPE + "axes: {batch: []}\n", "s.yaml:3:15: axes.batch is empty; wanted at least one"),
    "axis_scalar": (
        SHAPE + "axes: {batch: 1}\n",
        "s.yaml:3:15: axes.batch is 1; wanted a list of values, or a mapping of labels to parameters",
    ),
    "axis_repeats": (SHAPE + "axes: {batch: [1, 2, 1]}\n", "s.yaml:3:22: axes.batch[2] repeats 1 of axes.batch[0]"),
    "axis_coerced_repeats": (
        "op: toy\naxes: {rate: [1, 1.0]}\n",
        "s.yaml:2:18: axes.rate[1] repeats 1.0 of axes.rate[0]",
    ),
    "axis_named_like_param": (
        SHAPE + "axes: {batch: {one: {batch: 1}}}\n",
        "s.yaml:3:8: axes.batch has labels, so it needs a name of its own; 'batch' is a parameter of op 'attention'",
    ),
    "axis_named_impl": (
        SHAPE + "axes: {impl: {one: {batch: 1}}}\n",
        "s.yaml:3:8: axes.impl has labels, so it needs a name of its own; 'impl' is a word of the suite",
    ),
    "bundle_empty": (SHAPE + "axes: {size: {one: {}}}\n", "s.yaml:3:20: axes.size.one is empty; wanted at least one"),
    "bundle_unknown": (
        SHAPE + "axes: {size: {one: {bach: 1}}}\n",
        "s.yaml:3:21: axes.size.one.bach is not a parameter of op 'attention'; did you mean 'batch'?",
    ),
    "bundle_label": (
        SHAPE + "axes: {size: {a b: {batch: 1}}}\n",
        "s.yaml:3:15: axes.size.'a b' is not a name of letters, digits, _ . and -",
    ),
    "bundle_twins": (
        SHAPE + "axes: {size: {one: {batch: 1}, uno: {batch: 1}}}\n",
        "s.yaml:3:32: axes.size.uno sets the same values as 'one'",
    ),
    "skip_never": (
        SHAPE + "skip:\n  - {match: {seq_len: 99999}, why: too long}\n",
        "s.yaml:4:23: skip[0].match.seq_len is 99999, which this suite does not have; known: 128",
    ),
    "skip_key": (
        SHAPE + "skip:\n  - {match: {seqlen: 128}, why: too long}\n",
        "s.yaml:4:14: skip[0].match.seqlen is not a parameter, axis, impl or phase here; did you mean 'seq_len'?",
    ),
    "skip_impl": (
        SHAPE + "impls: [naive]\nskip:\n  - {match: {impl: [naive, flex]}, why: slow}\n",
        "s.yaml:5:28: skip[0].match.impl[1] is 'flex', which this suite does not have; known: naive",
    ),
    "skip_type": (
        SHAPE + "skip:\n  - {match: {seq_len: long}, why: slow}\n",
        "s.yaml:4:23: skip[0].match.seq_len is 'long'; wanted an integer",
    ),
    "skip_empty": (
        SHAPE + "skip:\n  - {match: {}, why: slow}\n",
        "s.yaml:4:13: skip[0].match is empty; wanted at least one",
    ),
    "skip_why": (SHAPE + "skip:\n  - {match: {impl: naive}}\n", "s.yaml:4:5: skip[0] has no key 'why', which it needs"),
    "baseline_impl": (
        SHAPE + "impls: [naive, tiled]\nbaseline: {impl: sdpa_flash}\n",
        "s.yaml:4:18: baseline.impl is 'sdpa_flash', which this suite does not have; known: naive, tiled",
    ),
    "baseline_list": (
        SHAPE + "baseline: {impl: [naive, tiled]}\n",
        "s.yaml:3:18: baseline.impl is a list; wanted a finite number, a string, true or false",
    ),
    "baseline_value": (
        SHAPE + "axes: {batch: [1, 2]}\nbaseline: {batch: 4}\n",
        "s.yaml:4:19: baseline.batch is 4, which this suite does not have; known: 1, 2",
    ),
    "baseline_under_overlay": (
        SHAPE + "baseline: {impl: flex}\non:\n  cpu: {impls: [naive]}\n",
        "s.yaml:3:18: with on.cpu, baseline.impl is 'flex', which this suite does not have; known: naive",
    ),
    "overlay_cuda": (
        SHAPE + "on:\n  cuda: {impls: [naiv]}\n",
        "s.yaml:4:18: 'naiv' is not an implementation of op 'attention'; did you mean 'naive'?",
    ),
    "overlay_sm": (
        SHAPE + "on:\n  sm90: {fixed: {seq_len: 0, num_heads: 8, num_kv_heads: 2, head_dim: 64}}\n",
        "s.yaml:4:27: on.sm90.fixed.seq_len is 0; wanted 1 or more",
    ),
    "overlay_missing": (
        SHAPE + "on:\n  cuda:\n    fixed: {num_heads: 8, num_kv_heads: 2, head_dim: 64}\n",
        "s.yaml:5:5: parameter 'seq_len' of op 'attention' has no value; set it under axes or fixed",
    ),
    "overlay_twice": (
        SHAPE + "on:\n  cuda:\n    axes: {seq_len: [1, 2]}\n",
        "s.yaml:2:9: with on.cuda, parameter 'seq_len' is set twice; on.cuda.axes.seq_len in line 5 sets it too",
    ),
    "overlay_skip": (
        SHAPE + "on:\n  cuda:\n    skip: [{match: {seq_len: 64}, why: x}]\n",
        "s.yaml:5:30: on.cuda.skip[0].match.seq_len is 64, which this suite does not have; known: 128",
    ),
    "overlay_name": (SHAPE + "on: {gpu: {}}\n", "s.yaml:3:6: on.gpu is not cpu, cuda or an architecture such as sm90"),
    "overlay_op": (
        SHAPE + "on: {cpu: {op: toy}}\n",
        "s.yaml:3:12: on.cpu.op cannot be set by an overlay; set it at the top of the suite",
    ),
    "target_ci": (
        SHAPE + "measure: {target_ci: 1.0}\n",
        "s.yaml:3:22: measure.target_ci is 1.0; wanted a fraction between 0 and 1, such as 0.01",
    ),
    "max_s": (SHAPE + "measure: {max_s: -1}\n", "s.yaml:3:18: measure.max_s is -1; wanted a number of seconds above 0"),
    "max_s_inf": (
        SHAPE + "measure: {max_s: .inf}\n",
        "s.yaml:3:18: measure.max_s is .inf; wanted a number of seconds above 0",
    ),
    "timeout": (
        SHAPE + "measure: {timeout_s: 0}\n",
        "s.yaml:3:22: measure.timeout_s is 0; wanted a number of seconds above 0",
    ),
    "min_samples": (
        SHAPE + "measure: {min_samples: 5}\n",
        "s.yaml:3:24: measure.min_samples is 5; wanted an integer, 6 or more",
    ),
    "processes": (
        SHAPE + "measure: {processes: 0}\n",
        "s.yaml:3:22: measure.processes is 0; wanted an integer, 1 or more",
    ),
    "cache": (SHAPE + "measure: {cache: hot}\n", "s.yaml:3:18: measure.cache is 'hot'; wanted cold or warm"),
    "measure_key": (
        SHAPE + "measure: {max_seconds: 1}\n",
        "s.yaml:3:11: measure.max_seconds is not a key of measure; did you mean 'max_s'?",
    ),
    "memory": (
        SHAPE + "measure: {memory_limit: 2 gigs}\n",
        "s.yaml:3:25: measure.memory_limit is '2 gigs'; wanted a number of bytes, or a size such as '2 GiB'",
    ),
    "threads": (SHAPE + "measure: {threads: 0}\n", "s.yaml:3:20: measure.threads is 0; wanted an integer, 1 or more"),
    "probe": (
        SHAPE + "probes: [memory, clocks]\n",
        "s.yaml:3:18: probes[1] is 'clocks'; wanted memory, power, energy or kernels",
    ),
    "probe_twice": (SHAPE + "probes: [memory, memory]\n", "s.yaml:3:18: probes[1] repeats 'memory' of probes[0]"),
    "gate_metric": (SHAPE + "gate: {tme: 0.1}\n", "s.yaml:3:8: gate.tme is not a metric; did you mean 'time'?"),
    "gate_nobetter": (
        SHAPE + "gate: {sm_clock: 0.1}\n",
        "s.yaml:3:8: gate.sm_clock cannot be a gate; neither more nor less of it is better",
    ),
    "gate_negative": (
        SHAPE + "gate: {time: -0.1}\n",
        "s.yaml:3:14: gate.time is -0.1; wanted 0 to 1 (0.05 is 5 %), or none",
    ),
    "gate_percent": (
        SHAPE + "gate: {time: 5}\n",
        "s.yaml:3:14: gate.time is 5, which is 500 %; wanted 0 to 1 (0.05 is 5 %)",
    ),
    "gate_infinite": (
        SHAPE + "gate: {time: .inf}\n",
        "s.yaml:3:14: gate.time is .inf; wanted 0 to 1 (0.05 is 5 %), or none",
    ),
    "gate_true": (
        SHAPE + "gate: {time: true}\n",
        "s.yaml:3:14: gate.time is true; wanted 0 to 1 (0.05 is 5 %), or none",
    ),
    "gate_word": (
        SHAPE + "gate: {launches: never}\n",
        "s.yaml:3:18: gate.launches is 'never'; wanted 0 to 1 (0.05 is 5 %), or none",
    ),
    "gate_case_percent": (
        SHAPE + "gate: {cases: [{match: {impl: naive}, time: 1.5}]}\n",
        "s.yaml:3:45: gate.cases[0].time is 1.5, which is 150 %; wanted 0 to 1 (0.05 is 5 %)",
    ),
    "gate_case_metric": (
        SHAPE + "gate: {cases: [{match: {impl: naive}, tme: 0.1}]}\n",
        "s.yaml:3:39: gate.cases[0].tme is not a metric; did you mean 'time'?",
    ),
    "gate_case_nobetter": (
        SHAPE + "gate: {cases: [{match: {impl: naive}, graphs: none}]}\n",
        "s.yaml:3:39: gate.cases[0].graphs cannot be a gate; neither more nor less of it is better",
    ),
    "gate_case_limit": (
        SHAPE + "gate: {cases: [{match: {impl: naive}, time: never}]}\n",
        "s.yaml:3:45: gate.cases[0].time is 'never'; wanted 0 to 1 (0.05 is 5 %), or none",
    ),
    "gate_case_empty": (
        SHAPE + "gate: {cases: [{match: {impl: naive}, why: slow}]}\n",
        "s.yaml:3:16: gate.cases[0] sets no limit; wanted at least one, such as time: 0.1",
    ),
    "gate_case_everywhere": (
        SHAPE + "gate: {cases: [{time: 0.1}]}\n",
        "s.yaml:3:16: gate.cases[0] has no key 'match', which it needs",
    ),
    "gate_case_key": (
        SHAPE + "gate: {cases: [{match: {imp: naive}, time: 0.1}]}\n",
        "s.yaml:3:25: gate.cases[0].match.imp is not a parameter, axis, impl or phase here; did you mean 'impl'?",
    ),
    "gate_case_value": (
        SHAPE + "gate: {cases: [{match: {seq_len: [128, 64]}, time: 0.1}]}\n",
        "s.yaml:3:40: gate.cases[0].match.seq_len[1] is 64, which this suite does not have; known: 128",
    ),
    "gate_case_twice": (
        SHAPE + "gate: {cases: [{match: {impl: [naive, naive]}, time: 0.1}]}\n",
        "s.yaml:3:39: gate.cases[0].match.impl[1] repeats 'naive' of gate.cases[0].match.impl[0]",
    ),
    "gate_case_overlay": (
        SHAPE + "on:\n  cuda:\n    gate: {cases: [{match: {phase: bwd}, time: 0.1}]}\n",
        "s.yaml:5:36: on.cuda.gate.cases[0].match.phase is 'bwd', which this suite does not have; did you mean 'fwd'?",
    ),
    "seed": (SHAPE + "seed: -1\n", "s.yaml:3:7: seed is -1; wanted an integer, 0 or more"),
    "plugin": (
        SHAPE + "plugins: ['../evil.py']\n",
        "s.yaml:3:11: plugins[0] is '../evil.py'; wanted 'module' or 'module:function'",
    ),
    "cases": (
        "op: toy\naxes: {size: ["
        + ", ".join(map(str, range(4, 304)))
        + "], rate: ["
        + ", ".join(map(str, range(300)))
        + "]}",
        "s.yaml:2:1: 180,000 cases, more than 100,000; shorten an axis or split the suite",
    ),
    "duplicate_key": (SHAPE + "op: toy\n", "s.yaml:3:1: the key 'op' is given twice; the first is in line 1"),
    "tag": (
        "op: !!python/name:os.system attention\n",
        "s.yaml:1:5: the tag 'tag:yaml.org,2002:python/name:os.system' is refused; types are read from the values",
    ),
    "first": (
        (
            "op: attention\n"
            "impls: [naiv]\n"
            "phases: [fwdd]\n"
            "fixed: {seq_len: 128, num_heads: 8, num_kv_heads: 2, head_dim: 64}\n"
        ),
        "s.yaml:2:9: 'naiv' is not an implementation of op 'attention'; did you mean 'naive'?",
    ),
}


def suite(text: str, catalog: Catalog = CPU) -> Suite:
    return resolve(parse(text, path="s.yaml"), catalog)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_suite_is_told_where_what_and_what_is_wanted(name: str) -> None:
    text, message = MALFORMED[name]
    with pytest.raises(SuiteError) as caught:
        suite(text)
    assert str(caught.value) == message


def test_defaults_are_every_implementation_and_the_forward_phase() -> None:
    plain = suite(SHAPE)
    assert plain.impls == IMPLS
    assert plain.phases == ("fwd",)
    assert plain.measure == Measure()
    assert (plain.name, plain.device, plain.seed, plain.probes, plain.plugins) == ("s", "cpu", 0, (), ())


def test_phase_defaults_to_the_first_where_the_op_has_no_forward() -> None:
    assert suite("op: toy\n").phases == ("step",)


def test_integer_is_taken_where_a_number_is_wanted() -> None:
    rate = suite("op: toy\nfixed: {rate: 1}\n").fixed["rate"]
    assert (rate, type(rate)) == (1.0, float)


def test_every_key_is_read() -> None:
    full = suite(
        SHAPE + "axes: {size: {one: {batch: 1}, two: {batch: 2}}}\nimpls: [flex, naive]\nphases: [bwd]\n"
        "baseline: {size: one}\nskip: [{match: {size: [two], impl: naive}, why: slow}]\nprobes: [power]\n"
        "measure: {max_s: 2, memory_limit: 2 GiB, cache: warm, threads: 3, sentinels: false}\n"
        "gate: {time: 0.1}\nseed: 0x10\nplugins: [a.b:c]\n"
    )
    assert full.impls == ("flex", "naive")
    assert full.baseline == {"size": "one"}
    assert full.skip[0].match == {"size": ("two",), "impl": ("naive",)}
    assert full.measure == Measure(max_s=2.0, memory_limit=2 << 30, cache="warm", threads=3, sentinels=False)
    assert (full.gate, full.seed, full.plugins, full.probes) == ({"time": 0.1}, 16, ("a.b:c",), ("power",))


@pytest.mark.parametrize(
    ("text", "size"), [(5, 5), ("5 B", 5), ("1.5 KiB", 1536), ("512MiB", 512 << 20), ("2 GB", 2_000_000_000)]
)
def test_sizes(text: int | str, size: int) -> None:
    assert size_bytes(text) == size


OVERLAID = (
    SHAPE
    + "measure: {max_s: 3, processes: 2}\non:\n  cpu: {seed: 1}\n  cuda: {seed: 2, phases: [bwd]}\n  sm90: {seed: 3}\n"
)


@pytest.mark.parametrize(
    ("catalog", "seed", "phases"),
    [(CPU, 1, ("fwd",)), (A100, 2, ("bwd",)), (H100, 3, ("bwd",))],
    ids=["cpu", "sm80", "sm90"],
)
def test_overlays_apply_by_kind_and_then_by_architecture(catalog: Catalog, seed: int, phases: tuple[str, ...]) -> None:
    resolved = suite(OVERLAID, catalog)
    assert (resolved.seed, resolved.phases) == (seed, phases)


def test_overlay_replaces_a_key_whole() -> None:
    text = SHAPE + "measure: {max_s: 3, processes: 2}\non:\n  cpu: {measure: {max_s: 0.2}}\n"
    assert suite(text).measure == Measure(max_s=0.2)
    assert suite(text, H100).measure == Measure(max_s=3.0, processes=2)


def test_skip_of_the_base_may_match_nothing_under_an_overlay() -> None:
    text = (
        "op: attention\naxes: {seq_len: [64, 128]}\nfixed: {num_heads: 2, num_kv_heads: 1, head_dim: 32}\n"
        "skip: [{match: {seq_len: 128}, why: long}]\non:\n  cpu: {axes: {seq_len: [16]}}\n"
    )
    assert suite(text).skip[0].match == {"seq_len": (128,)}


GATED = (
    SHAPE
    + "gate:\n  time: 0.03\n  cases:\n    - {match: {impl: naive, seq_len: 128}, time: 0.1, why: short}\n"
    + "    - {match: {phase: fwd}, time: none, launches: 0}\non:\n  cuda: {gate: {peak_memory: 0.01}}\n"
)


def test_limits_of_some_cases_are_read_in_their_order() -> None:
    found = suite(GATED)
    assert found.gate == {"time": 0.03}
    assert found.gate_cases == (
        GateCase({"impl": ("naive",), "seq_len": (128,)}, {"time": 0.1}, "short"),
        GateCase({"phase": ("fwd",)}, {"time": None, "launches": 0.0}),
    )
    assert from_plain(Suite, json.loads(json.dumps(canonical(found)))) == found


def test_an_overlay_replaces_the_gate_whole_its_cases_included() -> None:
    found = suite(GATED, H100)
    assert (found.gate, found.gate_cases) == ({"peak_memory": 0.01}, ())


def test_a_limit_of_the_base_may_match_nothing_under_an_overlay() -> None:
    text = (
        "op: attention\naxes: {seq_len: [64, 128]}\nfixed: {num_heads: 2, num_kv_heads: 1, head_dim: 32}\n"
        "gate: {cases: [{match: {seq_len: 128}, time: 0.1}]}\non:\n  cpu: {axes: {seq_len: [16]}}\n"
    )
    assert suite(text).gate_cases[0].match == {"seq_len": (128,)}


def test_no_metric_has_the_name_of_a_key_of_the_gate() -> None:
    assert not METRICS.keys() & {*GateSpec.model_fields, *GateCaseSpec.model_fields}


def test_bundle_label_that_leaves_out_a_defaulted_parameter_takes_the_default() -> None:
    text = SHAPE + "axes: {precision: {plain: {mask: full}, half: {mask: full, dtype: float16}}}\nimpls: [naive]\n"
    assert [c.params["dtype"] for p in expand(suite(text)) for c in p.cases] == ["float32", "float16"]


def test_plugins_are_known_without_a_catalog(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("op: not_yet_known\nplugins: [mine.ops]\n")
    text = read(file)
    assert (text.name, text.plugins, text.path) == ("mine", ("mine.ops",), str(file))


def test_file_name_must_be_a_suite_name(tmp_path: Path) -> None:
    file = tmp_path / "my suite.yaml"
    file.write_text("op: toy\n")
    with pytest.raises(SuiteError, match="the file's name is the suite's: 'my suite' has more than letters"):
        read(file)


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, CPU)
    assert str(caught.value) == f"{tmp_path}:1:1: is a directory; wanted a YAML file"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("atention", "'atention' is neither a file nor a bundled suite; did you mean 'attention'?"),
        ("./mine.yaml", "./mine.yaml: there is no such file; a bundled suite is named without path and .yaml"),
        ("a" * 5000, f"{'a' * 5000!r} is neither a file nor a bundled suite; known: {KNOWN}"),
        ("", f"'' is neither a file nor a bundled suite; known: {KNOWN}"),
    ],
    ids=["typo", "missing", "long", "empty"],
)
def test_unknown_suite(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("catalog", [CPU, A100, H100], ids=["cpu", "sm80", "sm90"])
@pytest.mark.parametrize("name", [b.name for b in bundled_suites()])
def test_bundled_suites_load_everywhere(name: str, catalog: Catalog) -> None:
    resolved = load(name, replace(SHIPPED, device=catalog.device))
    assert resolved.name == name
    assert expand(resolved)


def test_bundled_suites_say_what_they_answer() -> None:
    assert {b.name for b in bundled_suites()} >= {"attention", "memory", "smoke"}
    assert all(b.summary.endswith((".", "?")) for b in bundled_suites())
    assert isinstance(bundled(kind="dashboards"), list)


def test_attention_suite_as_the_readme_has_it() -> None:
    cpu, cuda = load("attention", CPU), load("attention", H100)
    assert sum(len(p.cases) for p in expand(cpu)) == 11 * 2 * 4 * 3
    assert sum(c.skip is not None for p in expand(cuda) for c in p.cases) == 6
    assert cpu.measure == Measure(max_s=0.4, threads=1)


def test_canonical_round_trips_and_tells_suites_apart() -> None:
    first = load("attention", CPU)
    assert canonical(first) == canonical(load("attention", CPU))
    assert from_plain(Suite, canonical(first)) == first
    assert canonical(first) != canonical(replace(first, seed=1))


def test_filter_reads_values_in_the_parameter_s_type() -> None:
    match = suite_filter(["impl=naive,flex", "seq_len=128", "heads=gqa", "impl=tiled"], load("attention", CPU))
    assert match == {"impl": ("naive", "flex", "tiled"), "seq_len": (128,), "heads": ("gqa",)}


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("impl", "--only impl: wanted key=value or key=value,value"),
        ("impl=", "--only impl=: wanted key=value or key=value,value"),
        (
            "impls=naive",
            "--only impls=naive: 'impls' is no parameter or axis of suite 'attention'; did you mean 'impl'?",
        ),
        ("impl=naiv", "--only impl=naiv: suite 'attention' has no impl 'naiv'; did you mean 'naive'?"),
        ("seq_len=x", "--only seq_len=x: seq_len is 'x'; wanted an integer"),
        ("seq_len=64", "--only seq_len=64: suite 'attention' has no seq_len '64'; known: 128, 256, 512, 1024"),
        ("heads=mga", "--only heads=mga: suite 'attention' has no heads 'mga'; did you mean 'mqa'?"),
        ("dtype=float16", "--only dtype=float16: suite 'attention' has no dtype 'float16'; did you mean 'float32'?"),
    ],
)
def test_filter_that_asks_for_what_is_not_there(only: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        suite_filter([only], load("attention", CPU))
    assert str(caught.value) == message


def test_quick_keeps_the_ends_and_the_baseline() -> None:
    text = (
        SHAPE
        + "axes: {batch: [1, 2, 3, 4, 5]}\nbaseline: {batch: 3}\nmeasure: {max_s: 2, processes: 3, min_samples: 9}\n"
    )
    reduced = quick(suite(text))
    assert [v.params["batch"] for v in reduced.axes[0].values] == [1, 3, 5]
    assert reduced.measure == Measure(max_s=0.05, processes=1, min_samples=6, sentinels=False)
    assert quick(suite(SHAPE + "measure: {max_s: 0.01}\n")).measure.max_s == 0.01


def _described(schema: Mapping[str, object]) -> bool:
    properties = schema["properties"]
    assert isinstance(properties, dict)
    return all("description" in p for p in properties.values())


def test_schema_describes_every_key_and_closes_every_mapping() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "llmbench suite"
    assert "$id" not in schema
    assert schema["required"] == ["op"]
    assert set(schema["properties"]) == {
        "op", "impls", "baseline", "phases", "axes", "fixed", "skip", "on", "measure", "probes", "gate", "seed",
        "plugins",
    }  # fmt: skip
    assert set(schema["$defs"]) == {"PartSpec", "SkipSpec", "MeasureSpec", "GateSpec", "GateCaseSpec"}
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        assert _described(part)


@pytest.mark.parametrize("metric", sorted(m.name for m in METRICS.values() if m.better != "none"))
def test_every_metric_can_be_left_out_of_the_gate(metric: str) -> None:
    assert suite(SHAPE + f"gate: {{{metric}: none}}\n").gate == {metric: None}


def test_schema_lists_the_metrics_that_can_be_gated_and_takes_limits_of_0_to_1_or_none() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(json_schema())
    case = {"match": {"impl": "naive"}, "time": "none", "launches": 0, "why": "short"}

    def errors(gate: dict[str, object]) -> int:
        return len(list(validator.iter_errors({"op": "attention", "gate": gate})))

    assert not errors({"time": 0.03, "launches": "none", "spills": 1, "cases": [case]})
    wrong = [
        {"tme": 1}, {"time": "no"}, {"time": 5}, {"time": -0.1}, {"graphs": 0}, {"cases": [{"time": 1}]},
        {"cases": [{**case, "time": "no"}]}, {"cases": [{**case, "time": 5}]},
    ]  # fmt: skip
    assert [errors(gate) > 0 for gate in wrong] == [True] * len(wrong)


def test_schema_with_a_catalog_lists_names() -> None:
    schema = json_schema(CPU)
    assert schema["properties"]["op"]["enum"] == ["attention", "toy"]
    assert schema["$defs"]["PartSpec"]["properties"]["impls"]["items"]["enum"][-2:] == ["one", "two"]
    assert "step" in schema["properties"]["phases"]["items"]["enum"]


def test_schema_takes_the_bundled_suites() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    for each in bundled_suites():
        jsonschema.Draft202012Validator(json_schema(SHIPPED)).validate(read(each.name).document.data)


def test_a_mistake_in_the_base_is_not_blamed_on_an_overlay() -> None:
    text = "op: attention\naxes: {seqlen: [64]}\non:\n  cuda: {measure: {max_s: 2}}\n"
    with pytest.raises(SuiteError) as e:
        resolve(parse(text, path="s.yaml"), CPU)
    assert str(e.value) == "s.yaml:2:8: axes.seqlen is not a parameter of op 'attention'; did you mean 'seq_len'?"
