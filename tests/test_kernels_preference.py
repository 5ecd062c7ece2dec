"""Losses of pairs against float64 by hand and TRL's formulas, on random and adversarial inputs."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from llmbench.kernels.losses import (
    IGNORE,
    dpo_loss,
    ipo_loss,
    last_of,
    nll_loss,
    orpo_loss,
    reward_loss,
    sequence_logps,
    token_logprobs,
)
from llmbench.kernels.losses.preference import log1mexp


def trl_dpo(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float) -> Tensor:
    """loss_type "sigmoid". Source: huggingface/trl, trl/trainer/dpo_trainer.py."""
    delta_score = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (-F.logsigmoid(beta * delta_score)).mean()


def trl_ipo(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float) -> Tensor:
    """loss_type "ipo", of averages. Source: huggingface/trl, trl/trainer/dpo_trainer.py."""
    ipo_delta = (chosen - ref_chosen) - (rejected - ref_rejected)
    return ((ipo_delta - 1 / (2 * beta)) ** 2).mean()


def torchtune_dpo(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float, smoothing: float
) -> Tensor:
    """With label smoothing. Source: pytorch/torchtune, torchtune/rlhf/loss/dpo.py."""
    logits = (chosen - rejected) - (ref_chosen - ref_rejected)
    return (-F.logsigmoid(beta * logits) * (1 - smoothing) - F.logsigmoid(-beta * logits) * smoothing).mean()


def trl_orpo(chosen: Tensor, rejected: Tensor, nll: Tensor, *, beta: float) -> Tensor:
    """Source: huggingface/trl, trl/experimental/orpo/orpo_trainer.py, odds_ratio_loss and get_batch_loss_metrics."""

    def log1mexp(x: Tensor) -> Tensor:
        return torch.where(x < -0.6931471805599453, torch.log1p(-torch.exp(x)), torch.log(-torch.expm1(x)))

    log_odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
    losses = beta * F.logsigmoid(log_odds)
    return nll - losses.mean()


def trl_reward(chosen: Tensor, rejected: Tensor, margin: Tensor | None) -> Tensor:
    """Source: huggingface/trl, trl/trainer/reward_trainer.py, compute_loss."""
    ahead = chosen - rejected if margin is None else chosen - rejected - margin
    return -F.logsigmoid(ahead).mean()


def sums(seed: int, *shape: int) -> list[Tensor]:
    """Four tensors of log-probabilities of completions, float64."""
    g = torch.Generator().manual_seed(seed)
    return [-20 * torch.rand(shape, generator=g, dtype=torch.float64) - 0.1 for _ in range(4)]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("beta", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dpo_is_by_hand_and_trls(beta: float, dtype: torch.dtype) -> None:
    given = sums(1, 7)
    by_hand = [
        -math.log(sigmoid(beta * ((c - r) - (rc - rr))))
        for c, r, rc, rr in zip(*(t.tolist() for t in given), strict=True)
    ]
    loss = dpo_loss(*(t.to(dtype) for t in given), beta=beta)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(sum(by_hand) / 7, rel=1e-12 if dtype == torch.float64 else 1e-5)
    torch.testing.assert_close(dpo_loss(*given, beta=beta), trl_dpo(*given, beta=beta))


def test_smoothed_dpo_is_torchtunes() -> None:
    given = sums(2, 7)
    torch.testing.assert_close(
        dpo_loss(*given, beta=0.3, label_smoothing=0.2), torchtune_dpo(*given, beta=0.3, smoothing=0.2)
    )
    assert dpo_loss(*given, label_smoothing=0.2) != dpo_loss(*given)


def test_ipo_is_by_hand_and_trls() -> None:
    given = sums(3, 5)
    by_hand = [((c - r) - (rc - rr) - 5.0) ** 2 for c, r, rc, rr in zip(*(t.tolist() for t in given), strict=True)]
    assert float(ipo_loss(*given, beta=0.1)) == pytest.approx(sum(by_hand) / 5, rel=1e-12)
    torch.testing.assert_close(ipo_loss(*given, beta=0.1), trl_ipo(*given, beta=0.1))


def test_orpo_is_by_hand_and_trls() -> None:
    chosen, rejected = sums(4, 6)[:2]
    nll = torch.tensor(2.5, dtype=torch.float64)

    def odds(logp: float) -> float:
        return math.exp(logp) / (1 - math.exp(logp))

    ratios = [odds(c) / odds(r) for c, r in zip(chosen.tolist(), rejected.tolist(), strict=True)]
    by_hand = 2.5 - 0.2 * sum(math.log(sigmoid(math.log(x))) for x in ratios) / 6
    assert float(orpo_loss(chosen, rejected, nll, beta=0.2)) == pytest.approx(by_hand, rel=1e-12)
    torch.testing.assert_close(orpo_loss(chosen, rejected, nll, beta=0.2), trl_orpo(chosen, rejected, nll, beta=0.2))


def test_the_reward_loss_is_by_hand_and_trls() -> None:
    chosen, rejected, margin, _ = sums(5, 6)
    by_hand = [-math.log(sigmoid(c - r)) for c, r in zip(chosen.tolist(), rejected.tolist(), strict=True)]
    assert float(reward_loss(chosen, rejected)) == pytest.approx(sum(by_hand) / 6, rel=1e-12)
    for m in (None, margin):
        torch.testing.assert_close(reward_loss(chosen, rejected, m), trl_reward(chosen, rejected, m))
    assert reward_loss(chosen, rejected, margin.abs()) > reward_loss(chosen, rejected)


def test_a_policy_that_is_its_reference_has_a_loss_of_ln_2() -> None:
    chosen, rejected = sums(6, 9)[:2]
    assert float(dpo_loss(chosen, rejected, chosen, rejected)) == pytest.approx(math.log(2), rel=1e-15)
    assert float(dpo_loss(chosen, rejected, chosen, rejected, label_smoothing=0.3)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_extreme_log_probabilities_give_finite_losses_and_gradients(size: float) -> None:
    g = torch.Generator().manual_seed(7)
    given = [(-size * torch.rand(4, generator=g)).requires_grad_() for _ in range(4)]
    wide = [t.detach().double().requires_grad_() for t in given]
    for loss in (dpo_loss, ipo_loss, lambda c, r, *_: orpo_loss(c, r, -c.mean()), lambda c, r, *_: reward_loss(c, r)):
        got, wanted = loss(*given), loss(*wide)
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-6)
        gradients, exact = (
            torch.autograd.grad(x, xs, materialize_grads=True, allow_unused=True)
            for x, xs in ((got, given), (wanted, wide))
        )  # fmt: skip
        for one, other in zip(gradients, exact, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("x", [0.0, -1e-30, -1e-8, -1e-3, -0.6931, -0.6932, -1.0, -20.0, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_is_right_and_its_gradient_finite(x: float, dtype: torch.dtype) -> None:
    at = torch.tensor(x, dtype=dtype, requires_grad=True)
    value = log1mexp(at)
    (gradient,) = torch.autograd.grad(value, at)
    assert value.isfinite() and gradient.isfinite()
    if x < 0:
        exact = float(torch.tensor(x, dtype=dtype))
        by_hand = math.log(-math.expm1(exact)) if exact > -0.69 else math.log1p(-math.exp(exact))
        rel = 1e-5 if dtype == torch.float32 else 1e-12
        assert value.item() == pytest.approx(by_hand, rel=rel, abs=1e-30)
        assert gradient.item() == pytest.approx(math.exp(exact) / math.expm1(exact), rel=rel, abs=1e-30)


@pytest.mark.parametrize(("chosen", "rejected"), [(0.0, -1.0), (-1.0, 0.0), (0.0, 0.0), (-1e-8, -3.0), (-2.0, -1e-8)])
def test_orpo_of_what_is_certain_is_finite(chosen: float, rejected: float) -> None:
    pair = [torch.tensor([v], requires_grad=True) for v in (chosen, rejected)]
    loss = orpo_loss(*pair, -pair[0].mean())
    assert loss.isfinite() and all(g.isfinite().all() for g in torch.autograd.grad(loss, pair))


def test_gradients_are_those_of_finite_differences() -> None:
    given = [t.requires_grad_() for t in sums(8, 3)]
    for loss in (
        lambda *t: dpo_loss(*t, beta=0.2, label_smoothing=0.1),
        lambda *t: ipo_loss(*t, beta=0.3),
        lambda c, r, a, b: orpo_loss(c / 9, r / 9, a.mean() + b.mean(), beta=0.4),
        lambda c, r, a, b: reward_loss(c, r, a) + reward_loss(a, b),
    ):
        assert torch.autograd.gradcheck(loss, given)


def test_the_score_is_that_of_the_last_token_that_is_no_padding() -> None:
    scores = torch.arange(12.0).view(3, 4)
    assert last_of(scores, torch.tensor([4, 1, 2])).tolist() == [3.0, 4.0, 9.0]
    assert last_of(scores[..., None], torch.tensor([1, 2, 3])).tolist() == [[0.0], [5.0], [10.0]]
    padded = torch.cat([scores, torch.full((3, 2), 777.0)], dim=1)
    assert torch.equal(last_of(padded, torch.tensor([4, 1, 2])), last_of(scores, torch.tensor([4, 1, 2])))
    assert last_of(scores, torch.tensor([0, 1, 2]))[0] == 0.0


def completions() -> tuple[Tensor, Tensor]:
    """Logits and labels of two pairs, chosen first, with prompts and padding of unequal lengths."""
    g = torch.Generator().manual_seed(9)
    logits, labels = torch.randn(4, 6, 30, generator=g), torch.randint(30, (4, 6), generator=g)
    for i, (prompt, length) in enumerate([(1, 6), (2, 4), (1, 3), (2, 6)]):
        labels[i, :prompt] = labels[i, length:] = IGNORE
    return logits, labels


def whole(loss: str, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss from logits on."""
    logps = token_logprobs(logits, labels)
    chosen, rejected = sequence_logps(logps, labels, "sum" if loss == "dpo" else "mean").chunk(2)
    against = torch.tensor([-9.0, -8.0]), torch.tensor([-10.0, -7.0])
    if loss == "orpo":
        return orpo_loss(chosen, rejected, nll_loss(logps[:2], labels[:2]))
    return (dpo_loss if loss == "dpo" else ipo_loss)(chosen, rejected, *against)


@pytest.mark.parametrize("loss", ["dpo", "ipo", "orpo"])
def test_prompts_and_padding_change_neither_loss_nor_gradient(loss: str) -> None:
    logits, labels = completions()
    other = logits.clone()
    other[labels == IGNORE] = -1e4
    longer = torch.cat([logits, torch.full((4, 3, 30), 5.0)], dim=1)
    padded = F.pad(labels, (0, 3), value=IGNORE)
    found = []
    for x, y in ((logits, labels), (other, labels), (longer, padded)):
        x.requires_grad_()
        value = whole(loss, x, y)
        found.append((value, torch.autograd.grad(value, x)[0]))
    for value, gradient in found[1:]:
        torch.testing.assert_close(value, found[0][0], rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient[:, :6], found[0][1], rtol=1e-6, atol=1e-8)
        assert not gradient[:, 6:].any()


@pytest.mark.parametrize("loss", ["dpo", "ipo", "orpo"])
def test_completions_without_a_token_give_a_loss_that_is_connected(loss: str) -> None:
    logits, labels = completions()
    value = whole(loss, logits.requires_grad_(), labels.fill_(IGNORE))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite() and not gradient.any()


def test_the_nll_is_the_mean_over_tokens_of_all_sequences() -> None:
    logits, labels = completions()
    wanted = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(nll_loss(token_logprobs(logits, labels), labels), wanted)
