"""Decoding: one new query a sequence against its KV cache, which is read once, split over the whole device."""

# B batch, H query heads, G kv heads, K key tokens of the cache, D head dim, P parts

from functools import lru_cache
from typing import Any, Literal, overload

import torch
from torch import Tensor

from llmbench.kernels.attention.arguments import autocast, check, positive, told
from llmbench.kernels.attention.blocks import BlockConfig, padded_head_dim
from llmbench.kernels.attention.launch import LOG2E, Problem, precision_of, run_first_that_fits
from llmbench.kernels.attention.span import Span
from llmbench.kernels.device import check_device, on_device_of

PROGRAMS_PER_PROCESSOR = 2  # enough in flight to hide the latency of memory
FEWEST_KEYS = 256  # of a part: fewer, and joining them takes as long as reading them
MOST_PARTS = 128
MOST_ROWS = 32  # query heads of a group in one tile: what it holds grows with them


@overload
def flash_decode(
    q_BHD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, seqlens: Tensor | None = ..., scale: float | None = ...,
    parts: int | None = ..., return_lse: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def flash_decode(
    q_BHD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, seqlens: Tensor | None = ..., scale: float | None = ...,
    parts: int | None = ..., return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...  # fmt: skip
def flash_decode(
    q_BHD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, *, seqlens: Tensor | None = None, scale: float | None = None,
    parts: int | None = None, return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """out_BHD = softmax(scale q k^T) v of one query a sequence; with `return_lse` (out_BHD, lse_BH). No gradients.

    `seqlens`, int32 of B, says how much of each cache is filled (all of it if None); a sequence without a key gives 0.
    `parts` is into how many programs a cache is split (None: so that the device is full). The rest is as for
    `flash_attention`.
    """
    q_BHD, k_BGKD, v_BGKD = autocast(q_BHD, k_BGKD, v_BGKD)
    if getattr(q_BHD, "ndim", 0) != 3:
        raise ValueError(f"q is {told(q_BHD)}, wanted 3 axes (BHD): one query a sequence")
    check(q_BHD[:, :, None], k_BGKD, v_BGKD, ndim=4)
    q_BHD, scale = positive(q_BHD, scale)
    if seqlens is not None and (
        not isinstance(seqlens, Tensor) or seqlens.dtype != torch.int32 or seqlens.shape != q_BHD.shape[:1]
        or seqlens.device != q_BHD.device
    ):  # fmt: skip
        raise ValueError(f"seqlens is {told(seqlens)}, wanted int32 ({len(q_BHD)},) on {q_BHD.device}")
    if parts is not None and not 1 <= parts <= MOST_PARTS:
        raise ValueError(f"parts is {parts}, wanted 1 to {MOST_PARTS}")
    if torch.is_grad_enabled() and any(t.requires_grad for t in (q_BHD, k_BGKD, v_BGKD)):
        raise ValueError("flash_decode has no gradients: call it under torch.no_grad, or flash_attention")
    out_BHD, lse_BH = torch.ops.llmbench.flash_decode(q_BHD, k_BGKD, v_BGKD, seqlens, scale, parts or 0)
    return (out_BHD, lse_BH) if return_lse else out_BHD


def parts_of(k_BGKD: Tensor) -> int:
    """Into how many parts a cache is split, so that every processor has work and no part is too short."""
    B, G, K, _ = k_BGKD.shape
    wanted = PROGRAMS_PER_PROCESSOR * _processors(k_BGKD.device) // max(1, B * G)
    return max(1, min(wanted, -(-K // FEWEST_KEYS), MOST_PARTS))


@lru_cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


@torch.library.custom_op(
    "llmbench::flash_decode",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor? seqlens, float scale, SymInt parts) -> (Tensor, Tensor)",
)
def _decode(q: Tensor, k: Tensor, v: Tensor, seqlens: Tensor | None, scale: float, parts: int) -> tuple[Tensor, Tensor]:
    from llmbench.kernels.attention.triton_decode import decode_kernel, join_kernel

    check_device(q)
    B, H, D = q.shape
    G, K = k.shape[1:3]
    parts = parts or parts_of(k)  # 0: as many as the device wants
    seqlens = None if seqlens is None else seqlens.contiguous()
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    out = torch.empty((B, H, D), dtype=q.dtype, device=q.device)
    lse = torch.empty((B, H), dtype=torch.float32, device=q.device)
    part_out = torch.empty((B, H, parts, D), dtype=torch.float32, device=q.device)
    part_lse = torch.empty((B, H, parts), dtype=torch.float32, device=q.device)
    problem = Problem(B, 1, K, H, G, D, Span(), scale)

    def launch(c: BlockConfig) -> None:
        part_keys = max(1, -(-K // (parts * c.block_k))) * c.block_k
        tiles = -(-(H // G) // MOST_ROWS)  # a group of more heads than a tile takes reads its cache once for each
        decode_kernel[(parts, G * tiles, B)](
            q, k, v, part_out, part_lse, seqlens, K, part_keys, H // G, scale * LOG2E,
            q.stride(0), q.stride(1), *k.stride()[:3], *v.stride()[:3], D=D, BLOCK_D=padded_head_dim(D),
            BLOCK_R=min(MOST_ROWS, padded_head_dim(H // G)), TILES=tiles, BLOCK_N=c.block_k,
            HAS_SEQLENS=seqlens is not None, PRECISION=precision_of(q), num_warps=c.num_warps, num_stages=c.num_stages,
        )  # fmt: skip

    run_first_that_fits("decode", problem, q, launch)
    with on_device_of(q):
        join_kernel[(H, B)](
            part_out, part_lse, out, lse, parts, H, out.stride(0), out.stride(1), D=D, BLOCK_D=padded_head_dim(D),
            BLOCK_P=1 << (parts - 1).bit_length(),
        )  # fmt: skip
    return out, lse


@_decode.register_fake
def _(q: Tensor, k: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty(q.shape, dtype=q.dtype, device=q.device), q.new_empty(q.shape[:2], dtype=torch.float32)
