"""Launching the Triton kernels on torch tensors: strides, grids, and the first block configuration that fits.

The kernels are imported at the first launch: this module, like torch's own, works where Triton is not installed.
"""

# B batch, H query heads, G kv heads, S query tokens, K key tokens, T tokens of all sequences, D head dim

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmbench.kernels.attention.blocks import BlockConfig, Kernel, block_config, padded_head_dim
from llmbench.kernels.attention.span import Mask, Span

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


@lru_cache
def interprets() -> bool:
    """Whether Triton's interpreter runs the kernels, on the CPU: TRITON_INTERPRET decides when they are imported.

    Raises: RuntimeError where Triton is not installed.
    """
    try:
        from llmbench.kernels.attention.triton_forward import forward_kernel
    except ImportError as e:
        raise RuntimeError(f"this kernel needs Triton, which cannot be imported: {e}") from e
    return type(forward_kernel).__name__ == "InterpretedFunction"


def check_device(q: Tensor) -> None:
    """Raises: RuntimeError where the kernels cannot run on these tensors."""
    if q.device.type == "cuda":
        return
    if not interprets():
        raise RuntimeError(f"this kernel needs a GPU, q is on {q.device}; TRITON_INTERPRET=1 interprets it on a CPU")
    if q.dtype == torch.bfloat16:
        raise RuntimeError("Triton's interpreter multiplies bfloat16 wrongly: take float16 or float32")


def on_device_of(t: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: within it, that of the tensor."""
    return torch.cuda.device(t.device) if t.device.type == "cuda" else nullcontext()


@lru_cache
def arch_of(device: torch.device) -> str:
    """`sm90` and the like; `cpu` for a CPU."""
    if device.type != "cuda":
        return "cpu"
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm{major}{minor}"


def dtype_of(t: Tensor) -> str:
    """torch's name of the dtype: `float16`."""
    return str(t.dtype).removeprefix("torch.")


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
            except _out_of_resources() as e:
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


@lru_cache
def _out_of_resources() -> type[Exception]:
    from triton.runtime.errors import OutOfResources

    found: type[Exception] = OutOfResources
    return found


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
