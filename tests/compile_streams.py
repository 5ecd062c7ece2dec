"""What our kernels that only stream compile to, without a GPU: `python tests/compile_streams.py sm90`.

Losses and optimizers: registers, bytes that spill (by ptxas), and the widest load in bytes. A program of its own, since
Triton compiles for one driver a process.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import torch
import triton
from compile_kernels import ptxas
from made_up_gpu import MadeUpGpu

from llmbench.kernels.losses.cross_entropy import BLOCK, IGNORE
from llmbench.kernels.losses.entropy import ENTROPY_BLOCK
from llmbench.kernels.losses.triton_cross_entropy import gradient_kernel, loss_kernel
from llmbench.kernels.losses.triton_entropy import entropy_kernel
from llmbench.kernels.optim.fused import CANDIDATES
from llmbench.kernels.optim.triton_step import adamw_kernel, lion_kernel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def compiled(dtype: torch.dtype) -> Iterator[tuple[str, Any]]:
    """Name and compiled kernel of each that is shipped, for tensors of this dtype."""
    t, f, i = (torch.empty(16, dtype=d) for d in (dtype, torch.float32, torch.int64))
    loss = {"IGNORE": IGNORE, "BLOCK_N": BLOCK, "num_warps": 8, "grid": (1,)}
    yield "loss", loss_kernel.warmup(t, i, f, f, 131072, 131072, **loss)
    row = (131072, 131072, 131072)
    yield "gradient", gradient_kernel.warmup(t, t, i, f, f, None, None, *row, 1, 0, HAS_ENTROPY=False, **loss)
    entropy = {**loss, "BLOCK_N": ENTROPY_BLOCK}
    yield "entropy", entropy_kernel.warmup(t, i, f, f, f, 131072, 131072, **entropy)
    yield "entropy_gradient", gradient_kernel.warmup(t, t, i, f, f, f, f, *row, 1, 1, HAS_ENTROPY=True, **loss)
    for blocks in CANDIDATES:
        options = {"ALIGNED": True, "BLOCK_N": blocks.size, "num_warps": blocks.num_warps, "grid": (1,)}
        yield f"adamw {blocks}", adamw_kernel.warmup(i, i, i, t, t, t, *[0.1] * 8, **options)
        yield f"lion {blocks}", lion_kernel.warmup(i, i, i, t, t, t, *[0.1] * 6, **options)


def rows(arch: str) -> Iterator[dict[str, Any]]:
    """One for each kernel and dtype."""
    triton.runtime.driver.set_active(MadeUpGpu(int(arch.removeprefix("sm"))))
    for dtype in DTYPES:
        for name, kernel in compiled(dtype):
            ptx = kernel.asm["ptx"]
            registers, spilled = ptxas(ptx, arch)
            loads = re.findall(r"ld\.global(?:\.\w+)*?(?:\.v(\d))?\.[bfu](\d+)", ptx)
            widest = max(int(lanes or 1) * int(bits) // 8 for lanes, bits in loads)
            found = {"registers": registers, "spill_bytes": spilled, "widest_load": widest}
            found["shared_bytes"] = kernel.metadata.shared
            yield {"kernel": name, "dtype": str(dtype), **found}


if __name__ == "__main__":
    print(json.dumps(list(rows(sys.argv[1])), indent=1))
