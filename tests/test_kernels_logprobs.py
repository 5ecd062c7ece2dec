"""Log-probabilities and entropies of tokens in every form: against float64 by hand and TRL's formulas."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from llmbench.kernels.device import interprets
from llmbench.kernels.losses import (
    IGNORE,
    chunked_token_logprobs,
    fused_logprobs_and_entropy,
    fused_token_logprobs,
    gathered_token_logprobs,
    logprobs_and_entropy,
    recomputed_logprobs_and_entropy,
    sequence_logps,
    token_logprobs,
)

ON_CPU = interprets()
Form = Callable[[Tensor, Tensor], Tensor]


def selective_log_softmax(logits: Tensor, index: Tensor) -> Tensor:
    """TRL's, of float32 and float64 logits. Source: huggingface/trl, trl/trainer/utils.py."""
    selected_logits = torch.gather(logits, dim=-1, index=index.unsqueeze(-1)).squeeze(-1)
    logsumexp_values = torch.stack([torch.logsumexp(lg, dim=-1) for lg in logits])
    return selected_logits - logsumexp_values


def entropy_from_logits(logits: Tensor) -> Tensor:
    """TRL's. Source: huggingface/trl, trl/trainer/utils.py."""
    logps = F.log_softmax(logits, dim=-1)
    return -(torch.exp(logps) * logps).sum(-1)


def by_hand(logits_BSV: Tensor, labels_BS: Tensor) -> Tensor:
    """float64, token by token."""
    wide_TV, labels = logits_BSV.double().flatten(0, 1), labels_BS.flatten().tolist()
    rows = [x.new_zeros(()) if y == IGNORE else x[y] - x.logsumexp(0) for x, y in zip(wide_TV, labels, strict=True)]
    return torch.stack(rows).view(labels_BS.shape)


def given(kind: str) -> tuple[Tensor, Tensor]:
    """logits 2 x 5 x 301, and labels that leave out a prompt and padding."""
    g = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(2, 5, 301, generator=g), torch.randint(301, (2, 5), generator=g)
    labels[:, 0] = IGNORE
    labels[1, 3:] = IGNORE
    at = labels.clamp(min=0).unsqueeze(-1)
    if kind == "all_masked":
        labels[:] = IGNORE
    elif kind == "one_token":
        logits, labels = logits[:1, 1:2], labels[:1, 1:2]
    elif kind == "certain":
        logits.scatter_(-1, at, 60.0)
    elif kind == "huge":
        logits = logits * 1e4
    elif kind == "impossible":
        logits.scatter_(-1, at, -1e4)
    return logits, labels


KINDS = ("random", "all_masked", "one_token", "certain", "huge", "impossible")
FORMS: dict[str, Form] = {
    "eager": token_logprobs,
    "gathered": gathered_token_logprobs,
    "fused": fused_token_logprobs,
    "fused_in_place": lambda logits, labels: fused_token_logprobs(logits * 1, labels, in_place=True),
    "chunked": lambda logits, labels: chunked_token_logprobs(
        logits, torch.eye(logits.shape[-1], dtype=logits.dtype), labels, chunk=3
    ),
    "eager_entropy": lambda logits, labels: logprobs_and_entropy(logits, labels)[0],
    "recomputed_entropy": lambda logits, labels: recomputed_logprobs_and_entropy(logits, labels, chunk=3)[0],
    "fused_entropy": lambda logits, labels: fused_logprobs_and_entropy(logits, labels)[0],
}
ENTROPIES: dict[str, Form] = {
    "eager": lambda logits, labels: logprobs_and_entropy(logits, labels)[1],
    "recomputed": lambda logits, labels: recomputed_logprobs_and_entropy(logits, labels, chunk=3)[1],
    "fused": lambda logits, labels: fused_logprobs_and_entropy(logits, labels)[1],
}


def needs_interpreter(form: str) -> None:
    if "fused" in form and not ON_CPU:
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")


def upstream(labels: Tensor) -> Tensor:
    return torch.randn(labels.shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_form_equals_float64(form: str, kind: str, dtype: torch.dtype) -> None:
    needs_interpreter(form)
    logits, labels = given(kind)
    logits = logits.to(dtype).requires_grad_()
    if kind == "huge" and form == "chunked" and dtype == torch.float16:
        pytest.skip("the product with the unit matrix is no copy of inf - inf")
    got = FORMS[form](logits, labels)
    (gradient,) = torch.autograd.grad(got, logits, upstream(labels))
    wide = logits.detach().double().requires_grad_()
    wanted = by_hand(wide, labels)
    if kind == "all_masked":
        wanted_gradient = torch.zeros_like(wide)
    else:
        (wanted_gradient,) = torch.autograd.grad(wanted, wide, upstream(labels).double())
    tolerance = 5e-4 if dtype == torch.float32 else 1e-3  # cut-cross-entropy's rule
    assert got.dtype == torch.float32 and gradient.dtype == dtype
    assert not got[labels == IGNORE].any() and not gradient[labels == IGNORE].any()
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=tolerance)
    torch.testing.assert_close(gradient.double(), wanted_gradient, rtol=1e-3, atol=2 * tolerance)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_trls_selective_log_softmax(form: str) -> None:
    needs_interpreter(form)
    logits, labels = given("random")
    wanted = selective_log_softmax(logits, labels.clamp(min=0))
    torch.testing.assert_close(FORMS[form](logits, labels), wanted.masked_fill(labels == IGNORE, 0.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ENTROPIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_entropy_is_trls_in_float64(form: str, kind: str, dtype: torch.dtype) -> None:
    needs_interpreter(form)
    logits, labels = given(kind)
    logits = logits.clamp(-6e4, 6e4).to(dtype).requires_grad_()
    got = ENTROPIES[form](logits, labels)
    (gradient,) = torch.autograd.grad(got, logits, upstream(labels))
    wide = logits.detach().double().requires_grad_()
    wanted = entropy_from_logits(wide).masked_fill(labels == IGNORE, 0.0)
    (wanted_gradient,) = torch.autograd.grad(wanted, wide, upstream(labels).double())
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        gradient.double(), wanted_gradient, rtol=1e-2, atol=1e-5 if dtype == torch.float32 else 1e-3
    )
    assert gradient.dtype == dtype and not gradient[labels == IGNORE].any()


@pytest.mark.parametrize("form", ENTROPIES)
def test_equal_logits_have_the_logarithm_of_their_number_as_entropy(form: str) -> None:
    needs_interpreter(form)
    got = ENTROPIES[form](torch.full((1, 2, 77), 1e4), torch.tensor([[3, IGNORE]]))
    torch.testing.assert_close(got, torch.tensor([[77.0, 1.0]]).log())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_nearly_certain_has_a_precise_gradient_in_16_bits(form: str) -> None:
    needs_interpreter(form)
    logits, labels = torch.tensor([[[7.25, 0.5, -0.5]]], dtype=torch.float16), torch.tensor([[0]])
    wide = logits.double().requires_grad_()
    wanted = torch.autograd.grad(by_hand(wide, labels).sum(), wide)[0]
    got = torch.autograd.grad(FORMS[form](logits.requires_grad_(), labels).sum(), logits)[0]
    torch.testing.assert_close(got.double(), wanted, rtol=2e-3, atol=0)  # 1 - p, which is 0.002


@pytest.mark.parametrize("form", FORMS)
def test_prompt_and_padding_change_neither_values_nor_gradients(form: str) -> None:
    needs_interpreter(form)
    logits, labels = given("random")
    other = logits.clone()
    other[labels == IGNORE] = 777.0
    found = []
    for x in (logits.requires_grad_(), other.requires_grad_()):
        got = FORMS[form](x, labels)
        found.append((got, torch.autograd.grad(got, x, upstream(labels))[0]))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_gradients_are_those_of_finite_differences() -> None:
    g = torch.Generator().manual_seed(3)
    hidden = torch.randn(2, 3, 4, generator=g, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 4, generator=g, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1, IGNORE, 8], [0, 3, IGNORE]])
    both = (hidden, weight)
    assert torch.autograd.gradcheck(lambda h, w: token_logprobs(h @ w.T, labels), both)
    assert torch.autograd.gradcheck(lambda h, w: gathered_token_logprobs(h @ w.T, labels), both)
    assert torch.autograd.gradcheck(lambda h, w: chunked_token_logprobs(h, w, labels, chunk=4), both)
    assert torch.autograd.gradcheck(lambda h, w: tuple(logprobs_and_entropy(h @ w.T, labels)), both)
    assert torch.autograd.gradcheck(lambda h, w: tuple(recomputed_logprobs_and_entropy(h @ w.T, labels, chunk=4)), both)


def test_chunks_of_any_size_give_the_same() -> None:
    g = torch.Generator().manual_seed(4)
    hidden = torch.randn(3, 11, 16, generator=g, requires_grad=True)
    weight = torch.randn(101, 16, generator=g, requires_grad=True)
    labels = torch.randint(101, (3, 11), generator=g)
    wanted = token_logprobs(hidden @ weight.T, labels)
    gradients = torch.autograd.grad(wanted, (hidden, weight), upstream(labels))
    for size in (1, 5, 10**9, None):
        got = chunked_token_logprobs(hidden, weight, labels, chunk=size)
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(
            torch.autograd.grad(got, (hidden, weight), upstream(labels)), gradients, rtol=1e-4, atol=1e-5
        )


def test_a_frozen_weight_gets_no_gradient_and_costs_none() -> None:
    hidden, weight = torch.randn(1, 4, 8, requires_grad=True), torch.randn(20, 8)
    labels = torch.tensor([[1, 2, 3, 4]])
    with Largest() as largest:
        chunked_token_logprobs(hidden, weight, labels, chunk=1).sum().backward()
    assert hidden.grad is not None and weight.grad is None
    assert largest.numel <= 32  # of the hidden states; the weight's gradient would have 160


class Largest(TorchDispatchMode):
    """How many elements the largest tensor has that an operator makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        views = func.is_view or func.overloadpacket in (torch.ops.aten.detach, torch.ops.aten.t)
        for t in (out,) if isinstance(out, Tensor) else out if isinstance(out, tuple | list) else ():
            if isinstance(t, Tensor) and not views:
                self.numel = max(self.numel, t.numel())
        return out


def test_the_full_logits_never_exist_where_chunks_are_promised() -> None:
    hidden, weight = torch.randn(2, 32, 4, requires_grad=True), torch.randn(50, 4, requires_grad=True)
    labels = torch.randint(50, (2, 32))
    seen = {}
    for name, form in {"chunked": chunked_token_logprobs, "full": lambda h, w, y: token_logprobs(h @ w.T, y)}.items():
        with Largest() as largest:
            options = {"chunk": 4} if name == "chunked" else {}
            form(hidden, weight, labels, **options).sum().backward()
        seen[name] = largest.numel
    assert seen == {"chunked": 256, "full": 64 * 50}  # 256: hidden states; a chunk has 200 logits


@pytest.mark.skipif(not ON_CPU, reason="a GPU is here: tests/gpu runs the kernels on it")
def test_a_gradient_in_place_is_there_once() -> None:
    logits, labels = given("random")
    held = logits.requires_grad_() * 1
    got = fused_token_logprobs(held, labels, in_place=True)
    (wanted,) = torch.autograd.grad(token_logprobs(logits, labels), logits, upstream(labels))
    (gradient,) = torch.autograd.grad(got, logits, upstream(labels), retain_graph=True)
    torch.testing.assert_close(gradient, wanted)
    torch.testing.assert_close(held.detach(), wanted)  # it stands where the logits were
    with pytest.raises(RuntimeError, match="a second backward needs in_place=False"):
        torch.autograd.grad(got, logits, upstream(labels))
    kept = fused_token_logprobs(logits, labels)
    first, second = (torch.autograd.grad(kept, logits, upstream(labels), retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.skipif(not ON_CPU, reason="a GPU is here: tests/gpu runs the kernels on it")
@pytest.mark.parametrize("form", ["fused", "fused_entropy"])
def test_large_and_strided_logits_are_read_by_blocks(form: str) -> None:
    g = torch.Generator().manual_seed(5)
    logits = torch.randn(1, 3, 20_000, generator=g)[..., ::2][..., :9001].requires_grad_()
    labels = torch.tensor([[9000, 0, 4096]])
    got, wanted = FORMS[form](logits, labels), token_logprobs(logits, labels)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(
        *(torch.autograd.grad(x, logits, upstream(labels).expand_as(x))[0] for x in (got, wanted)), rtol=1e-4, atol=1e-6
    )
    if form == "fused_entropy":  # the largest logit of a lane comes in any block
        for x in (logits, logits.flip(-1), 100 * logits):
            torch.testing.assert_close(
                ENTROPIES["fused"](x, labels), ENTROPIES["eager"](x, labels), rtol=1e-5, atol=1e-6
            )
    with pytest.raises(ValueError, match="wanted BSV and int64 BS"):
        FORMS[form](logits, labels.int())


@pytest.mark.skipif(not ON_CPU, reason="a GPU is here: tests/gpu runs the kernels on it")
def test_the_fused_entropy_takes_logits_that_are_masked_out() -> None:
    logits = torch.tensor([[[1.0, float("-inf"), 2.0]]], requires_grad=True)
    got = fused_logprobs_and_entropy(logits, torch.tensor([[0]]))
    few = logits.detach()[..., [0, 2]].requires_grad_()
    wanted = logprobs_and_entropy(few, torch.tensor([[0]]))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)
    gradient, expected = (
        torch.autograd.grad(sum(found).sum(), x)[0] for found, x in ((got, logits), (wanted, few))
    )  # fmt: skip
    torch.testing.assert_close(gradient[..., [0, 2]], expected)
    assert gradient[0, 0, 1] == 0


def test_completions_are_summed_or_averaged_over_tokens_that_count() -> None:
    logps = torch.tensor([[0.0, -1.0, -2.0], [0.0, -5.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[IGNORE, 4, 5], [IGNORE, 6, IGNORE], [IGNORE, IGNORE, IGNORE]])
    assert sequence_logps(logps, labels).tolist() == [-3.0, -5.0, 0.0]
    means = sequence_logps(logps, labels, "mean")
    assert means.tolist() == [-1.5, -5.0, 0.0]
    assert means.grad_fn is not None and torch.autograd.grad(means.sum(), logps)[0].isfinite().all()


def test_chunks_are_autocast_as_products_are_in_forward_and_backward() -> None:
    g = torch.Generator().manual_seed(5)
    hidden_BSH = torch.randn(2, 20, 16, generator=g).requires_grad_()
    weight_VH = torch.randn(301, 16, generator=g).requires_grad_()
    labels_BS = torch.randint(301, (2, 20), generator=g)
    found = []
    for form in (lambda h, w, y: token_logprobs(h @ w.T, y), chunked_token_logprobs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logps_BS = form(hidden_BSH, weight_VH, labels_BS)
        found.append((logps_BS, *torch.autograd.grad(logps_BS.sum(), (hidden_BSH, weight_VH))))
    for eager, chunked in zip(*found, strict=True):
        off = torch.linalg.vector_norm(chunked - eager) / torch.linalg.vector_norm(eager)
        assert chunked.dtype == eager.dtype and off < 0.01
