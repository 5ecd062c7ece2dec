"""Attention with windows, unequal lengths and packed sequences: inputs, cost, and every implementation on a CPU."""

from dataclasses import replace

import pytest
import torch
from flash_cases import MASKS

from llmbench.measure.check import judge
from llmbench.ops import attention
from llmbench.ops.attention import AttentionParams, attention_cost
from llmbench.ops.attention.params import figures
from llmbench.ops.op import Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.work import build, make_douts, make_inputs, output_like, work

DENSE = AttentionParams(batch=2, seq_len=40, num_heads=4, num_kv_heads=2, head_dim=16)
PACKED = AttentionParams(
    batch=5, seq_len=30, num_heads=4, num_kv_heads=2, head_dim=16, layout="varlen", lengths="with_empty"
)
EAGER = [n for n, i in attention.impls.items() if i.why_unavailable(None, device_type="cpu") is None and not i.compiled]


def why_wrong(name: str, p: AttentionParams, phase: str) -> str | None:
    impl, generator = attention.impls[name], torch.Generator().manual_seed(3)
    inputs = make_inputs(attention, p, generator)
    douts = make_douts(output_like(attention, p, inputs), generator) if phase == "bwd" else ()
    fn = build(impl, p, device="cpu")
    outputs = work(attention, impl, fn, inputs, phase, device_type="cpu", douts=douts).call()
    return judge(outputs, expected(attention, p, phase, inputs, douts)).why


@pytest.mark.parametrize("mask", MASKS, ids=lambda m: "-".join(map(str, m.values())))
@pytest.mark.parametrize("name", EAGER)
def test_every_implementation_is_right_or_says_that_it_cannot(name: str, mask: dict[str, object]) -> None:
    served, told = 0, set[str]()
    for p in (DENSE, replace(DENSE, kv_len=57), replace(DENSE, kv_len=23), PACKED, replace(PACKED, kv_len=44)):
        for phase in ("fwd", "bwd"):
            try:
                why = why_wrong(name, replace(p, **mask), phase)
            except Unavailable as e:
                told.add(str(e))
                continue
            assert why is None, (p, phase)
            served += 1
    assert all(any(w in reason for w in ("packed", "window", "top-left", "no back end")) for reason in told)
    assert served >= {"sdpa_flash": 0, "varlen_loop": 4, "padded": 4}.get(name, 6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, by inductor
@pytest.mark.parametrize("mask", [MASKS[1], MASKS[3]], ids=["causal", "window"])
@pytest.mark.parametrize("p", [replace(DENSE, kv_len=57), PACKED], ids=["dense", "packed"])
def test_flex_masks_blocks_of_the_same_pairs(p: AttentionParams, mask: dict[str, object]) -> None:
    if attention.impls["flex"].why_unavailable(None, device_type="cpu"):
        pytest.skip("no C++ compiler")
    assert why_wrong("flex", replace(p, **mask), "infer") is None


def test_the_choice_is_recorded_with_its_reasons() -> None:
    config = build(attention.impls["auto"], replace(DENSE, mask="window"), device="cpu").config()
    assert config.startswith("tiled (not sdpa_flash: has no sliding window; not flex: has no backward on a CPU")
    assert build(attention.impls["auto"], DENSE, device="cpu").config() == "sdpa_flash"


def test_lengths_are_a_part_of_the_case() -> None:
    def lengths(**changes: object) -> list[int]:
        return [q for q, _ in replace(PACKED, batch=6, seq_len=80, **changes).seqlens]

    assert lengths(lengths="equal") == [80] * 6
    assert lengths(lengths="one_long") == [80, 10, 10, 10, 10, 10]
    uniform = lengths(lengths="uniform")
    assert uniform == lengths(lengths="uniform") == [80, 55, 61, 72, 21, 51]
    assert [n == 0 for n in lengths(lengths="with_empty")] == [False, False, True] * 2
    q, k, v, cu_q, cu_k = attention.inputs(replace(PACKED, kv_len=60), torch.Generator().manual_seed(0))
    assert (len(q), len(k)) == (int(cu_q[-1]), int(cu_k[-1])) and v.shape == k.shape
    assert cu_q.dtype == torch.int32 and int(cu_q[0]) == 0


def test_cost_counts_the_pairs_of_windows_and_packed_sequences() -> None:
    window = replace(DENSE, mask="window", window_left=3, batch=1, seq_len=6)
    assert window.pairs == 1 + 2 + 3 + 4 + 4 + 4
    assert attention_cost(window, "fwd") == (4 * 4 * 16 * 18, 4 * (2 * 6 * 4 * 16 + 2 * 6 * 2 * 16), 6)
    packed = replace(PACKED, lengths="one_long", batch=3, seq_len=16, mask="causal")
    assert packed.pairs == 16 * 17 // 2 + 2 * (2 * 3 // 2)
    assert attention_cost(packed, "bwd").tokens == 20
    assert replace(DENSE, mask="causal", kv_len=50).pairs == 2 * (40 * 10 + 40 * 41 // 2)


def test_the_ideal_speed_up_is_the_ratio_of_pairs() -> None:
    assert figures(DENSE) == {} == figures(replace(DENSE, mask="causal"))
    window = replace(DENSE, mask="window", window_left=3, batch=1, seq_len=6)
    assert figures(window) == {"ideal_speedup": pytest.approx(21 / 18)}
    ahead = replace(window, window_right=1)
    assert figures(ahead) == {"ideal_speedup": pytest.approx(36 / (18 + 5))}
    packed = replace(PACKED, lengths="one_long", batch=3, seq_len=16, mask="causal")
    assert figures(packed) == {"ideal_speedup": pytest.approx(3 * 136 / packed.pairs)}


def test_the_logits_have_the_standard_deviation_that_is_asked_for() -> None:
    q, k, _ = attention.inputs(replace(DENSE, logit_scale=50.0, head_dim=64), torch.Generator().manual_seed(0))
    assert (q @ k.repeat_interleave(2, 1).mT / 8).std().item() == pytest.approx(50, rel=0.05)


def test_parameters_at_their_defaults_leave_the_names_of_cases_alone() -> None:
    spec = {p.name: p.default for p in attention.spec("cpu").params}
    assert spec["kv_len"] == 0 and spec["layout"] == "dense" and spec["logit_scale"] == 1.0
    assert spec["window_left"] == -1 and spec["window_right"] == 0 and spec["lengths"] == "equal"
