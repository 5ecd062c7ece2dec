"""PPO's parts and its loss against float64 by hand and TRL's code, whatever is padded."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from llmbench.kernels.device import interprets
from llmbench.kernels.losses import (
    IGNORE,
    Rollout,
    fused_logprobs_and_entropy,
    logprobs_and_entropy,
    loop_gae,
    ppo_loss,
    recomputed_logprobs_and_entropy,
    scan_gae,
)
from llmbench.kernels.losses.policy import (
    Kl,
    estimate_advantages,
    kl_estimate,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)

ON_CPU = interprets()
GAES = {"loop": loop_gae, "scan": scan_gae}
DRAWS = {
    "eager": logprobs_and_entropy,
    "recomputed": lambda logits, labels: recomputed_logprobs_and_entropy(logits, labels, chunk=3),
    "fused": fused_logprobs_and_entropy,
}
V = 23


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Source: huggingface/trl, trl/experimental/ppo/ppo_trainer.py."""
    return (values * mask).sum() / mask.sum()


def masked_whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Source: huggingface/trl, trl/experimental/ppo/ppo_trainer.py, masked_whiten and masked_var."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    variance = variance * (mask.sum().double() / (mask.sum() - 1))  # theirs is float32
    return (values - mean) * torch.rsqrt(variance + 1e-8)


def trl_ppo(logits: Tensor, values: Tensor, rollout: Rollout, *, kl: Kl, entropy_coef: float) -> Tensor:
    """TRL's loss with its defaults; the entropy, a statistic there, is taken off as in the paper.

    One change: the score stands at the last token, not behind it where there is room.
    Source: huggingface/trl, trl/experimental/ppo/ppo_trainer.py, PPOTrainer.train.
    """
    padding_mask = rollout.labels == IGNORE
    responses, sequence_lengths = rollout.labels.clamp(min=0), (~padding_mask).sum(1) - 1
    logprobs = torch.masked_fill(rollout.logps, padding_mask, 1.0)
    mb_values = torch.masked_fill(rollout.values, padding_mask, 0)
    rewards = torch.zeros_like(mb_values)
    if rollout.ref_logps is not None and kl != "none":
        logr = torch.masked_fill(rollout.ref_logps, padding_mask, 1.0) - logprobs
        rewards = -0.05 * (-logr if kl == "k1" else (logr.exp() - 1) - logr)
    rewards[torch.arange(len(rewards)), sequence_lengths] += rollout.scores
    lastgaelam: float | Tensor = 0
    advantages_reversed = []
    gen_length = responses.shape[1]
    for t in reversed(range(gen_length)):
        nextvalues = mb_values[:, t + 1] if t < gen_length - 1 else 0.0
        delta = rewards[:, t] + 1.0 * nextvalues - mb_values[:, t]
        lastgaelam = delta + 1.0 * 0.95 * lastgaelam
        advantages_reversed.append(lastgaelam)
    advantages = torch.stack(advantages_reversed[::-1], dim=1)
    returns = advantages + mb_values
    advantages = masked_whiten(advantages, ~padding_mask)
    advantages = torch.masked_fill(advantages, padding_mask, 0)

    new_logprobs = F.log_softmax(logits, dim=-1).gather(-1, responses.unsqueeze(-1)).squeeze(-1)
    new_logprobs = torch.masked_fill(new_logprobs, padding_mask, 1.0)
    vpred = torch.masked_fill(values, padding_mask, 0)
    vpredclipped = torch.clamp(vpred, mb_values - 0.2, mb_values + 0.2)
    vf_losses1, vf_losses2 = torch.square(vpred - returns), torch.square(vpredclipped - returns)
    vf_loss = 0.5 * masked_mean(torch.max(vf_losses1, vf_losses2), ~padding_mask)
    ratio = torch.exp(new_logprobs - logprobs)
    pg_losses, pg_losses2 = -advantages * ratio, -advantages * torch.clamp(ratio, 1.0 - 0.2, 1.0 + 0.2)
    pg_loss = masked_mean(torch.max(pg_losses, pg_losses2), ~padding_mask)
    prob_dist = F.softmax(logits, dim=-1)
    entropy = torch.logsumexp(logits, dim=-1) - torch.sum(prob_dist * logits, dim=-1)
    return pg_loss + 0.1 * vf_loss - entropy_coef * masked_mean(entropy, ~padding_mask)


def given(*, lengths: tuple[int, ...] = (7, 1, 4), seed: int = 1, size: float = 1.0) -> tuple[Tensor, Tensor, Rollout]:
    """Logits, values and a rollout in float64; sequences of these lengths, padded to 7."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    B, S = len(lengths), 7
    labels = torch.randint(V, (B, S), generator=g)
    labels[torch.arange(S) >= torch.tensor(lengths)[:, None]] = IGNORE
    logits, values = normal(B, S, V) * size, normal(B, S)
    logps = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None]).squeeze(-1)
    old_logps, ref_logps = logps + 0.4 * normal(B, S), logps + 0.3 * normal(B, S)
    return logits, values, Rollout(labels, old_logps, values + 0.3 * normal(B, S), normal(B), ref_logps)


def narrowed(rollout: Rollout) -> Rollout:
    return Rollout(*(t.float() if t.is_floating_point() else t for t in rollout))


@pytest.mark.parametrize("kl", ["none", "k1", "k3"])
@pytest.mark.parametrize("gae", GAES)
@pytest.mark.parametrize("lengths", [(7, 7), (7, 1, 4), (2, 1), (1, 1)])
def test_the_loss_and_its_gradients_are_trls(lengths: tuple[int, ...], gae: str, kl: Kl) -> None:
    logits, values, rollout = given(lengths=lengths)
    leaves = [logits.requires_grad_(), values.requires_grad_()]
    got = ppo_loss(logits, values, rollout, kl=kl, gae=GAES[gae], entropy_coef=0.3)
    wanted = trl_ppo(logits, values, rollout, kl=kl, entropy_coef=0.3)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    for one, other in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(wanted, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_every_way_to_draw_gives_the_loss_in_float32(draw: str, size: float) -> None:
    if draw == "fused" and not ON_CPU:
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    logits, values, rollout = given(size=size)
    wide = [logits.requires_grad_(), values.requires_grad_()]
    narrow = [t.detach().float().requires_grad_() for t in wide]
    wanted = ppo_loss(*wide, rollout, kl="k3")
    got = ppo_loss(*narrow, narrowed(rollout), kl="k3", draw=DRAWS[draw])
    assert got.dtype == torch.float32
    atol = 1e-5 if size == 1.0 else 2e-3  # logits of 1e4 have steps of 1e-3 in float32
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=atol)
    for one, other in zip(torch.autograd.grad(got, narrow), torch.autograd.grad(wanted, wide), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=atol)


def test_advantages_of_three_tokens_are_by_hand() -> None:
    rewards, values = torch.tensor([[0.1, -0.2, 1.0, 0.0]]), torch.tensor([[0.5, 0.4, 0.3, 0.0]])
    d0, d1, d2 = 0.1 + 0.9 * 0.4 - 0.5, -0.2 + 0.9 * 0.3 - 0.4, 1.0 - 0.3
    wanted = [d0 + 0.72 * d1 + 0.72**2 * d2, d1 + 0.72 * d2, d2, 0.0]
    for gae in GAES.values():
        assert gae(rewards, values, gamma=0.9, lam=0.8)[0].tolist() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("tokens", [1, 2, 3, 8, 33, 257])
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (1.0, 1.0), (0.9, 0.0), (0.99, 0.97)])
def test_the_scan_is_the_loop(tokens: int, gamma: float, lam: float) -> None:
    g = torch.Generator().manual_seed(tokens)
    rewards, values = (torch.randn(3, tokens, generator=g, dtype=torch.float64) for _ in range(2))
    for t in (rewards, values):
        t[1, tokens // 2 :] = 0.0
    loop, scan = (gae(rewards, values, gamma=gamma, lam=lam) for gae in (loop_gae, scan_gae))
    torch.testing.assert_close(scan, loop, rtol=1e-12, atol=1e-12)
    assert not scan[1, tokens // 2 :].any() and not loop[1, tokens // 2 :].any()


def test_advantages_with_lambda_1_are_what_is_still_to_come_minus_the_value() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    for gae in GAES.values():
        assert gae(rewards, values, gamma=1.0, lam=1.0).tolist() == [[-4.0, -15.0, -27.0]]


def test_kl_estimates_are_by_hand_and_k3_is_never_negative() -> None:
    logps, ref = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.5, -2.0, -1.0])
    assert kl_estimate(logps, ref, "k1").tolist() == [0.5, 0.0, -2.0]
    wanted = [math.exp(r) - 1 - r for r in (-0.5, 0.0, 2.0)]
    assert kl_estimate(logps, ref, "k3").tolist() == pytest.approx(wanted, rel=1e-6)
    near = kl_estimate(torch.zeros(1000), 1e-4 * torch.randn(1000), "k3")
    assert (near >= 0).all()


def test_both_kl_estimates_have_the_divergence_as_mean() -> None:
    g = torch.Generator().manual_seed(2)
    policy, reference = (torch.randn(40, generator=g, dtype=torch.float64).log_softmax(0) for _ in range(2))
    exact = (policy.exp() * (policy - reference)).sum()
    for kind in ("k1", "k3"):
        mean = (policy.exp() * kl_estimate(policy, reference, kind)).sum()
        torch.testing.assert_close(mean, exact)


def test_the_score_stands_at_the_last_token_and_the_penalty_at_every_one() -> None:
    counts = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    scores, penalty = torch.tensor([5.0, 6.0, 7.0]), torch.full((3, 3), 0.5)
    wanted = [[-0.5, -0.5, 4.5], [5.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert token_rewards(scores, counts, penalty).tolist() == wanted
    assert token_rewards(scores, counts).tolist() == [[0.0, 0.0, 5.0], [6.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_whitened_tokens_have_mean_0_and_variance_1() -> None:
    g = torch.Generator().manual_seed(3)
    values, counts = 3 * torch.randn(4, 9, generator=g) + 5, torch.rand(4, 9, generator=g) < 0.7
    white = whiten(values, counts)
    assert float(white[counts].mean()) == pytest.approx(0, abs=1e-6)
    assert float(white[counts].var()) == pytest.approx(1, rel=1e-5)
    assert not white[~counts].any()
    torch.testing.assert_close(white, masked_whiten(values, counts) * counts)
    assert whiten(values, torch.zeros_like(counts)).tolist() == torch.zeros(4, 9).tolist()
    one = torch.zeros_like(counts)
    one[0, 0] = True
    assert not whiten(values, one).any()  # one token is its own mean


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "moves"),
    [
        (1.1, 2.0, -2.2, True),
        (1.5, 2.0, -2.4, False),  # gained enough
        (0.5, 2.0, -1.0, True),
        (0.5, -2.0, 1.6, False),  # lost enough
        (1.5, -2.0, 3.0, True),
        (0.9, -2.0, 1.8, True),
    ],
)
def test_a_ratio_is_clipped_only_where_that_lowers_what_is_gained(
    ratio: float, advantage: float, loss: float, moves: bool
) -> None:
    logp = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    counts = torch.ones(1, 1, dtype=torch.bool)
    value = policy_loss(logp, torch.zeros_like(logp), torch.tensor([[advantage]], dtype=torch.float64), counts)
    assert value.item() == pytest.approx(loss)
    assert torch.autograd.grad(value, logp)[0].any().item() is moves


@pytest.mark.parametrize(
    ("value", "back", "loss", "moves"),
    [(0.1, 1.0, 0.405, True), (0.9, 1.0, 0.32, False), (0.9, 0.0, 0.405, True), (-0.9, 1.0, 1.805, True)],
)
def test_a_value_is_clipped_around_the_old_one(value: float, back: float, loss: float, moves: bool) -> None:
    new = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
    counts = torch.ones(1, 1, dtype=torch.bool)
    got = value_loss(new, torch.zeros_like(new), torch.tensor([[back]], dtype=torch.float64), counts)
    assert got.item() == pytest.approx(loss)
    assert torch.autograd.grad(got, new)[0].any().item() is moves


def padded(
    logits: Tensor, values: Tensor, rollout: Rollout, more: int, content: float
) -> tuple[Tensor, Tensor, Rollout]:
    """The same with other contents at padding, and more of it."""
    empty = rollout.labels == IGNORE

    def wider(t: Tensor) -> Tensor:
        return F.pad(t.masked_fill(empty, content), (0, more), value=content)

    labels = F.pad(rollout.labels, (0, more), value=IGNORE)
    logits = F.pad(logits.masked_fill(empty[..., None], content), (0, 0, 0, more), value=content)
    assert rollout.ref_logps is not None
    return (
        logits,
        wider(values),
        Rollout(labels, wider(rollout.logps), wider(rollout.values), rollout.scores, wider(rollout.ref_logps)),
    )


@pytest.mark.parametrize("kl", ["none", "k1", "k3"])
@pytest.mark.parametrize("gae", GAES)
@pytest.mark.parametrize("draw", DRAWS)
def test_padding_changes_neither_loss_nor_gradients(draw: str, gae: str, kl: Kl) -> None:
    if draw == "fused" and not ON_CPU:
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    logits, values, rollout = given()
    one = logits.float(), values.float(), narrowed(rollout)
    found = []
    for x, v, r in (one, padded(*one, 0, 1e4), padded(*one, 5, -1e4)):
        leaves = [x.requires_grad_(), v.requires_grad_()]
        loss = ppo_loss(x, v, r, kl=kl, gae=GAES[gae], draw=DRAWS[draw])
        found.append((loss, *torch.autograd.grad(loss, leaves)))
    for loss, dlogits, dvalues in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(dlogits[:, :7], found[0][1], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(dvalues[:, :7], found[0][2], rtol=1e-4, atol=1e-7)
        empty = F.pad(rollout.labels, (0, dvalues.shape[1] - 7), value=IGNORE) == IGNORE
        assert not dlogits[empty].any() and not dvalues[empty].any()


@pytest.mark.parametrize("draw", ["eager", "recomputed"])
def test_gradients_are_those_of_finite_differences(draw: str) -> None:
    logits, values, rollout = given()
    leaves = [logits.requires_grad_(), values.requires_grad_()]
    assert torch.autograd.gradcheck(lambda x, v: ppo_loss(x, v, rollout, kl="k1", draw=DRAWS[draw]), leaves)


def test_a_batch_without_a_token_gives_0_that_is_connected() -> None:
    logits, values, rollout = given()
    empty = rollout._replace(labels=torch.full_like(rollout.labels, IGNORE))
    loss = ppo_loss(logits.requires_grad_(), values.requires_grad_(), empty, kl="k1")
    assert loss.item() == 0
    assert not any(t.any() for t in torch.autograd.grad(loss, [logits, values]))


def test_a_penalty_needs_a_reference() -> None:
    logits, values, rollout = given()
    with pytest.raises(ValueError, match="a penalty 'k1' needs the log-probabilities of a reference"):
        ppo_loss(logits, values, rollout._replace(ref_logps=None), kl="k1")


def test_returns_are_advantages_before_whitening_and_values() -> None:
    _, _, rollout = given(lengths=(3, 2))
    kept: list[Tensor] = []

    def keeping(rewards: Tensor, values: Tensor, **options: float) -> Tensor:
        kept.append(loop_gae(rewards, values, **options))
        return kept[-1]

    gae: Callable[..., Tensor] = keeping
    estimate = estimate_advantages(rollout, kl="k1", kl_coef=0.05, gamma=1.0, lam=0.95, gae=gae)
    counts = rollout.labels != IGNORE
    torch.testing.assert_close(estimate.returns, kept[0] + rollout.values * counts)
    torch.testing.assert_close(estimate.advantages, whiten(kept[0], counts))
