"""What the Triton kernels of the losses compile to, without a GPU: `python tests/compile_losses.py sm90`.

One JSON line a kernel and dtype: registers, bytes that spill (by ptxas), shared memory. A program of its own, since
Triton compiles for one driver a process.
"""

import json
import sys

import torch
import triton
from compile_kernels import ptxas
from made_up_gpu import MadeUpGpu

from llmbench.kernels.losses.cross_entropy import BLOCK, IGNORE
from llmbench.kernels.losses.entropy import ENTROPY_BLOCK
from llmbench.kernels.losses.triton_cross_entropy import gradient_kernel, loss_kernel
from llmbench.kernels.losses.triton_entropy import entropy_gradient_kernel, entropy_kernel

VOCABULARY = 131_072


def main(arch: str) -> None:
    triton.runtime.driver.set_active(MadeUpGpu(int(arch.removeprefix("sm"))))
    labels, f = torch.empty(16, dtype=torch.int64), torch.empty(16, dtype=torch.float32)
    v, options = VOCABULARY, {"IGNORE": IGNORE, "num_warps": 8, "grid": (1,)}
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        x = torch.empty(16, dtype=dtype)
        compiled = {
            "loss": loss_kernel.warmup(x, labels, f, f, v, v, BLOCK_N=BLOCK, **options),
            "gradient": gradient_kernel.warmup(x, x, labels, f, f, v, v, v, 1, BLOCK_N=BLOCK, **options),
            "entropy": entropy_kernel.warmup(x, labels, f, f, f, v, v, BLOCK_N=ENTROPY_BLOCK, **options),
            "entropy_gradient": entropy_gradient_kernel.warmup(
                x, x, labels, f, f, f, f, v, v, v, 1, 1, BLOCK_N=BLOCK, **options
            ),
        }
        for kernel, found in compiled.items():
            registers, spill_bytes = ptxas(found.asm["ptx"], arch)
            row = {"kernel": kernel, "dtype": str(dtype), "registers": registers, "spill_bytes": spill_bytes}
            print(json.dumps({**row, "shared_bytes": found.metadata.shared}))


if __name__ == "__main__":
    main(sys.argv[1])
