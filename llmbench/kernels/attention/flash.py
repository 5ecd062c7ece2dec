"""FlashAttention on our Triton kernels: the functions that users call, and their registration with torch.

Registered as `torch.ops.llmbench.flash_attention` and `..._varlen` with fakes, gradients and FLOP formulas, so that
torch.compile, fake tensors, selective checkpointing and FlopCounterMode see them as they see torch's own.
"""

# B batch, H query heads, G kv heads, S, K query and key tokens, T, U those of all sequences, D head dim

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

from llmbench.kernels.attention.arguments import autocast, check, check_cuts, positive
from llmbench.kernels.attention.launch import Problem, run_backward, run_forward
from llmbench.kernels.attention.span import Span, span_of
from llmbench.kernels.device import check_device


@overload
def flash_attention(
    q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, causal: bool = ..., window: tuple[int, int] | None = ...,
    scale: float | None = ..., return_lse: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def flash_attention(
    q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, causal: bool = ..., window: tuple[int, int] | None = ...,
    scale: float | None = ..., return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...  # fmt: skip
def flash_attention(
    q_BHSD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, causal: bool = False, window: tuple[int, int] | None = None,
    scale: float | None = None, return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """out_BHSD = softmax(scale q k^T) v in the dtype of q; with `return_lse` (out_BHSD, lse_BHS), both differentiable.

    Query head h reads kv head h // (H / G). float16, bfloat16 or float32 (multiplied as torch multiplies float32:
    `torch.get_float32_matmul_precision`), head dim up to 256; softmax and lse (natural log) in float32. `causal` and
    `window` = (left, right), inclusive, are aligned bottom-right: the last query is at the last key; a negative side of
    a window is unlimited. A query that sees no key gives 0, and lse -inf. `scale` is 1 / sqrt(D) if None.
    Memory: out and 4 bytes a query and head; the gradients are the same bits each time.
    Needs a GPU, or TRITON_INTERPRET=1 for the interpreter on the CPU, which knows no bfloat16.
    Raises: ValueError for shapes and dtypes that it does not take, RuntimeError where there is no device for it.
    """
    q_BHSD, k_BGKD, v_BGKD = autocast(q_BHSD, k_BGKD, v_BGKD)
    check(q_BHSD, k_BGKD, v_BGKD, ndim=4)
    q_BHSD, scale = positive(q_BHSD, scale)
    left, right = span_of(causal=causal, window=window)
    out_BHSD, lse_BHS = torch.ops.llmbench.flash_attention(q_BHSD, k_BGKD, v_BGKD, scale, left, right)
    return (out_BHSD, lse_BHS) if return_lse else out_BHSD


@overload
def flash_attention_varlen(
    q_THD: Tensor, k_UGD: Tensor, v_UGD: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int,
    max_seqlen_k: int, *, causal: bool = ..., window: tuple[int, int] | None = ..., scale: float | None = ...,
    return_lse: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def flash_attention_varlen(
    q_THD: Tensor, k_UGD: Tensor, v_UGD: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int,
    max_seqlen_k: int, *, causal: bool = ..., window: tuple[int, int] | None = ..., scale: float | None = ...,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...  # fmt: skip
def flash_attention_varlen(
    q_THD: Tensor, k_UGD: Tensor, v_UGD: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int,
    max_seqlen_k: int, *, causal: bool = False, window: tuple[int, int] | None = None, scale: float | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """out_THD: `flash_attention` of each of the sequences that are packed; with `return_lse` (out_THD, lse_HT).

    Sequence i has the queries cu_seqlens_q[i] to cu_seqlens_q[i + 1], int32 with a leading 0, and its keys likewise;
    either may be none. `max_seqlen_q` and `max_seqlen_k` are the longest; a larger number is only slower. Tokens behind
    the last cut give 0. On a GPU the cuts are not looked at, since that would wait for it: they must rise from 0 to at
    most the number of tokens. The order of the arguments is that of `flash_attn_varlen_func`. The rest is as there.
    """
    q_THD, k_UGD, v_UGD = autocast(q_THD, k_UGD, v_UGD)
    check(q_THD, k_UGD, v_UGD, ndim=3)
    check_cuts("cu_seqlens_q", cu_seqlens_q, max_seqlen_q, q_THD)
    check_cuts("cu_seqlens_k", cu_seqlens_k, max_seqlen_k, k_UGD)
    if len(cu_seqlens_q) != len(cu_seqlens_k):
        raise ValueError(f"cu_seqlens_q has {len(cu_seqlens_q)} entries, cu_seqlens_k {len(cu_seqlens_k)}")
    q_THD, scale = positive(q_THD, scale)
    left, right = span_of(causal=causal, window=window)
    out_THD, lse_HT = torch.ops.llmbench.flash_attention_varlen(
        q_THD, k_UGD, v_UGD, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, scale, left, right
    )
    return (out_THD, lse_HT) if return_lse else out_THD


def _rows(*tensors: Tensor) -> list[Tensor]:
    """The kernels read the head dim in one piece."""
    return [t if t.stride(-1) == 1 else t.contiguous() for t in tensors]


def _like(t: Tensor) -> Tensor:
    """Memory for a tensor like this one, laid out as it is as far as the head dim stays in one piece."""
    found = torch.empty_like(t)
    return found if found.stride(-1) == 1 else torch.empty(t.shape, dtype=t.dtype, device=t.device)


def _dense(q: Tensor, k: Tensor, scale: float, left: int, right: int) -> Problem:
    B, H, S, D = q.shape
    K = k.shape[2]
    return Problem(B, S, K, H, k.shape[1], D, Span(left, right).within(S + K), scale)


def _varlen(
    q: Tensor, k: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, scale: float, left: int, right: int
) -> Problem:
    _, H, D = q.shape
    cuts = cu_q.contiguous(), cu_k.contiguous()
    span = Span(left, right).within(max_q + max_k)
    return Problem(len(cu_q) - 1, max_q, max_k, H, k.shape[1], D, span, scale, *cuts)


def _forward(problem: Problem, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    check_device(q)
    out, lse = _outputs(q)
    q, k, v = _rows(q, k, v)
    if out.numel():
        run_forward(problem, q, k, v, out, lse)
    return out, lse


def _outputs(q: Tensor) -> tuple[Tensor, Tensor]:
    """Memory for out, as q lies in memory, and lse: BHS, or HT of packed sequences, which may not have all tokens."""
    rows = q.shape[:3] if q.ndim == 4 else (q.shape[1], q.shape[0])
    lse = torch.empty(rows, dtype=torch.float32, device=q.device)
    return (_like(q), lse) if q.ndim == 4 else (_like(q).zero_(), lse.fill_(-torch.inf))


def _backward(
    problem: Problem, dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    check_device(q)
    grads = _like(q), _like(k), _like(v)
    if q.ndim == 3:  # there may be tokens that no sequence has
        for grad in grads:
            grad.zero_()
    q, k, v, out, dout = _rows(q, k, v, out, dout)
    if q.numel() and k.numel():
        run_backward(problem, q, k, v, out, lse, dout, None if dlse is None else dlse.contiguous(), grads)
    else:
        for grad in grads:
            grad.zero_()
    return grads


def _op(name: str, schema: str) -> Any:
    return torch.library.custom_op(f"llmbench::{name}", mutates_args=(), schema=schema)


_SPAN = "float scale, int left, int right"
_CUT = "Tensor cu_seqlens_q, Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k"
_SAVED = "Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse"


@_op("flash_attention", f"(Tensor q, Tensor k, Tensor v, {_SPAN}) -> (Tensor, Tensor)")
def _flash(q: Tensor, k: Tensor, v: Tensor, scale: float, left: int, right: int) -> tuple[Tensor, Tensor]:
    return _forward(_dense(q, k, scale, left, right), q, k, v)


@_op("flash_attention_backward", f"(Tensor dout, Tensor? dlse, {_SAVED}, {_SPAN}) -> (Tensor, Tensor, Tensor)")
def _flash_backward(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float,
    left: int, right: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return _backward(_dense(q, k, scale, left, right), dout, dlse, q, k, v, out, lse)


@_op("flash_attention_varlen", f"(Tensor q, Tensor k, Tensor v, {_CUT}, {_SPAN}) -> (Tensor, Tensor)")
def _flash_varlen(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, scale: float, left: int,
    right: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return _forward(_varlen(q, k, cu_q, cu_k, max_q, max_k, scale, left, right), q, k, v)


@_op(
    "flash_attention_varlen_backward",
    f"(Tensor dout, Tensor? dlse, {_SAVED}, {_CUT}, {_SPAN}) -> (Tensor, Tensor, Tensor)",
)
def _flash_varlen_backward(
    dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, cu_q: Tensor,
    cu_k: Tensor, max_q: int, max_k: int, scale: float, left: int, right: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return _backward(_varlen(q, k, cu_q, cu_k, max_q, max_k, scale, left, right), dout, dlse, q, k, v, out, lse)


@_flash.register_fake
@_flash_varlen.register_fake
def _(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _outputs(q)


@_flash_backward.register_fake
@_flash_varlen_backward.register_fake
def _(dout: Tensor, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(k), _like(v)


def _save(ctx: Any, inputs: Sequence[Any], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *rest = inputs
    tensors = [t for t in rest if isinstance(t, Tensor)]
    ctx.save_for_backward(q, k, v, *output, *tensors)
    ctx.numbers = [n for n in rest if not isinstance(n, Tensor)]
    ctx.set_materialize_grads(False)


def _derive(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse, *cut = ctx.saved_tensors
    op = torch.ops.llmbench.flash_attention_varlen_backward if cut else torch.ops.llmbench.flash_attention_backward
    dout = torch.zeros_like(out) if dout is None else dout
    grads = op(dout, dlse, q, k, v, out, lse, *cut, *ctx.numbers)
    return (*grads, *[None] * (len(cut) + len(ctx.numbers)))


for _each in (_flash, _flash_varlen):
    _each.register_autograd(_derive, setup_context=_save)
