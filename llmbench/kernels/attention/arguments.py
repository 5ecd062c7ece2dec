"""The arguments of attention, checked: what is not taken is told before a kernel runs."""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
MOST_HEAD_DIM = 256


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast as torch casts the inputs of its own attention under autocast."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return tuple(t.to(dtype) if t.dtype != torch.float64 else t for t in tensors)


def positive(q: Tensor, scale: float | None) -> tuple[Tensor, float]:
    """q and a positive scale: kernels take the maximum of scaled scores as the scaled maximum, so q takes the sign."""
    if scale is None:
        return q, q.shape[-1] ** -0.5
    if scale == 0 or scale != scale:
        raise ValueError(f"scale is {scale}, wanted a number other than 0")
    return (q, scale) if scale > 0 else (-q, -scale)


def check(q: Tensor, k: Tensor, v: Tensor, *, ndim: int) -> None:
    """Raises: ValueError for shapes and dtypes that the kernels do not take; `ndim` 4 is BHSD, 3 THD."""
    layout, heads = ("BHSD", 1) if ndim == 4 else ("THD", 1)
    for name, t in (("q", q), ("k", k), ("v", v)):
        if not isinstance(t, Tensor) or t.ndim != ndim:
            raise ValueError(f"{name} is {told(t)}, wanted {ndim} axes ({layout})")
        if t.dtype != q.dtype or t.dtype not in DTYPES:
            raise ValueError(f"{name} is {told(t)}, wanted float16, bfloat16 or float32, the same for q, k and v")
        if t.device != q.device:
            raise ValueError(f"{name} is on {t.device}, q on {q.device}")
    if k.shape != v.shape:
        raise ValueError(f"k is {told(k)} and v {told(v)}: they differ")
    if q.shape[-1] != k.shape[-1] or (ndim == 4 and q.shape[0] != k.shape[0]):
        raise ValueError(f"q is {told(q)} and k {told(k)}: batch and head dim must be the same")
    if not 1 <= q.shape[-1] <= MOST_HEAD_DIM:
        raise ValueError(f"head dim {q.shape[-1]} is not within 1 to {MOST_HEAD_DIM}")
    if k.shape[heads] == 0 or q.shape[heads] % k.shape[heads]:
        raise ValueError(f"{q.shape[heads]} query heads are no multiple of {k.shape[heads]} kv heads")


def check_cuts(name: str, cu: Tensor, longest: int, tokens_THD: Tensor) -> None:
    """Raises: ValueError for what cannot be cu_seqlens of these tokens; their values are looked at on a CPU alone."""
    if not isinstance(cu, Tensor) or cu.dtype != torch.int32 or cu.ndim != 1 or cu.device != tokens_THD.device:
        raise ValueError(f"{name} is {told(cu)}, wanted a tensor int32 of one axis on {tokens_THD.device}")
    if cu.device.type != "cpu" or isinstance(cu, FakeTensor) or torch.compiler.is_compiling():
        return
    lengths, total = cu.diff(), len(tokens_THD)
    if len(cu) < 2 or cu[0] != 0 or (lengths < 0).any() or cu[-1] > total or lengths.max() > longest:
        seen = f"{cu.tolist()} with max_seqlen {longest}"
        raise ValueError(f"{name} is {seen}, wanted 0 to at most {total}, rising, no sequence longer than max_seqlen")


def told(t: object) -> str:
    """A tensor in words: `float16 (2, 4) on cpu`."""
    if not isinstance(t, Tensor):
        return f"{type(t).__name__}"
    return f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)} on {t.device}"
