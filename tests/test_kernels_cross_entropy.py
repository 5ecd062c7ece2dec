"""Cross entropy in every form against float64 and TRL's formula, on random and adversarial inputs."""

import pytest
import torch
from torch import Tensor

from llmbench.kernels.device import interprets
from llmbench.kernels.losses import (
    IGNORE,
    chunked_linear_cross_entropy,
    cross_entropy,
    fused_cross_entropy,
    linear_cross_entropy,
    sft_labels,
)
from llmbench.measure.memory import peak_memory

ON_CPU = interprets()


def trl_loss(logits_BSV: Tensor, labels_BS: Tensor) -> Tensor:
    """The loss of TRL's SFTTrainer, which is transformers' ForCausalLMLoss: shift, float, mean over labels.

    Source: transformers, loss/loss_utils.py, ForCausalLMLoss; labels hold the token of each place, -100 if masked.
    """
    shifted = torch.nn.functional.pad(labels_BS, (0, 1), value=IGNORE)[:, 1:]
    return torch.nn.functional.cross_entropy(logits_BSV.float().flatten(0, 1), shifted.flatten(), ignore_index=IGNORE)


def by_hand(logits_TV: Tensor, labels_T: Tensor) -> Tensor:
    """float64, token by token."""
    wide = logits_TV.double()
    losses = [wide[i].logsumexp(0) - wide[i, y] for i, y in enumerate(labels_T.tolist()) if y != IGNORE]
    return torch.stack(losses).sum() / len(losses) if losses else wide.sum() * 0


def given(kind: str) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 301, generator=g)
    labels = torch.randint(301, (7,), generator=g)
    labels[:2] = IGNORE
    if kind == "all_masked":
        labels[:] = IGNORE
    elif kind == "one_token":
        logits, labels = logits[:1], labels[6:7]
    elif kind == "certain":
        logits[torch.arange(2, 7), labels[2:]] = 60.0
    elif kind == "huge":
        logits = logits * 1e4
    elif kind == "impossible":  # the label's own logit far below the others
        logits[torch.arange(2, 7), labels[2:]] = -1e4
    return logits, labels


KINDS = ("random", "all_masked", "one_token", "certain", "huge", "impossible")
FORMS = {
    "eager": cross_entropy,
    "fused": fused_cross_entropy,
    "fused_in_place": lambda logits, labels: fused_cross_entropy(logits * 1, labels, in_place=True),
    "chunked": lambda logits, labels: chunked_linear_cross_entropy(
        logits, torch.eye(logits.shape[1], dtype=logits.dtype), labels, chunk=3
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_form_equals_float64(form: str, kind: str, dtype: torch.dtype) -> None:
    if "fused" in form and not ON_CPU:
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    logits, labels = given(kind)
    logits = logits.to(dtype).requires_grad_()
    if kind == "huge" and form == "chunked" and dtype == torch.float16:
        pytest.skip("the product with the unit matrix is no copy of inf - inf")
    loss = FORMS[form](logits, labels)
    (gradient,) = torch.autograd.grad(loss * 3, logits)
    wide = logits.detach().double().requires_grad_()
    wanted = by_hand(wide, labels)
    (wanted_gradient,) = torch.autograd.grad(wanted * 3, wide, materialize_grads=True)
    tolerance = 5e-4 if dtype == torch.float32 else 1e-3  # cut-cross-entropy's rule
    assert loss.dtype == torch.float32 and loss.ndim == 0
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-6, atol=tolerance)
    torch.testing.assert_close(gradient.double(), wanted_gradient, rtol=1e-3, atol=tolerance)
    assert gradient.dtype == dtype and not gradient[labels == IGNORE].any()


def test_it_is_trls_loss_of_shifted_tokens() -> None:
    g = torch.Generator().manual_seed(2)
    tokens, logits = torch.randint(50, (3, 12), generator=g), torch.randn(3, 12, 50, generator=g)
    prompts, lengths = torch.tensor([0, 4, 11]), torch.tensor([12, 9, 12])
    place = torch.arange(12)
    trl_labels = tokens.masked_fill((place < prompts[:, None]) | (place >= lengths[:, None]), IGNORE)
    labels = sft_labels(tokens, prompts, lengths)
    assert labels[0].tolist() == [*tokens[0, 1:].tolist(), IGNORE]
    assert (labels[1] != IGNORE).sum() == 5 and labels[1, 3] == tokens[1, 4]
    ours = cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(ours, trl_loss(logits, trl_labels))


@pytest.mark.parametrize("form", FORMS)
def test_prompt_and_padding_change_neither_loss_nor_gradient(form: str) -> None:
    if "fused" in form and not ON_CPU:
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    logits, labels = given("random")
    logits.requires_grad_()
    other = logits.detach().clone()
    other[labels == IGNORE] = 777.0
    other.requires_grad_()
    losses = [FORMS[form](x, labels) for x in (logits, other)]
    assert torch.equal(*losses)
    first, second = (torch.autograd.grad(loss, x)[0] for loss, x in zip(losses, (logits, other), strict=True))
    assert torch.equal(first, second)


def test_gradients_are_those_of_finite_differences() -> None:
    g = torch.Generator().manual_seed(3)
    hidden = torch.randn(5, 4, generator=g, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 4, generator=g, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, IGNORE, 8, 0, 3])
    assert torch.autograd.gradcheck(lambda h, w: linear_cross_entropy(h, w, labels), (hidden, weight))
    assert torch.autograd.gradcheck(lambda h, w: chunked_linear_cross_entropy(h, w, labels, chunk=2), (hidden, weight))


def test_chunks_of_any_size_give_the_same() -> None:
    g = torch.Generator().manual_seed(4)
    hidden, weight = torch.randn(33, 16, generator=g), torch.randn(101, 16, generator=g)
    labels = torch.randint(101, (33,), generator=g)
    for t in (hidden, weight):
        t.requires_grad_()
    wanted = linear_cross_entropy(hidden, weight, labels)
    gradients = torch.autograd.grad(wanted, (hidden, weight))
    for size in (1, 5, 10**9, None):
        loss = chunked_linear_cross_entropy(hidden, weight, labels, chunk=size)
        torch.testing.assert_close(loss, wanted)
        torch.testing.assert_close(torch.autograd.grad(loss, (hidden, weight)), gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not ON_CPU, reason="a GPU is here: tests/gpu runs the kernels on it")
def test_a_gradient_in_place_is_there_once() -> None:
    logits, labels = given("random")
    held = logits.requires_grad_() * 1
    loss = fused_cross_entropy(held, labels, in_place=True)
    (wanted,) = torch.autograd.grad(cross_entropy(logits, labels), logits)
    (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
    torch.testing.assert_close(gradient, wanted)
    torch.testing.assert_close(held.detach(), wanted)  # it stands where the logits were
    with pytest.raises(RuntimeError, match="a second backward needs in_place=False"):
        torch.autograd.grad(loss, logits)
    kept = fused_cross_entropy(logits, labels)
    first, second = (torch.autograd.grad(kept, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.skipif(not ON_CPU, reason="a GPU is here: tests/gpu runs the kernels on it")
def test_large_and_strided_logits_are_read_by_blocks() -> None:
    g = torch.Generator().manual_seed(5)
    logits = torch.randn(3, 20_000, generator=g)[:, ::2][:, :9001].requires_grad_()
    labels = torch.tensor([9000, 0, 4096])
    loss = fused_cross_entropy(logits, labels)
    torch.testing.assert_close(loss, cross_entropy(logits, labels))
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits), torch.autograd.grad(cross_entropy(logits, labels), logits)
    )
    with pytest.raises(ValueError, match="wanted TV and int64 T"):
        fused_cross_entropy(logits, labels.int())


@pytest.mark.slow
def test_chunks_need_less_than_a_quarter_of_the_memory_beside_the_gradients() -> None:
    g = torch.Generator().manual_seed(3)
    hidden_TH = torch.randn(2048, 512, generator=g).requires_grad_()
    weight_VH = (torch.randn(32768, 512, generator=g) / 512**0.5).requires_grad_()
    labels_T = torch.randint(32768, (2048,), generator=g)
    gradients = hidden_TH.nbytes + weight_VH.nbytes
    above = {}
    for form in (linear_cross_entropy, chunked_linear_cross_entropy):

        def call(form=form) -> tuple[Tensor, ...]:
            return torch.autograd.grad(form(hidden_TH, weight_VH, labels_T), (hidden_TH, weight_VH))

        above[form] = peak_memory(call, torch.device("cpu"))["peak_memory"] - gradients
    assert 0 < above[chunked_linear_cross_entropy] < above[linear_cross_entropy] / 4
    assert above[linear_cross_entropy] > 2048 * 32768 * 4, "the eager one holds its logits"
    print(above)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_chunks_are_autocast_as_products_are_and_survive_a_loss_scale(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(5)
    hidden_TH, weight_VH = (torch.randn(n, 16, generator=g).requires_grad_() for n in (40, 301))
    labels_T = torch.randint(301, (40,), generator=g)
    found = []
    for form in (linear_cross_entropy, chunked_linear_cross_entropy):
        with torch.autocast("cpu", dtype=dtype):
            loss = form(hidden_TH, weight_VH * 0.25, labels_T)
        gradients = torch.autograd.grad(loss * 2.0**16, (hidden_TH, weight_VH))
        assert all(t.dtype == torch.float32 and t.isfinite().all() for t in gradients)
        found.append((loss, *(t / 2.0**16 for t in gradients)))
    for eager, chunked in zip(*found, strict=True):
        torch.testing.assert_close(chunked, eager, rtol=0.02, atol=0.01 * float(eager.detach().abs().max()))


def test_a_loss_scale_beyond_float16_reaches_the_gradients_of_chunks() -> None:
    g = torch.Generator().manual_seed(6)
    hidden_TH = (0.1 * torch.randn(5, 16, generator=g)).requires_grad_()
    weight_VH = (0.1 * torch.randn(301, 16, generator=g)).requires_grad_()
    labels_T = torch.tensor([IGNORE, IGNORE, 7, IGNORE, IGNORE])  # one that counts: nothing divides the scale
    wanted = torch.autograd.grad(linear_cross_entropy(hidden_TH, weight_VH, labels_T), (hidden_TH, weight_VH))
    with torch.autocast("cpu", dtype=torch.float16):
        loss = chunked_linear_cross_entropy(hidden_TH, weight_VH, labels_T)
    found = torch.autograd.grad(loss * 2.0**16, (hidden_TH, weight_VH))
    for scaled, gradient in zip(found, wanted, strict=True):
        torch.testing.assert_close(scaled / 2.0**16, gradient, rtol=0.01, atol=0.01 * float(gradient.abs().max()))
