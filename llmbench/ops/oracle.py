"""What the outputs of an op should be, and how far off they may be: flash-attention's rule."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from llmbench.ops.op import Expected, Op
from llmbench.ops.work import as_tuple, floating
from llmbench.suite.catalog import Phase

LOSS_TOLERANCE = {torch.float64: 1e-9, torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
"""Of the largest value. Source: cut-cross-entropy, tests/test_cce_loss_backward.py."""
INDEX_OFF = 1 / 2  # of what an index holds: the most that it may be off by; what was not computed is off by all of it
INDEX_PLAIN = 1 / 32  # of what an index holds: a plain computation that is off by more says nothing of that index


def expected(
    op: Op[Any], p: Any, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()
) -> list[Expected]:
    """What `Work.call` should return in this phase, in its order: outputs, then gradients of the floating inputs.

    From `op.oracle`, else from `op.reference`, run one precision above the inputs for the reference and in their own
    precision for the allowance. `douts` are the gradients of the floating outputs. Empty for an op with neither.
    """
    if op.oracle is not None:
        return op.oracle(p, phase, inputs, douts)
    if op.reference is None:
        return []
    refs, lows = _both(op, p, phase, inputs, douts)
    return [
        expect(name, ref, low, factor=2.0 if name.startswith("out") else 3.0)
        for (name, ref), (_, low) in zip(refs, lows, strict=True)
    ]


def expected_of_loss(
    op: Op[Any], p: Any, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()
) -> list[Expected]:
    """What a loss and its gradients should be: they may be as wrong as a plain computation, and by `LOSS_TOLERANCE`.

    Of the largest value of each, since gradients of a mean are small. Sums over a vocabulary or a batch are long, and
    each way of cutting them rounds in its own way. Source: cut-cross-entropy's rule.
    """
    found = []
    for (name, ref), (_, low) in zip(*_both(op, p, phase, inputs, douts), strict=True):
        tolerance = LOSS_TOLERANCE[inputs[0].dtype]
        error, largest, size = low.to(ref.dtype) - ref, ref.abs().max().item(), torch.linalg.vector_norm(ref).item()
        off = torch.linalg.vector_norm(error).item() / size if size else 0.0
        plain = expect(name, ref, low, factor=2.0)
        allowed = 2 * error.abs().max().item() + tolerance * largest
        found.append(plain._replace(allowed=allowed, rel_allowed=2 * off + tolerance))
    return found


def _both(
    op: Op[Any], p: Any, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor]
) -> tuple[list[tuple[str, Tensor]], list[tuple[str, Tensor]]]:
    """Names and values by the reference, one precision above the inputs and in their own."""
    with ieee_matmul():
        refs = _run(op, p, phase, [wider(t) for t in inputs], [wider(t) for t in douts])
    return refs, _run(op, p, phase, inputs, douts)


def expect(name: str, ref: Tensor, low: Tensor, *, factor: float, scale: float = 0.0) -> Expected:
    """What an output should be, and how far off it may be: 2 for `factor` is the rule for outputs, 3 for gradients.

    `ref` is one precision above the inputs, `low` a plain computation in the precision of the inputs. A kernel may be
    `factor` times as wrong as the latter, plus twice the rounding: in any element (where flash-attention takes the
    rounding of adding and taking away 0.3), and as a whole (Frobenius norms). The latter catches what a limit set by
    the largest element hides, and each index of each axis (token, head) alone catches what the whole hides: in a long
    causal sequence the last keys have small gradients, and may not be zero.
    Source: flash-attention, tests/test_flash_attn.py and hopper/test_flash_attn.py. Theirs is for 16 bits; in fp32 a
    plain computation may be lucky, so eight fp32 roundings of the largest value are added. (Without them right kernels
    that sum in another order, or recompute probabilities from the log-sum-exp, were seen at 1.05 and 1.29 of it.)
    It may be lucky too where all hinges on few numbers: two steps of the dtype are added, shared by the rows along the
    last axis. (Without it, 2 % of right 16-bit gradients of two tokens and one head failed; from six tokens on, none.)
    Both are of the largest value, or of `scale`: the size of what is summed, where it may cancel (dq of one token).
    """
    if not ref.numel() or not ref.is_floating_point():
        return Expected(name, ref, 0.0, dtype=low.dtype)
    eps = torch.finfo(torch.float32).eps
    rounded = ref.to(low.dtype)
    plain_error = low.to(ref.dtype) - ref
    error = plain_error.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)  # an overflow allows nothing
    noise = (rounded + 0.3 - 0.3 - rounded).abs().max().item()
    largest = ref.abs().max().item()
    rounds = 8.0 * eps * max(largest, scale)
    rows = ref.numel() // ref.shape[-1] if ref.ndim > 1 else ref.numel()
    steps = 2.0 * torch.finfo(low.dtype).eps * max(largest, scale) / rows
    allowed = factor * error.abs().max().item() + 2.0 * noise + rounds + steps
    size = torch.linalg.vector_norm(ref).item()
    if size == 0.0:
        return Expected(name, ref, allowed, dtype=low.dtype)
    rounding = torch.linalg.vector_norm(rounded.to(ref.dtype) - ref).item()
    off = factor * torch.linalg.vector_norm(error).item() + 2.0 * rounding + steps * ref.numel() ** 0.5
    rel_allowed = off / size + rounds / largest
    by_index = _by_index(ref, plain_error, rounds) if low.dtype != ref.dtype else ()
    return Expected(name, ref, allowed, rel_allowed, by_index, low.dtype)


def _by_index(ref: Tensor, plain_error: Tensor, rounds: float) -> tuple[Tensor, ...]:
    """For each axis, how far off (Frobenius norm) each index of it may be: half of what it holds, and roundings.

    Infinity where a plain computation is not right to a 32nd: rounding may decide there (the query of the first causal
    token has a gradient of zero).
    """
    limits = []
    for axis, n in enumerate(ref.shape):
        others = [a for a in range(ref.ndim) if a != axis]
        size, off = (torch.linalg.vector_norm(t, dim=others) if others else t.abs() for t in (ref, plain_error))
        limit = INDEX_OFF * size + rounds * (ref.numel() / n) ** 0.5
        limits.append(limit.masked_fill(~(off < INDEX_PLAIN * size), math.inf))
    return tuple(limits)


def wider(t: Tensor) -> Tensor:
    """`t` one precision up: fp32 for 16 bits and less, fp64 for fp32 and fp64. Integers stay as they are."""
    return t.detach().to(wider_dtype(t.dtype)) if t.is_floating_point() else t


def wider_dtype(dtype: torch.dtype) -> torch.dtype:
    """fp32 for floating types of 16 bits and less, fp64 for the others."""
    return torch.float32 if dtype.itemsize < 4 else torch.float64


@contextmanager
def ieee_matmul() -> Iterator[None]:
    """Matrix products in full fp32, whatever the case allows its own (tf32): for the reference."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _run(
    op: Op[Any], p: Any, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor]
) -> list[tuple[str, Tensor]]:
    """Names and values of outputs and gradients of the reference on these inputs."""
    assert op.reference is not None
    wants_grads = phase in ("bwd", "fwd_bwd")
    with torch.device(inputs[0].device if inputs else "cpu"):
        fn = op.reference(p)
    with torch.set_grad_enabled(wants_grads):
        leaves = op.leaves(inputs, grad=wants_grads)
        outs = as_tuple(fn(*leaves))
    named: list[tuple[str, Tensor]] = []
    if phase != "bwd":
        named += [("out" if len(outs) == 1 else f"out{i}", o.detach()) for i, o in enumerate(outs)]
    if wants_grads:
        wanted = [t for t in leaves if t.requires_grad]
        names = [f"d{op.input_name(i)}" for i, t in enumerate(leaves) if t.requires_grad]
        grads = torch.autograd.grad(floating(outs), wanted, douts, materialize_grads=True)
        named += zip(names, grads, strict=True)
    return named
