"""Whether outputs are right: compared with an oracle, on the very shape that is timed."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

POISONED = 3  # blocks for each output: an allocator may keep several of one size


class Wanted(Protocol):
    """What an output should be: a reference of higher precision, and the absolute and relative error allowed."""

    @property
    def name(self) -> str: ...
    @property
    def ref(self) -> Tensor: ...
    @property
    def allowed(self) -> float: ...
    @property
    def rel_allowed(self) -> float: ...


class Judgement(NamedTuple):
    """Errors over all outputs (`max_error` absolute, `rel_error` Frobenius), and what is wrong, None if nothing."""

    max_error: float
    rel_error: float
    allowed: float
    why: str | None


def judge(outputs: Sequence[Tensor], wanted: Sequence[Wanted]) -> Judgement:
    """Compares each output with its oracle; NaN and infinity never pass where the oracle is finite."""
    if len(outputs) != len(wanted):
        return Judgement(math.nan, math.nan, math.nan, f"gave {len(outputs)} outputs, wanted {len(wanted)}")
    worst = Judgement(0.0, 0.0, math.inf, None)
    nearest = -1.0
    for got, want in zip(outputs, wanted, strict=True):
        one = _judge_one(got, want)
        if one.why is not None:
            return one
        share = one.max_error / want.allowed if want.allowed > 0 else 0.0
        worst = Judgement(
            max(worst.max_error, one.max_error),
            max(worst.rel_error, one.rel_error),
            want.allowed if share > nearest else worst.allowed,
            None,
        )
        nearest = max(nearest, share)
    return worst


def _judge_one(got: Tensor, want: Wanted) -> Judgement:
    if got.shape != want.ref.shape:
        shapes = f"{tuple(got.shape)}, wanted {tuple(want.ref.shape)}"
        return Judgement(math.nan, math.nan, want.allowed, f"{want.name} has shape {shapes}")
    ref = want.ref if want.ref.is_floating_point() else want.ref.double()
    error = got.detach().to(ref.dtype, copy=True).sub_(ref)  # a copy: the output may be a tensor that lives on
    max_error = float(error.abs().max()) if error.numel() else 0.0
    scale = float(torch.linalg.vector_norm(ref))
    rel_error = float(torch.linalg.vector_norm(error)) / scale if scale else max_error
    why = None
    if not math.isfinite(max_error):
        why = f"{want.name} has NaN or infinite values where the oracle has none"
    elif not math.isfinite(want.allowed):  # what overflows in a plain computation cannot judge anybody
        why = f"{want.name} cannot be judged: the oracle allows {want.allowed}"
    elif max_error > want.allowed:
        why = f"{want.name} is off by {max_error:.3g}, allowed {want.allowed:.3g} (relative {rel_error:.3g})"
    elif rel_error > want.rel_allowed:
        why = f"{want.name} is off by {rel_error:.3g} as a whole, allowed {want.rel_allowed:.3g}"
    return Judgement(max_error, rel_error, want.allowed, why)


def changed(inputs: Sequence[Tensor], pristine: Sequence[Tensor], name: Callable[[int], str]) -> str | None:
    """`changed its input 'k'` for the first input that differs; None if there is none."""
    for i, (now, before) in enumerate(zip(inputs, pristine, strict=True)):
        if not torch.equal(now, before):
            return f"changed its input {name(i)!r}"
    return None


def poison(wanted: Sequence[Wanted], *, like: Sequence[Tensor]) -> None:
    """Leaves NaN in freed blocks of the outputs' sizes, so that an output that is not written is not right by luck."""
    kind = next((t for t in like if t.is_floating_point()), None)
    if kind is not None:
        for _ in range(2):  # the first time a C allocator may map a size, the second time it takes it from its heap
            blocks = [kind.new_full(w.ref.shape, math.nan) for w in wanted for _ in range(POISONED)]
            del blocks


def stale(call: Callable[[], Sequence[Tensor]], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether the outputs stay the same whichever of the inputs changes: they are remembered, not computed.

    Each input is changed in place for one call, and put back.
    """
    before = [t.clone() for t in outputs]
    for tensor in inputs:
        kept = tensor.clone()
        with torch.no_grad():
            tensor.copy_(kept.flip(-1) * 0.5 + kept * 0.25 if kept.ndim else kept * 0.5)
        try:
            after = call()
            same = all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
        finally:
            with torch.no_grad():
                tensor.copy_(kept)
        if not same:
            return False
    return True
