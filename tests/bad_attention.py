"""Implementations of attention that are wrong, each in one way: a plugin, `bad_attention:register`.

All are made of a right one, so that they are wrong in nothing else.
"""

# B batch, H query heads, G kv heads, R query heads per kv head, S tokens, K keys, D head dim

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmbench.kernels.attention import naive_attention
from llmbench.ops import attention
from llmbench.ops.attention import AttentionParams

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor | None, ...]]  # q, k, v, dout -> dq, dk, dv
Setup = Callable[[AttentionParams], Forward]

FORWARD = ("infer", "fwd")
BACKWARD = ("bwd", "fwd_bwd")


class Bad:
    """Setups by name, with the phases in which each is wrong."""

    def __init__(self) -> None:
        self.setups: dict[str, Setup] = {}
        self.phases: dict[str, tuple[str, ...]] = {}

    def __call__(self, *phases: str) -> Callable[[Setup], Setup]:
        def add(setup: Setup) -> Setup:
            self.setups[setup.__name__], self.phases[setup.__name__] = setup, phases
            return setup

        return add


bad = Bad()


def register() -> None:
    """Adds them to op `attention`."""
    for name, setup in bad.setups.items():
        attention.impl(name, phases=bad.phases[name])(setup)


class _Own(torch.autograd.Function):
    """Attention with a forward and a backward that are given."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, forward: Forward, backward: Backward) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.run = backward
        return forward(q, k, v)

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        return (*ctx.run(*ctx.saved_tensors, dout), None, None)


def tail_of(seq_len: int) -> int:
    """How many of the last tokens get lost."""
    return max(1, seq_len // 16)


def own(forward: Forward, backward: Backward) -> Forward:
    return lambda q, k, v: _Own.apply(q, k, v, forward, backward)


def right(p: AttentionParams) -> Forward:
    return lambda q, k, v: naive_attention(q, k, v, causal=p.mask == "causal")


def right_gradients(p: AttentionParams) -> Backward:
    def backward(q: Tensor, k: Tensor, v: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (q, k, v)]
            return torch.autograd.grad(right(p)(*leaves), leaves, dout)

    return backward


def masked(
    p: AttentionParams, first_hidden: int, *, dropped: int = 0, scale: float | None = None, repeated: bool = True
) -> Forward:
    """Causal, right but for its mask (from a diagonal on), its last keys, its scale, or the kv heads that it reads."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        R = q.shape[1] // k.shape[1]
        k, v = ((t.repeat_interleave(R, 1) if repeated else t.repeat(1, R, 1, 1)) for t in (k, v))
        scores = (q * (scale or q.shape[-1] ** -0.5)) @ k.mT
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(first_hidden)
        hidden[:, p.seq_len - dropped :] = True
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        return scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ v

    return attend


@bad(*FORWARD, *BACKWARD)
def zeros(p: AttentionParams) -> Forward:
    """Zeros, and gradients of zero."""
    return own(lambda q, k, v: torch.zeros_like(q), lambda *given: tuple(map(torch.zeros_like, given[:3])))


@bad(*FORWARD, *BACKWARD)
def one_key_too_many(p: AttentionParams) -> Forward:
    """Causal, one diagonal too far: each query sees the next key."""
    return masked(p, 2)


@bad(*FORWARD, *BACKWARD)
def one_key_too_few(p: AttentionParams) -> Forward:
    """Causal, one diagonal short: no query sees its own key."""
    return masked(p, 0)


@bad(*FORWARD, *BACKWARD)
def no_mask(p: AttentionParams) -> Forward:
    """Not causal."""
    return masked(p, p.seq_len)


@bad(*FORWARD, *BACKWARD)
def no_scale(p: AttentionParams) -> Forward:
    """Scores that are not divided by the root of D."""
    return masked(p, 1, scale=1.0)


@bad(*FORWARD, *BACKWARD)
def heads_interleaved(p: AttentionParams) -> Forward:
    """Query head h reads kv head h % G, not h // R."""
    return masked(p, 1, repeated=False)


@bad(*FORWARD, *BACKWARD)
def stale(p: AttentionParams) -> Forward:
    """Remembers the output and the gradients of the first call."""
    kept: dict[str, Any] = {}

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return kept.setdefault("out", right(p)(q, k, v)).clone()

    def backward(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.clone() for t in kept.setdefault("grads", right_gradients(p)(*given)))

    return own(forward, backward)


@bad("fwd_bwd")
def stale_forward(p: AttentionParams) -> Forward:
    """Remembers the output of the first call; its gradients are right."""
    kept: dict[str, Tensor] = {}
    return own(lambda *qkv: kept.setdefault("out", right(p)(*qkv)).clone(), right_gradients(p))


@bad(*FORWARD)
def stale_by_address(p: AttentionParams) -> Forward:
    """Remembers outputs by where the inputs are, and computes again when torch says that these were written to."""
    kept: dict[object, Tensor] = {}

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        key = tuple((t.data_ptr(), t._version) for t in (q, k, v))
        if key not in kept:
            kept[key] = right(p)(q, k, v)
        return kept[key]

    return call


@bad(*FORWARD, *BACKWARD)
def tail_unwritten(p: AttentionParams) -> Forward:
    """Leaves the last rows of its output, and the last keys of dk and dv, as it finds them in fresh memory."""
    tail = tail_of(p.seq_len)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(q)
        out[:, :, :-tail] = right(p)(q, k, v)[:, :, :-tail]
        return out

    def backward(*given: Tensor) -> tuple[Tensor, ...]:
        fresh = [torch.empty_like(t) for t in given[1:3]]
        dq, dk, dv = right_gradients(p)(*given)
        fresh[0][:, :, :-tail], fresh[1][:, :, :-tail] = dk[:, :, :-tail], dv[:, :, :-tail]
        return dq, *fresh

    return own(forward, backward)


@bad(*FORWARD, *BACKWARD)
def tail_kept(p: AttentionParams) -> Forward:
    """Computes last rows, and dk and dv of the last keys, in the first call alone, into memory that it keeps."""
    tail, kept = tail_of(p.seq_len), {}

    def keep(name: str, value: Tensor) -> Tensor:
        mine = kept.setdefault(name, value.clone())
        mine[:, :, :-tail] = value[:, :, :-tail]
        return mine.clone()

    def backward(*given: Tensor) -> tuple[Tensor, ...]:
        dq, dk, dv = right_gradients(p)(*given)
        return dq, keep("dk", dk), keep("dv", dv)

    return own(lambda *qkv: keep("out", right(p)(*qkv)), backward)


@bad(*FORWARD, *BACKWARD)
def tail_zero(p: AttentionParams) -> Forward:
    """Its last row, and dk and dv of the last key, are zero: the ragged last block is not there."""

    def cut(t: Tensor) -> Tensor:
        return torch.cat([t[:, :, :-1], torch.zeros_like(t[:, :, -1:])], 2)

    def backward(*given: Tensor) -> tuple[Tensor, ...]:
        dq, dk, dv = right_gradients(p)(*given)
        return dq, cut(dk), cut(dv)

    return own(lambda *qkv: cut(right(p)(*qkv)), backward)


@bad(*BACKWARD)
def tail_twice(p: AttentionParams) -> Forward:
    """Adds up dk and dv of the last keys twice."""
    tail = tail_of(p.seq_len)

    def backward(*given: Tensor) -> tuple[Tensor, ...]:
        dq, dk, dv = right_gradients(p)(*given)
        dk[:, :, -tail:] *= 2
        dv[:, :, -tail:] *= 2
        return dq, dk, dv

    return own(right(p), backward)


@bad(*FORWARD, *BACKWARD)
def last_keys_dropped(p: AttentionParams) -> Forward:
    """No query sees the last keys."""
    return masked(p, 1, dropped=tail_of(p.seq_len))


@bad(*BACKWARD)
def no_gradient(p: AttentionParams) -> Forward:
    """Returns None for dk."""

    def backward(*given: Tensor) -> tuple[Tensor | None, ...]:
        dq, _, dv = right_gradients(p)(*given)
        return dq, None, dv

    return own(right(p), backward)


@bad(*BACKWARD)
def zero_gradient(p: AttentionParams) -> Forward:
    """Its keys are cut off from the graph."""
    return lambda q, k, v: right(p)(q, k.detach(), v)


@bad(*BACKWARD)
def detached(p: AttentionParams) -> Forward:
    """Has no graph at all."""
    return lambda q, k, v: right(p)(q, k, v).detach()


@bad(*BACKWARD)
def one_head_of_group(p: AttentionParams) -> Forward:
    """Gives dk and dv of the first query head of each group, not their sum."""
    R = p.num_heads // p.num_kv_heads

    def backward(q: Tensor, k: Tensor, v: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        dq = right_gradients(p)(q, k, v, dout)[0]
        return dq, *right_gradients(p)(q[:, ::R], k, v, dout[:, ::R])[1:]

    return own(right(p), backward)


@bad(*FORWARD)
def clobbers_input(p: AttentionParams) -> Forward:
    """Scales its query in place."""

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q.data.mul_(q.shape[-1] ** -0.5)
        return naive_attention(q, k, v, causal=p.mask == "causal", scale=1.0)

    return call


@bad(*BACKWARD)
def clobbers_in_backward(p: AttentionParams) -> Forward:
    """Its backward leaves its gradients in the value tensor."""

    def backward(q: Tensor, k: Tensor, v: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        grads = right_gradients(p)(q, k, v, dout)
        v.data.copy_(grads[2])
        return grads

    return own(right(p), backward)


@bad(*BACKWARD)
def clobbers_dout(p: AttentionParams) -> Forward:
    """Its backward scales the gradient that it is given in place."""

    def backward(q: Tensor, k: Tensor, v: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
        grads = right_gradients(p)(q, k, v, dout)
        dout.mul_(0.5)
        return grads

    return own(right(p), backward)


@bad(*FORWARD)
def another_dtype(p: AttentionParams) -> Forward:
    """Right, but fp32 for 16-bit inputs, and fp64 for fp32."""
    return lambda q, k, v: right(p)(q, k, v).to(torch.float64 if p.dtype == "float32" else torch.float32)
