"""Block configurations of the Triton kernels: a table by architecture and head dim, filtered by what fits."""

from dataclasses import dataclass
from typing import Literal

from llmbench.kernels.attention.span import Mask

Kernel = Literal["forward", "dkdv", "dq", "decode"]

KIB = 1024
SHARED_BYTES = {
    "sm75": 64 * KIB, "sm80": 163 * KIB, "sm86": 99 * KIB, "sm87": 163 * KIB, "sm89": 99 * KIB, "sm90": 227 * KIB,
    "sm100": 227 * KIB, "sm103": 227 * KIB, "sm120": 99 * KIB,
}  # fmt: skip
"""Shared memory that one block may have. Source: CUDA C++ Programming Guide, table of compute capabilities."""

ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True, order=True)
class BlockConfig:
    """How a kernel is cut up: rows of queries and of keys of a block, warps, and stages of the software pipeline."""

    block_q: int
    block_k: int
    num_warps: int
    num_stages: int

    def __str__(self) -> str:
        return f"{self.block_q}x{self.block_k} {self.num_warps} warps {self.num_stages} stages"


def padded_head_dim(head_dim: int) -> int:
    """What a kernel pads the head dim to: the next power of two from 16 on, as Triton's tiles need it."""
    return max(16, 1 << (head_dim - 1).bit_length())


def shared_bytes(config: BlockConfig, *, head_dim: int, dtype: str, kernel: Kernel) -> int:
    """What the tiles of a block take of shared memory: those that stay, and as many in flight as there are stages."""
    row = padded_head_dim(head_dim) * ITEM_BYTES[dtype]
    q, k = config.block_q * row, config.block_k * row
    stays, moves = {
        "forward": (q, 2 * k), "decode": (q, 2 * k), "dkdv": (2 * k, 2 * q), "dq": (2 * q, 2 * k),
    }[kernel]  # fmt: skip
    return stays + config.num_stages * moves


def block_config(
    arch: str, head_dim: int, dtype: str, mask: Mask = "full", kernel: Kernel = "forward", *, precision: str = "ieee"
) -> tuple[BlockConfig, ...]:
    """The configurations to try, best first; the next one where the device has too little of something.

    `precision` is how float32 is multiplied, `ieee` (without tensor cores) or `tf32`. `arch` is `sm90` and the like,
    `cpu` for Triton's interpreter; one that the table does not know is taken for the nearest older one. The last
    candidates are the smallest there are, so that there always is one.
    Raises: ValueError for an unknown dtype or a head dim above 256.
    """
    if dtype not in ITEM_BYTES:
        raise ValueError(f"dtype {dtype!r} is none of {', '.join(ITEM_BYTES)}")
    if not 1 <= head_dim <= 256:
        raise ValueError(f"head_dim {head_dim} is not within 1 to 256")
    if arch == "cpu":
        return (BlockConfig(64, 64, 4, 1),)
    limit = SHARED_BYTES[known_arch(arch)]
    if dtype == "float32" and precision == "ieee":
        preferred = _IEEE[kernel].get(padded_head_dim(head_dim), _IEEE[kernel][64])
        found = [*preferred, BlockConfig(16, 16, 4, 1)]
    else:
        found = [*_preferred(known_arch(arch), padded_head_dim(head_dim), dtype, mask, kernel), *_SMALLEST]
    fits = [c for c in found if shared_bytes(c, head_dim=head_dim, dtype=dtype, kernel=kernel) <= limit]
    return tuple(dict.fromkeys(fits))


def known_arch(arch: str) -> str:
    """The architecture itself or the newest one of the table that is not newer: sm121 is taken for sm120."""
    digits = arch.removeprefix("sm")
    if not digits.isdigit():
        raise ValueError(f"arch {arch!r} is neither cpu nor sm90 and the like")
    number = int(digits)
    older = [a for a in SHARED_BYTES if int(a.removeprefix("sm")) <= number]
    if not older:
        raise ValueError(f"{arch} is older than sm75, the oldest that Triton compiles for")
    return max(older, key=lambda a: int(a.removeprefix("sm")))


_SMALLEST = (BlockConfig(64, 32, 8, 1), BlockConfig(32, 32, 4, 1), BlockConfig(16, 16, 4, 1))


def _preferred(arch: str, row: int, dtype: str, mask: Mask, kernel: Kernel) -> tuple[BlockConfig, ...]:
    """The table. Of the padded head dim `row`; 32 bits take twice the registers and memory of 16."""
    if dtype == "float32":
        return _FLOAT32[kernel]
    hopper = arch in ("sm90", "sm100", "sm103")
    table = _HOPPER if hopper else _AMPERE
    found = table[kernel].get(row, table[kernel][64])
    if kernel == "forward" and mask == "window":  # narrow blocks waste less at the two ends of a window
        return tuple(sorted(found, key=lambda c: c.block_k))
    return found


def _configs(*found: tuple[int, int, int, int]) -> tuple[BlockConfig, ...]:
    return tuple(BlockConfig(*values) for values in found)


_HOPPER: dict[Kernel, dict[int, tuple[BlockConfig, ...]]] = {
    "forward": {
        64: _configs((128, 128, 8, 3), (128, 64, 4, 3), (128, 64, 8, 2)),
        128: _configs((128, 64, 8, 3), (128, 64, 8, 2), (128, 128, 8, 1)),
        256: _configs((128, 64, 8, 2), (64, 64, 8, 2), (64, 32, 8, 1)),
    },
    "dkdv": {
        64: _configs((64, 128, 8, 2), (64, 64, 4, 2), (64, 64, 8, 1)),
        128: _configs((64, 64, 8, 2), (32, 128, 8, 2), (64, 64, 8, 1)),
        256: _configs((32, 64, 8, 1), (32, 32, 8, 1)),
    },
    "dq": {
        64: _configs((128, 64, 8, 2), (64, 64, 4, 2)),
        128: _configs((128, 64, 8, 2), (64, 64, 8, 2), (64, 32, 8, 1)),
        256: _configs((64, 32, 8, 1), (32, 32, 8, 1)),
    },
    "decode": {64: _configs((16, 128, 4, 3), (16, 64, 4, 2)), 256: _configs((16, 64, 4, 2), (16, 32, 4, 1))},
}
"""sm90 and later, 16 bits, by the padded head dim; what is not listed is as 64.

Chosen by what does not spill (tests/data/kernels.json) and by what others take for these sizes; not tuned by times yet.
"""

_AMPERE: dict[Kernel, dict[int, tuple[BlockConfig, ...]]] = {
    "forward": {
        64: _configs((128, 64, 8, 2), (128, 32, 4, 2), (64, 32, 4, 2)),
        128: _configs((128, 32, 8, 2), (64, 64, 8, 2), (64, 32, 8, 1)),
        256: _configs((64, 32, 8, 2), (64, 32, 8, 1)),
    },
    "dkdv": {
        64: _configs((32, 64, 8, 2), (32, 32, 4, 2)),
        128: _configs((64, 64, 8, 2), (32, 64, 8, 2), (32, 32, 4, 1)),
        256: _configs((32, 32, 8, 1), (16, 32, 4, 1)),
    },
    "dq": {
        64: _configs((64, 64, 4, 2), (64, 32, 4, 2)),
        128: _configs((64, 32, 8, 2), (64, 32, 8, 1), (32, 32, 4, 1)),
        256: _configs((32, 32, 8, 1), (32, 16, 4, 1)),
    },
    "decode": {64: _configs((16, 64, 4, 3), (16, 64, 4, 2)), 256: _configs((16, 32, 4, 2), (16, 32, 4, 1))},
}
"""sm75 to sm89 and sm120, whose warps multiply alike (mma, not wgmma)."""

_FLOAT32: dict[Kernel, tuple[BlockConfig, ...]] = {
    "forward": _configs((64, 32, 4, 2), (32, 32, 4, 1)),
    "dkdv": _configs((32, 32, 4, 1), (16, 32, 4, 1)),
    "dq": _configs((32, 32, 4, 1), (32, 16, 4, 1)),
    "decode": _configs((16, 32, 4, 2), (16, 32, 4, 1)),
}
"""float32 as tf32."""

_IEEE: dict[Kernel, dict[int, tuple[BlockConfig, ...]]] = {
    "forward": {64: _configs((32, 32, 4, 1)), 128: _configs((32, 16, 8, 1)), 256: _configs((16, 16, 8, 1))},
    "dkdv": {64: _configs((16, 32, 8, 1)), 128: _configs((16, 16, 8, 1)), 256: _configs((16, 16, 8, 1))},
    "dq": {64: _configs((32, 16, 8, 1)), 128: _configs((16, 16, 8, 1)), 256: _configs((16, 16, 8, 1))},
    "decode": {64: _configs((16, 32, 4, 1)), 128: _configs((16, 16, 4, 1)), 256: _configs((16, 16, 8, 1))},
}
"""float32 as IEEE has it, multiplied by the cores that are not for tensors: operands are in registers."""
