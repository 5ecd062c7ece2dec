"""Seeded mistakes are all found, by name, on the way that a benchmark takes; what is right is never called wrong."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bad_attention
import imprecise_attention
import pyarrow.parquet as pq
import pytest
import torch
from bad_attention import bad
from command_line import llmbench_in
from torch_bugs import flex_reads_beyond

from llmbench.machine.fingerprint import Machine
from llmbench.ops import OPS, Impl
from llmbench.ops.attention import packed
from llmbench.run.protocol import Found, Message, Unit
from llmbench.run.worker import measure_unit, open_bench
from llmbench.store.record import Record
from llmbench.suite.case import Case
from llmbench.suite.catalog import Phase, Scalar
from llmbench.suite.suite import Measure

Shape = tuple[int, int, int, int, int]  # batch, seq_len, num_heads, num_kv_heads, head_dim
SHAPE = ("batch", "seq_len", "num_heads", "num_kv_heads", "head_dim")
PHASES: tuple[Phase, ...] = ("infer", "fwd", "bwd", "fwd_bwd")
DTYPES = ("float32", "bfloat16", "float16")
EAGER = ("naive", "tiled", "sdpa_math", "sdpa_flash")
SMALL: Shape = (2, 72, 4, 2, 16)
REALISTIC: Shape = (1, 512, 4, 2, 64)
GOOD_SHAPES: tuple[Shape, ...] = (
    (1, 1, 2, 1, 8), (1, 2, 1, 1, 16), (1, 9, 1, 1, 32), SMALL, (1, 33, 6, 2, 40), (1, 113, 8, 1, 59),
    (3, 50, 3, 3, 80),
)  # fmt: skip

WHY = {
    "zeros": "(out|dq) is zero everywhere",
    "one_key_too_many": r"(out|dq) is off by .* in \[:, :, 0:",  # all but the last query, who sees every key anyway
    "one_key_too_few": "(out|dq) is off by ",
    "no_mask": r"(out|dq) is off by .* in \[:, :, 0:",
    "no_scale": r"(out|dq) is off by .* in \[:, :, 1:",  # all but the first query, who sees one key anyway
    "heads_interleaved": r"(out|dq) is off by .* in \[:, 1:3[],]",  # of four query heads and two kv heads
    "stale": "after timing: (out|dq) keeps its old values for new inputs$",
    "stale_forward": "after timing: out keeps its old values for new inputs$",
    "stale_by_address": "after timing: out keeps its old values for new inputs$",
    "tail_unwritten": r"(out|dk|dv) .* in \[:, :, TAIL",  # NaN as a rule, else whatever was there
    "tail_kept": r"after timing: (out|dk) keeps its old values for new inputs in \[:, :, TAIL",
    "tail_zero": r"(out|dk) is zero in \[:, :, TAIL",
    "tail_twice": r"(dk|dv) is off by .* in \[:, :, TAIL",
    "last_keys_dropped": r"(out|dq) is off by .* in \[:, :, TAIL",
    "no_gradient": "dk is zero everywhere",
    "zero_gradient": "dk is zero everywhere",
    "detached": "RuntimeError: element 0 of tensors does not require grad",
    "one_head_of_group": "dk is off by ",
    "clobbers_input": "changed its input 'q'",
    "clobbers_in_backward": "changed its input 'v'",
    "clobbers_dout": "changed its input 'dout'",
    "another_dtype": r"out has dtype float(32|64), wanted \w*float(16|32)$",
}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    """Bad implementations beside the good ones, for this module alone."""
    impls = OPS["attention"].impls
    before = dict(impls)
    bad_attention.register()
    for setup in (
        imprecise_attention.running_sum,
        imprecise_attention.bfloat16_inside,
        imprecise_attention.tf32_inside,
    ):
        impls[setup.__name__] = Impl(setup.__name__, setup, ("infer",))
    yield
    impls.clear()
    impls.update(before)


def measured(
    impls: tuple[str, ...], phase: Phase, shape: Shape, dtype: str, *, seed: int, mask: str = "causal"
) -> dict[str, Record]:
    """Records by implementation, of a worker that measures them as one point."""
    params: dict[str, Scalar] = {**dict(zip(SHAPE, shape, strict=True)), "mask": mask, "dtype": dtype}
    cases = tuple(Case(i, "p", "attention", 1, i, phase, params, "warm", "wall") for i in impls)
    said: list[Message] = []
    machine = Machine("cpu", "some cpu", "cpu", 2**34, 2**20)
    bench = open_bench(torch.device("cpu"), machine, said.append, lambda stage, case_id: None)
    measure_unit(Unit("p", 0, cases, Measure(max_s=1e-3, cache="warm"), (), seed), bench)
    return {m.record.case_id: m.record for m in said if isinstance(m, Found)}


def wrong_in(phase: str) -> tuple[str, ...]:
    return tuple(name for name in bad.setups if phase in bad.phases[name])


def assert_found(name: str, status: str, why: str | None, seq_len: int) -> None:
    """That a mistake has its status and a reason that tells it."""
    assert status == ("error" if name == "detached" else "wrong"), f"{name} is {status}: {why}"
    # In 16 bits, some of what is wrong may be off by less than is allowed: fewer heads, a shorter tail.
    tokens = "|".join(str(i) for i in range(seq_len - bad_attention.tail_of(seq_len), seq_len))
    pattern = WHY[name].replace(r"\[:, :, TAIL", rf"\[[\d:]+, [\d:]+, ({tokens})[],:]")
    assert why is not None and re.match(pattern, why), f"{name}: {why}"


def test_every_mistake_has_its_reason_here() -> None:
    assert set(WHY) == set(bad.setups)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("phase", PHASES)
def test_every_mistake_is_found_whatever_the_seed(phase: Phase, dtype: str) -> None:
    for seed in range(3):
        found = measured(("naive", *wrong_in(phase), "tiled"), phase, SMALL, dtype, seed=seed)
        for good in ("naive", "tiled"):
            assert found.pop(good).status == "ok", "a neighbour pays for a mistake"
        assert found.keys() == set(wrong_in(phase))
        for name, record in found.items():
            assert_found(name, record.status, record.why, SMALL[1])
            assert all(m.metric != "time" for m in record.measurements)


@pytest.mark.parametrize(
    ("phase", "dtype", "seed"),
    [("infer", "float32", 0), ("infer", "float16", 1), ("bwd", "float32", 2), ("bwd", "bfloat16", 3)],
)
def test_every_mistake_is_found_at_a_realistic_shape(phase: Phase, dtype: str, seed: int) -> None:
    found = measured((*wrong_in(phase), "tiled"), phase, REALISTIC, dtype, seed=seed)
    assert found.pop("tiled").status == "ok"
    for name, record in found.items():
        assert_found(name, record.status, record.why, REALISTIC[1])


@pytest.mark.parametrize(("dtype", "u", "seq_len"), [("float16", 2**-11, 1024), ("bfloat16", 2**-8, 2048)])
def test_a_long_running_sum_in_16_bits_is_as_far_off_as_theory_says_and_found(
    dtype: str, u: float, seq_len: int
) -> None:
    for seed in range(2):
        record = measured(("running_sum",), "infer", (1, seq_len, 1, 1, 16), dtype, seed=seed, mask="full")[
            "running_sum"
        ]
        (off,) = (m.value for m in record.measurements if m.metric == "rel_error")
        assert off == pytest.approx(0.3 * u * seq_len**0.5, rel=0.2)
        assert record.status == "wrong" and re.match("out is off by ", record.why or "")


def test_a_short_running_sum_is_as_right_as_a_plain_computation() -> None:
    for seed in range(4):
        shape = (2, 16, 4, 2, 32)
        assert measured(("running_sum",), "infer", shape, "bfloat16", seed=seed)["running_sum"].status == "ok"


@pytest.mark.parametrize(
    ("name", "dtype", "off"),
    [
        ("bfloat16_inside", "float32", 2.8e-3),
        ("bfloat16_inside", "float16", 2.8e-3),
        ("tf32_inside", "float32", 2.9e-4),
    ],
)
def test_less_precision_inside_than_the_inputs_have_is_found(name: str, dtype: str, off: float) -> None:
    for seed, mask in enumerate(("causal", "full", "causal", "full")):
        record = measured((name,), "infer", (1, 256, 4, 2, 64), dtype, seed=seed, mask=mask)[name]
        (seen,) = (m.value for m in record.measurements if m.metric == "rel_error")
        assert seen == pytest.approx(off, rel=0.2)
        assert record.status == "wrong" and re.match("out is off by ", record.why or "")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", GOOD_SHAPES)
def test_no_eager_implementation_that_is_right_is_called_wrong(shape: Shape, dtype: str) -> None:
    for seed in range(2):
        for phase in PHASES:
            for mask in ("full", "causal"):
                names = [i for i in EAGER if i != "sdpa_flash" or not sums_in_16_bits(shape, phase, dtype)]
                found = measured(tuple(names), phase, shape, dtype, seed=seed, mask=mask)
                assert {(r.case_id, r.status, r.why) for r in found.values()} == {(i, "ok", None) for i in names}


def sums_in_16_bits(shape: Shape, phase: Phase, dtype: str) -> bool:
    """Whether torch's flash kernel, on a CPU, adds many terms to dk and dv in 16 bits (see `sdpa_flash`).

    The roundings of n terms are 0.42 u sqrt(n) of the largest elements: 1.7 u for 16, of which the worst of a hundred
    elements are off by 4 u, where three times a plain error of a little more than u is allowed. n is heads to a kv head
    times blocks of queries. Seen above what is allowed: 1 % of n = 16, 10 % of n = 32, 86 % of n = 128.
    """
    _, seq_len, num_heads, num_kv_heads, _ = shape
    blocks = math.ceil(seq_len / (256 if seq_len >= 768 else 64 if seq_len >= 192 else 32))
    return dtype != "float32" and phase in bad_attention.BACKWARD and num_heads // num_kv_heads * blocks > 8


def test_a_kernel_of_torch_that_sums_many_heads_in_16_bits_is_found() -> None:
    for seed in range(2):
        found = measured(EAGER, "bwd", (1, 127, 32, 1, 16), "bfloat16", seed=seed)
        flash = found.pop("sdpa_flash")
        assert {r.status for r in found.values()} == {"ok"}
        (off,) = (m.value for m in flash.measurements if m.metric == "rel_error")
        is_mended = off < 0.005  # of dk; a sum in fp32 is off by 0.002, one in bf16 by 0.01
        assert is_mended or re.match("d[kv] is off by ", flash.why or "")


@pytest.mark.parametrize(
    ("phase", "dtype"), [("infer", "float32"), ("fwd", "bfloat16"), ("bwd", "bfloat16"), ("fwd_bwd", "float32")]
)
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's import
def test_no_compiled_implementation_that_is_right_is_called_wrong(phase: Phase, dtype: str) -> None:
    on_cpu = {n: i.why_unavailable(phase, device_type="cpu") for n, i in OPS["attention"].impls.items() if i.compiled}
    names = tuple(name for name, why in on_cpu.items() if why is None)
    if not packed._is_made_for_this_cpu():
        names = tuple(name for name in names if name != "flex")
    assert "naive_compiled" in names
    batch, seq_len, num_heads, num_kv_heads, head_dim = SMALL
    if "flex" in names and flex_reads_beyond(keys=seq_len, head_dim=head_dim):
        seq_len += 3
    found = measured(names, phase, (batch, seq_len, num_heads, num_kv_heads, head_dim), dtype, seed=4)
    assert {(r.case_id, r.status, r.why) for r in found.values()} == {(name, "ok", None) for name in names}


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's import
def test_a_kernel_of_torch_that_reads_beyond_its_memory_is_found() -> None:
    _, seq_len, _, _, head_dim = SMALL
    if not flex_reads_beyond(keys=seq_len, head_dim=head_dim):
        pytest.skip("torch's FlexAttention is right on this CPU")
    found = [measured(("flex",), "infer", SMALL, "float32", seed=seed)["flex"] for seed in range(5)]
    assert {r.status for r in found} <= {"ok", "wrong"}
    assert all(re.match("out (is|has) ", r.why or "") for r in found if r.status == "wrong")
    may_be_mended = not torch.__version__.startswith("2.13.")
    assert may_be_mended or "wrong" in {r.status for r in found}


def test_constant_inputs_are_an_error_of_the_op(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = OPS["attention"]
    zeros = replace(attention, inputs=lambda p, g: [torch.zeros_like(t) for t in attention.inputs(p, g)])
    monkeypatch.setitem(OPS, "attention", zeros)
    (record,) = measured(("naive",), "bwd", SMALL, "float32", seed=0).values()
    assert record.status == "error" and record.why is not None
    assert record.why.startswith("inputs and oracle: UsageError: op 'attention': input 'q' is 0 everywhere, ")


def test_a_run_finds_every_mistake_and_gives_none_of_them_a_time(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "bad_attention.py", tmp_path)
    suite = f"""\
op: attention
impls: [naive, {", ".join(WHY)}, tiled]
baseline: {{impl: naive}}
plugins: ["bad_attention:register"]
phases: [infer, fwd_bwd]
axes: {{seq_len: [48]}}
fixed: {{num_heads: 4, num_kv_heads: 2, head_dim: 16, mask: causal}}
measure: {{max_s: 0.01}}
"""
    (tmp_path / "suite.yaml").write_text(suite)
    said = json.loads(llmbench_in(tmp_path, "run", "suite.yaml", "--json", rc=6).stdout)
    rows = pq.read_table(tmp_path / said["folder"] / "records.parquet").to_pylist()
    for phase in ("infer", "fwd_bwd"):
        of_phase = [r for r in rows if r["phase"] == phase]
        assert {r["impl"] for r in of_phase if r["metric"] == "time"} == {"naive", "tiled"}
        found = {r["impl"]: (r["status"], r["why"]) for r in of_phase}
        assert found.keys() == {"naive", *WHY, "tiled"}
        for name in wrong_in(phase):
            assert_found(name, *found[name], 48)
        offered = {name for name, (status, _) in found.items() if status != "unavailable"}
        assert offered == {"naive", *wrong_in(phase), "tiled"}
