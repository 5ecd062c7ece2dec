"""Whether outputs are right: compared with an oracle, on the very shape that is timed."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

POISONED = 3  # blocks for each output, at least: an allocator may keep several of one size
POISONED_BYTES = 2**20  # for each output: it keeps more of a small size, after a few neighbours
NAMED = 3  # outputs, where their count is wrong
MANY_ROWS = 16  # along the last axis; fewer may share one rounding: a gradient of softmax is a number times a row


class Wanted(Protocol):
    """What an output should be: a reference of higher precision, and the error allowed.

    Absolute of an element, relative of the whole, and of each index of each axis alone (Frobenius norms).
    """

    @property
    def name(self) -> str: ...
    @property
    def ref(self) -> Tensor: ...
    @property
    def allowed(self) -> float: ...
    @property
    def rel_allowed(self) -> float: ...
    @property
    def by_index(self) -> Sequence[Tensor]: ...
    @property
    def dtype(self) -> torch.dtype | None: ...


class Judgement(NamedTuple):
    """Errors over all outputs (`max_error` absolute, `rel_error` Frobenius), and what is wrong, None if nothing."""

    max_error: float
    rel_error: float
    allowed: float
    why: str | None


def judge(outputs: Sequence[Tensor], wanted: Sequence[Wanted], *, before: Sequence[Tensor] | None = None) -> Judgement:
    """Compares each output with its oracle; NaN and infinity never pass where the oracle is finite.

    `before` are outputs for other inputs, so that what is wrong for being remembered is told as that.
    """
    if len(outputs) != len(wanted):
        names = ", ".join([*(w.name for w in wanted[:NAMED]), *(["…"] if len(wanted) > NAMED else [])])
        why = f"gave {len(outputs)} output{'s' * (len(outputs) != 1)}, wanted {len(wanted)}: {names}"
        return Judgement(math.nan, math.nan, math.nan, why)
    worst = Judgement(0.0, 0.0, math.inf, None)
    nearest = -1.0
    for i, (got, want) in enumerate(zip(outputs, wanted, strict=True)):
        one = _judge_one(got, want, before[i] if before else None)
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


def _judge_one(got: Tensor, want: Wanted, before: Tensor | None) -> Judgement:
    if got.shape != want.ref.shape:
        shapes = f"{tuple(got.shape)}, wanted {tuple(want.ref.shape)}"
        return Judgement(math.nan, math.nan, want.allowed, f"{want.name} has shape {shapes}")
    ref = want.ref if want.ref.is_floating_point() else want.ref.double()
    error = got.detach().to(ref.dtype, copy=True).sub_(ref)  # a copy: the output may be a tensor that lives on
    max_error = float(error.abs().max()) if error.numel() else 0.0
    scale = float(torch.linalg.vector_norm(ref))
    rel_error = float(torch.linalg.vector_norm(error)) / scale if scale else max_error
    why: str | None
    if want.dtype not in (None, got.dtype):
        why = f"{want.name} has dtype {_short(got.dtype)}, wanted {_short(want.dtype)}"
    elif not math.isfinite(max_error):
        place = _words(_box(~error.isfinite()))
        why = f"{want.name} has NaN or infinite values{place} where the oracle has none"
    elif not math.isfinite(want.allowed):  # what overflows in a plain computation cannot judge anybody
        why = f"{want.name} cannot be judged: the oracle allows {want.allowed}"
    else:
        why = _off(got.detach(), error, want, max_error, rel_error, before)
    return Judgement(max_error, rel_error, want.allowed, why)


def _off(
    got: Tensor, error: Tensor, want: Wanted, max_error: float, rel_error: float, before: Tensor | None
) -> str | None:
    """What is wrong with a finite output and where: its cause where it shows, else by how much."""
    if max_error > want.allowed:
        box = _box(error.abs() > want.allowed)
        why = f"is off by {max_error:.3g}{_words(box)}, allowed {want.allowed:.3g} (relative {rel_error:.3g})"
    else:
        place = _mostly_wrong(got, error, want.by_index, before)
        box = () if place is None else place.box
        if rel_error > want.rel_allowed:
            worst = _words(box) and f", worst{_words(box)}"
            why = f"is off by {rel_error:.3g} as a whole, allowed {want.rel_allowed:.3g}{worst}"
        elif place is None:
            return None
        else:
            why = f"is off by {place.off:.3g}{_words(box)} taken alone, allowed {place.limit:.3g}"
    for part in ((), box):
        if before is not None and torch.equal(got[part], before[part]):
            return f"{want.name} keeps its old values for new inputs{_words(part)}"
        if not got[part].any():
            return f"{want.name} is zero{_words(part) or ' everywhere'}"
    return f"{want.name} {why}"


class _Place(NamedTuple):
    box: tuple[slice, ...]
    off: float
    limit: float


def _mostly_wrong(got: Tensor, error: Tensor, by_index: Sequence[Tensor], before: Tensor | None) -> _Place | None:
    """The indices of one axis that are further off than each may be alone, with the numbers of the worst.

    Those of a few rows only where they are zero or as before: rounding may be to blame for the others (in one of a
    thousand right dq in bf16, of five causal tokens and one head).
    """
    for axis, limit in enumerate(by_index):
        others = [a for a in range(error.ndim) if a != axis]
        off = torch.linalg.vector_norm(error, dim=others) if others else error.abs()
        bad = off > limit
        last = 1 if axis == error.ndim - 1 else error.shape[-1]
        if bad.any() and error.numel() < MANY_ROWS * last * len(bad):
            missing = ~_any(got != 0, axis)
            bad &= missing if before is None else missing | ~_any(got != before, axis)
        if bad.any():
            worst = int((off / limit).argmax())
            box = (*(slice(None),) * axis, _span(bad))
            return _Place(box, float(off[worst]), float(limit[worst]))
    return None


def _box(bad: Tensor) -> tuple[slice, ...]:
    """The smallest range of each axis outside of which nothing is bad."""
    return tuple(_span(_any(bad, axis)) for axis in range(bad.ndim))


def _any(true: Tensor, axis: int) -> Tensor:
    """For each index of an axis, whether anything there is true."""
    others = tuple(a for a in range(true.ndim) if a != axis)
    return true.any(dim=others) if others else true


def _span(bad_N: Tensor) -> slice:
    at = bad_N.nonzero()
    first, last = int(at[0]), int(at[-1])
    return slice(None) if last - first + 1 == len(bad_N) else slice(first, last + 1)


def _words(box: Sequence[slice]) -> str:
    """` in [:, :, 64:72]`; nothing for all of it."""
    whole = slice(None)
    shown = max((axis for axis, s in enumerate(box) if s != whole), default=-1) + 1
    return f" in [{', '.join(_axis(s) for s in box[:shown])}]" if shown else ""


def _axis(s: slice) -> str:
    if s.start is None:
        return ":"
    return f"{s.start}" if s.stop == s.start + 1 else f"{s.start}:{s.stop}"


def _short(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def changed(inputs: Sequence[Tensor], pristine: Sequence[Tensor], name: Callable[[int], str]) -> str | None:
    """`changed its input 'k'` for the first input that differs; None if there is none."""
    for i, (now, before) in enumerate(zip(inputs, pristine, strict=True)):
        if not torch.equal(now, before):
            return f"changed its input {name(i)!r}"
    return None


def remembered(outputs: Sequence[Tensor], before: Sequence[Tensor]) -> str | None:
    """What is wrong with outputs that are all as they were for other inputs; None if any is not."""
    same = all(torch.equal(a, b) for a, b in zip(outputs, before, strict=True))
    return "keeps its old outputs for new inputs" if same else None


def poison(wanted: Sequence[Wanted], *, like: Sequence[Tensor]) -> None:
    """Leaves NaN in freed blocks of the outputs' sizes, so that an output that is not written is not right by luck."""
    kind = next((t for t in like if t.is_floating_point()), None)
    if kind is not None:
        for _ in range(2):  # the first time a C allocator may map a size, the second time it takes it from its heap
            blocks = [
                kind.new_full(w.ref.shape, math.nan, dtype=_kind(w, kind))
                for w in wanted
                for _ in range(_poisoned(w, kind))
            ]
            del blocks


def _kind(wanted: Wanted, like: Tensor) -> torch.dtype:
    dtype = wanted.dtype
    return dtype if dtype is not None and dtype.is_floating_point else like.dtype


def _poisoned(wanted: Wanted, kind: Tensor) -> int:
    return max(POISONED, POISONED_BYTES // max(1, wanted.ref.numel() * kind.itemsize, POISONED_BYTES // 64))
