"""Preference, reward and PPO as ops: every implementation is right in every phase, also on other inputs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch._functorch.config
from torch import Tensor

from llmbench.kernels.device import interprets
from llmbench.kernels.losses import IGNORE
from llmbench.kernels.losses.policy import Rollout, ppo_loss
from llmbench.measure.check import judge
from llmbench.ops import OPS, Op, ppo, preference, reward
from llmbench.ops.op import Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.policy import PpoParams
from llmbench.ops.preference import PreferenceParams
from llmbench.ops.reward import RewardParams
from llmbench.ops.work import build, make_douts, make_inputs, other_values, output_like, work
from llmbench.suite.constraints import broken

PAIRS = PreferenceParams(pairs=3, seq_len=13, rejected_len=9, hidden=16, vocab=37)
CASES: dict[str, tuple[Op[Any], Any]] = {
    "dpo": (preference, PAIRS),
    "dpo_separate": (preference, replace(PAIRS, forward="separate", label_smoothing=0.1)),
    "dpo_on_the_fly": (preference, replace(PAIRS, reference="on_the_fly")),
    "dpo_separate_on_the_fly": (preference, replace(PAIRS, forward="separate", reference="on_the_fly")),
    "ipo": (preference, replace(PAIRS, loss="ipo", rejected_len=0)),
    "ipo_separate": (preference, replace(PAIRS, loss="ipo", forward="separate", reference="on_the_fly")),
    "orpo": (preference, replace(PAIRS, loss="orpo")),
    "orpo_separate": (preference, replace(PAIRS, loss="orpo", forward="separate", pairs=1)),
    "dpo_half": (preference, replace(PAIRS, dtype="bfloat16")),
    "reward": (reward, RewardParams(pairs=3, seq_len=7, hidden=16)),
    "reward_half": (reward, RewardParams(pairs=5, seq_len=4, hidden=32, dtype="bfloat16")),
    "ppo_none": (ppo, PpoParams(batch=3, seq_len=19, vocab=41, kl="none")),
    "ppo_k1": (ppo, PpoParams(batch=4, seq_len=16, vocab=64, padding=0.5)),
    "ppo_k3": (ppo, PpoParams(batch=1, seq_len=33, vocab=41, padding=0.0, kl="k3")),
    "ppo_half": (ppo, PpoParams(batch=3, seq_len=19, vocab=41, dtype="bfloat16")),
}
PHASES = ("infer", "fwd", "bwd", "fwd_bwd")


def cases() -> Iterator[Any]:
    for name, (op, _) in CASES.items():
        for impl in op.impls.values():
            slow = [pytest.mark.slow] if impl.compiled else []
            yield pytest.param(name, impl.name, id=f"{name}-{impl.name}", marks=slow)


def found(op: Op[Any], p: Any, impl_name: str, phase: str, inputs: list[Tensor], douts: Sequence[Tensor]) -> Any:
    impl = op.impls[impl_name]
    return work(op, impl, build(impl, p, device="cpu"), inputs, phase, device_type="cpu", douts=douts).call()  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's import
@pytest.mark.parametrize(("case", "impl_name"), [*cases()])
def test_every_implementation_is_right_in_every_phase(case: str, impl_name: str) -> None:
    op, p = CASES[case]
    impl = op.impls[impl_name]
    why = impl.why_unavailable(None, device_type="cpu")
    interpreted = "triton" in impl_name and interprets() and p.dtype != "bfloat16"
    if why is not None and not interpreted:
        pytest.skip(why)
    if impl.compiled and case not in ("dpo_on_the_fly", "orpo", "reward", "ppo_k1"):
        pytest.skip("compiling takes seconds: in some cases only")
    g = torch.Generator().manual_seed(5)
    inputs = make_inputs(op, p, g)
    for phase in PHASES:
        douts = make_douts(output_like(op, p, inputs), g) if "bwd" in phase else ()
        others = other_values([*douts, *inputs])
        for values, upstream in ((inputs, douts), (others[len(douts) :], others[: len(douts)])):
            with torch._functorch.config.patch(donated_buffer=False):  # bwd runs twice on one graph
                try:
                    got = found(op, p, impl_name, phase, values, upstream)
                except Unavailable as e:
                    pytest.skip(str(e))
            judgement = judge([t.detach() for t in got], expected(op, p, phase, values, upstream))  # type: ignore[arg-type]
            assert judgement.why is None, (phase, judgement.why)
            assert judgement.rel_error < 0.05


@pytest.mark.parametrize("case", CASES)
def test_what_belongs_to_the_rollout_or_the_reference_gets_no_gradient(case: str) -> None:
    op, p = CASES[case]
    inputs = make_inputs(op, p, torch.Generator().manual_seed(6))
    names = [e.name for e in expected(op, p, "bwd", inputs, [torch.ones(())])]
    assert names == {
        "preference": ["dhidden", "dweight"], "reward": ["dhidden", "dweight"], "ppo": ["dlogits", "dvalues"]
    }[op.name]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_loss_is_neither_saturated_nor_decided_by_rounding(case: str) -> None:
    op, p = CASES[case]
    inputs = make_inputs(op, p, torch.Generator().manual_seed(7))
    for values in (inputs, other_values(inputs)):
        loss, *gradients = (e.ref for e in expected(op, p, "fwd_bwd", values, [torch.ones(())]))
        assert 1e-3 < abs(loss.item()) < 100
        assert all(1e-6 < float(g.abs().max()) < 100 for g in gradients)


@pytest.mark.parametrize("reference", ["precomputed", "on_the_fly"])
def test_the_reference_is_near_the_policy(reference: Any) -> None:
    p = PreferenceParams(pairs=4, seq_len=160, rejected_len=40, hidden=16, vocab=64, reference=reference)
    inputs = make_inputs(preference, p, torch.Generator().manual_seed(7))
    (loss,) = expected(preference, p, "infer", inputs)
    assert (
        0.2 < loss.ref.item() < 2
    )  # ln 2 where they are the same; far from it where completions are not of one length


def test_two_batches_and_one_hold_the_same_completions() -> None:
    one, two = PAIRS, replace(PAIRS, forward="separate")
    assert one.completion_tokens == two.completion_tokens
    assert (one.tokens, two.tokens) == (6 * 13, 3 * (13 + 9))
    for p in (one, two):
        labels = make_inputs(preference, p, torch.Generator().manual_seed(8))[2]
        assert int((labels != IGNORE).sum()) == p.completion_tokens
        assert preference.figures(p)["ideal_speedup"] == 78 / p.tokens
    assert preference.cost(one, "fwd_bwd") == preference.cost(two, "fwd_bwd")


def test_lengths_go_from_the_longest_to_a_half() -> None:
    assert replace(PAIRS, pairs=4, seq_len=16, rejected_len=8).lengths == ([16, 14, 12, 10], [5, 6, 7, 8])
    assert PAIRS.prompt == 2 and replace(PAIRS, seq_len=1, rejected_len=1).completion_tokens == 6


def test_costs_are_those_of_the_completions_by_hand() -> None:
    p = PreferenceParams(pairs=1, seq_len=8, hidden=4, vocab=10)  # two completions of 6 tokens each
    assert preference.cost(p, "fwd") == (2 * 12 * 10 * 4, (12 + 10) * 4 * 4, 12)
    assert preference.cost(p, "bwd") == (4 * 12 * 10 * 4, (12 + 10) * 4 * 8, 12)
    on_the_fly = replace(p, reference="on_the_fly")
    assert preference.cost(on_the_fly, "fwd_bwd") == (2 * 12 * 10 * 4 * 4, (12 + 10) * 4 * 4 * 3, 12)
    assert preference.cost(on_the_fly, "bwd") == preference.cost(p, "bwd")
    r = RewardParams(pairs=2, seq_len=8, hidden=16)
    assert reward.cost(r, "infer") == (2 * 4 * 16, 5 * 16 * 4, 32)
    assert reward.cost(r, "fwd_bwd") == (6 * 4 * 16, (5 + 33) * 16 * 4, 32)
    q = PpoParams(batch=2, seq_len=8, vocab=16, padding=0.5)
    assert q.lengths == [8, 2] and ppo.cost(q, "fwd") == (None, 10 * 16 * 4, 10)
    assert ppo.cost(q, "bwd") == (None, 26 * 16 * 4, 10)


@pytest.mark.parametrize("padding", [0.0, 0.25, 0.5, 0.75])
def test_a_share_of_the_places_is_padding(padding: float) -> None:
    p = PpoParams(batch=64, seq_len=1000, vocab=2, padding=padding)
    assert 1 - sum(p.lengths) / 64_000 == pytest.approx(padding, abs=0.02)
    assert p.lengths[0] == 1000 and p.lengths == sorted(p.lengths, reverse=True)
    assert min(replace(p, padding=1.0).lengths) == 1


def test_ratios_are_clearly_inside_or_outside_of_what_is_clipped() -> None:
    p = PpoParams(batch=4, seq_len=64, vocab=1024)
    inputs = make_inputs(ppo, p, torch.Generator().manual_seed(9))
    for i, values in enumerate((inputs, other_values(inputs))):
        logits, new_values, labels, old_logps, old_values = (t.double() for t in values[:5])
        counts = labels != IGNORE
        at = labels.clamp(min=0).long()[..., None]
        change = (logits.log_softmax(-1).gather(-1, at).squeeze(-1) - old_logps)[counts]
        for limit in (0.8, 1.2):
            assert float((change - math.log(limit)).abs().min()) > 0.03
        outside = (change.exp() - 1).abs() > 0.2
        assert bool(outside.any()) and (i == 1 or not bool(outside.all()))
        assert float(((new_values - old_values)[counts].abs() - 0.2).abs().min()) > 0.03


def test_parameters_that_would_do_nothing_are_refused() -> None:
    rules = {(c.kind, c.left): c for c in preference.constraints}
    reference = rules["not_with", "reference"]
    assert broken(reference, "on_the_fly", "orpo") == "has no effect with"
    assert broken(reference, "on_the_fly", "dpo") is None and broken(reference, "on_the_fly", "ipo") is None
    assert broken(rules["only_with", "label_smoothing"], 0.1, "ipo") == "has no effect with"
    assert broken(rules["at_most", "rejected_len"], 9, 8) == "is more than"


def test_the_ops_are_registered() -> None:
    assert {"preference", "reward", "ppo"} <= set(OPS)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("wrong", [{"value_clip": 1e9}, {"value_clip": 0.3}, {"clip": 0.3}, {"value_coef": 0.2}])
def test_a_loss_that_clips_otherwise_is_wrong(wrong: dict[str, float], dtype: Any, seed: int) -> None:
    p = PpoParams(batch=4, seq_len=16, vocab=64, dtype=dtype, kl="none")
    inputs = make_inputs(ppo, p, torch.Generator().manual_seed(seed))
    logits, values, labels, logps, old_values, scores = inputs
    leaves = [logits.detach().requires_grad_(), values.detach().requires_grad_()]
    one = torch.ones(())
    wanted = expected(ppo, p, "fwd_bwd", inputs, [one])

    def why(**changed: float) -> str | None:
        loss = ppo_loss(*leaves, Rollout(labels, logps, old_values, scores), kl="none", **changed)
        return judge((loss, *torch.autograd.grad(loss, leaves)), wanted).why

    assert why() is None and why(**wrong) is not None
