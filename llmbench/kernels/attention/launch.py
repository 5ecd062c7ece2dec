"""Launching the Triton kernels on torch tensors: strides, grids, and the first block configuration that fits.

The kernels are imported at the first launch: this module, like torch's own, works where Triton is not installed.
"""

# B batch, H query heads, G kv heads, S query tokens, K key tokens, T tokens of all sequences, D head dim

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmbench.kernels.attention.blocks import BlockConfig, Kernel, block_config, padded_head_dim
from llmbench.kernels.attention.span import Mask, Span
from llmbench.kernels.device import arch_of, dtype_of, on_device_of, out_of_resources

LOG2E = 1.4426950408889634
MOST_IN_GRID = 65_535  # of the second and third axis. Source: CUDA C++ Programming Guide, compute capabilities
DELTA_ROWS = 64  # of a block of the kernel that only reads: any size does


class Problem(NamedTuple):
    """What the kernels are asked: sequences of `queries` and `keys` tokens, or as cu_seqlens cut them, at most that."""

    sequences: int
    queries: int
    keys: int
    heads: int
    kv_heads: int
    head_dim: int
    span: Span
    scale: float
    cu_q: Tensor | None = None
    cu_k: Tensor | None = None


class Ran(NamedTuple):
    """What a choice of blocks depends on."""

    kernel: Kernel
    arch: str
    head_dim: int
    dtype: str
    mask: Mask
    precision: str


chosen: dict[Ran, BlockConfig] = {}
"""The configurations that ran, the last of each kind of problem."""
_asked: dict[Kernel, BlockConfig] = {}


@contextmanager
def using(**blocks: BlockConfig) -> Iterator[None]:
    """Within it, kernels (`forward`, `dkdv`, `dq`, `decode`) run with these blocks alone: for tuning and tests."""
    before = dict(_asked), dict(chosen)
    _asked.update(blocks)  # type: ignore[arg-type]
    chosen.clear()
    try:
        yield
    finally:
        for now, then in zip((_asked, chosen), before, strict=True):
            now.clear()  # type: ignore[attr-defined]
            now.update(then)  # type: ignore[attr-defined]


def blocks_text(kernels: Sequence[Kernel], *, head_dim: int, dtype: str, mask: Mask) -> str:
    """`forward 128x64 4 warps 3 stages, dkdv ...`: the blocks with which these kernels ran such problems."""
    ran = [(r.kernel, c) for r, c in chosen.items() if (r.head_dim, r.dtype, r.mask) == (head_dim, dtype, mask)]
    return ", ".join(f"{kernel} {blocks}" for kernel, blocks in ran if kernel in kernels)


def run_forward(problem: Problem, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor) -> None:
    """Writes out and lse."""
    from llmbench.kernels.attention.triton_forward import forward_kernel

    p = problem
    strides = [s for t in (q, k, v, out) for s in _strides(t, p)] + _lse_strides(lse, p)

    def launch(c: BlockConfig) -> None:
        grid = (-(-p.queries // c.block_q), p.heads, p.sequences)
        forward_kernel[grid](
            q, k, v, out, lse, p.cu_q, p.cu_k, p.queries, p.keys, p.heads // p.kv_heads, *p.span, p.scale * LOG2E,
            *strides, **_meta(p, q, c),
        )  # fmt: skip

    run_first_that_fits("forward", p, q, launch)


def run_backward(
    problem: Problem, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dout: Tensor, dlse: Tensor | None,
    grads: Sequence[Tensor],
) -> None:  # fmt: skip
    """Writes dq, dk and dv (`grads`)."""
    from llmbench.kernels.attention.triton_backward import delta_kernel, dkdv_kernel, dq_kernel

    p, (dq, dk, dv) = problem, grads
    delta = torch.empty_like(lse)
    rows = lse.shape[-1]  # all of them in one go, however sequences are cut
    at = _lse_strides(lse, p)
    with on_device_of(q):
        delta_kernel[(-(-rows // DELTA_ROWS), p.heads, 1 if p.cu_q is not None else p.sequences)](
            out, dout, dlse, delta, rows, *_strides(out, p), *_strides(dout, p), *at,
            D=p.head_dim, BLOCK_D=padded_head_dim(p.head_dim), BLOCK_M=DELTA_ROWS, HAS_DLSE=dlse is not None,
        )  # fmt: skip
    inputs = (q, k, v, dout)
    numbers = (p.queries, p.keys, p.heads // p.kv_heads, *p.span, p.scale, p.scale * LOG2E)

    def strides(*written: Tensor) -> list[int]:
        return [s for t in (*inputs, *written) for s in _strides(t, p)] + at

    def launch_dkdv(c: BlockConfig) -> None:
        dkdv_kernel[(-(-p.keys // c.block_k), p.kv_heads, p.sequences)](
            *inputs, lse, delta, dk, dv, p.cu_q, p.cu_k, *numbers, *strides(dk, dv), **_meta(p, q, c)
        )

    def launch_dq(c: BlockConfig) -> None:
        dq_kernel[(-(-p.queries // c.block_q), p.heads, p.sequences)](
            *inputs, lse, delta, dq, p.cu_q, p.cu_k, *numbers, *strides(dq), **_meta(p, q, c)
        )

    run_first_that_fits("dkdv", p, q, launch_dkdv)
    run_first_that_fits("dq", p, q, launch_dq)


def precision_of(q: Tensor) -> str:
    """How fp32 operands are multiplied, as torch's own products are: `ieee`, or `tf32` where that is allowed."""
    if q.dtype != torch.float32:
        return "ieee"
    setting = getattr(torch.backends.cuda.matmul, "fp32_precision", None)  # since torch 2.9; the old getter may raise
    allowed = setting == "tf32" if setting is not None else torch.get_float32_matmul_precision() != "highest"
    return "tf32" if allowed else "ieee"


def run_first_that_fits(kernel: Kernel, p: Problem, q: Tensor, launch: Callable[[BlockConfig], None]) -> None:
    """Launches with the first configuration that the device has room for, and remembers it."""
    if max(p.heads, p.sequences) > MOST_IN_GRID:
        raise ValueError(
            f"{p.heads} heads and {p.sequences} sequences: a launch takes at most {MOST_IN_GRID:,} of each"
        )
    ran = Ran(kernel, arch_of(q.device), p.head_dim, dtype_of(q), p.span.mask, precision_of(q))
    failed: Exception | None = None
    with on_device_of(q):
        for config in _candidates(ran):
            try:
                launch(config)
            except out_of_resources() as e:
                failed = e
                continue
            chosen[ran] = config
            return
    raise RuntimeError(f"no block configuration of {kernel} fits {ran.arch}: {failed}") from failed


def _candidates(ran: Ran) -> Iterator[BlockConfig]:
    """What `using` asks for, alone; else what ran before, which costs no look at the table, then what the table has."""
    if ran.kernel in _asked:
        yield _asked[ran.kernel]
        return
    known = chosen.get(ran)
    if known is not None:
        yield known
    table = block_config(ran.arch, ran.head_dim, ran.dtype, ran.mask, ran.kernel, precision=ran.precision)
    yield from (c for c in table if c != known)


def _meta(p: Problem, q: Tensor, c: BlockConfig) -> dict[str, Any]:
    return {
        "D": p.head_dim, "BLOCK_D": padded_head_dim(p.head_dim), "BLOCK_M": c.block_q, "BLOCK_N": c.block_k,
        "VARLEN": p.cu_q is not None, "HAS_LEFT": p.span.left >= 0, "HAS_RIGHT": p.span.right >= 0,
        "PRECISION": precision_of(q), "num_warps": c.num_warps, "num_stages": c.num_stages,
    }  # fmt: skip


def _strides(t: Tensor, p: Problem) -> list[int]:
    """Of the batch, the heads and the tokens: BHSD, or THD where sequences are cut by cu_seqlens."""
    return [0, t.stride(1), t.stride(0)] if p.cu_q is not None else [t.stride(0), t.stride(1), t.stride(2)]


def _lse_strides(lse: Tensor, p: Problem) -> list[int]:
    return [0, lse.stride(0)] if p.cu_q is not None else [lse.stride(0), lse.stride(1)]
