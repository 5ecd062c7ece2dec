"""What our Triton kernels compile to, without a GPU: `python tests/compile_kernels.py > tests/data/kernels.json`.

Each block configuration that is shipped for bfloat16 (with `--first`: that is tried first), on sm_80 and sm_90, at head
dims that need no padding: registers, bytes that spill (by ptxas), shared memory, and whether the PTX multiplies by
wgmma. A program of its own, since Triton compiles for one driver a process.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from made_up_gpu import MadeUpGpu

from llmbench.kernels.attention.blocks import BlockConfig, block_config, padded_head_dim
from llmbench.kernels.attention.triton_backward import dkdv_kernel, dq_kernel
from llmbench.kernels.attention.triton_decode import decode_kernel
from llmbench.kernels.attention.triton_forward import forward_kernel

ARCHS = ("sm80", "sm90")
HEAD_DIMS = (64, 128, 256)
GROUP = 4


class Resources(NamedTuple):
    """What a kernel of a configuration takes."""

    arch: str
    kernel: str
    head_dim: int
    mask: str
    blocks: str
    registers: int
    spill_bytes: int
    shared_bytes: int
    wgmma: bool


def of_arch(arch: str, candidates: int | None = None) -> Iterator[Resources]:
    """The resources of the candidates (the first so many) of every kernel."""
    triton.runtime.driver.set_active(MadeUpGpu(int(arch.removeprefix("sm"))))
    for head_dim in HEAD_DIMS:
        for mask in ("full", "causal", "window"):
            for kernel in ("forward", "dkdv", "dq"):
                for blocks in block_config(arch, head_dim, "bfloat16", mask, kernel)[:candidates]:
                    yield _resources(arch, kernel, head_dim, mask, blocks, _compile(kernel, head_dim, mask, blocks))
        for blocks in block_config(arch, head_dim, "bfloat16", "full", "decode")[:candidates]:
            yield _resources(arch, "decode", head_dim, "full", blocks, _compile("decode", head_dim, "full", blocks))


def _compile(kernel: str, head_dim: int, mask: str, c: BlockConfig) -> Any:
    t = torch.empty(16, dtype=torch.bfloat16)
    f = torch.empty(16, dtype=torch.float32)
    meta = {"D": head_dim, "BLOCK_D": padded_head_dim(head_dim), "BLOCK_N": c.block_k, "PRECISION": "ieee"}
    options = {"num_warps": c.num_warps, "num_stages": c.num_stages, "grid": (1,)}
    row, head, batch = head_dim, 4096 * head_dim, 32 * 4096 * head_dim
    if kernel == "decode":
        return decode_kernel.warmup(
            t, t, t, f, f, None, 4096, 512, GROUP, 0.1, batch, row, batch, head, row, batch, head, row,
            **meta, BLOCK_R=16, TILES=1, HAS_SEQLENS=False, **options,
        )  # fmt: skip
    left, right = {"full": (-1, -1), "causal": (-1, 0), "window": (1023, 0)}[mask]
    meta |= {"BLOCK_M": c.block_q, "VARLEN": False, "HAS_LEFT": left >= 0, "HAS_RIGHT": right >= 0}
    strides = [batch, head, row]
    lse = [32 * 4096, 4096]
    if kernel == "forward":
        return forward_kernel.warmup(
            t, t, t, t, f, None, None, 4096, 4096, GROUP, left, right, 0.1, *strides * 4, *lse, **meta, **options
        )
    numbers = (4096, 4096, GROUP, left, right, 0.1, 0.1)
    if kernel == "dkdv":
        return dkdv_kernel.warmup(
            t, t, t, t, f, f, t, t, None, None, *numbers, *strides * 6, *lse, **meta, **options
        )  # fmt: skip
    return dq_kernel.warmup(t, t, t, t, f, f, t, None, None, *numbers, *strides * 5, *lse, **meta, **options)


def _resources(arch: str, kernel: str, head_dim: int, mask: str, blocks: BlockConfig, compiled: Any) -> Resources:
    ptx = compiled.asm["ptx"]
    registers, spilled = ptxas(ptx, arch)
    return Resources(
        arch, kernel, head_dim, mask, str(blocks), registers, spilled, compiled.metadata.shared, "wgmma" in ptx
    )


def ptxas(ptx: str, arch: str) -> tuple[int, int]:
    """Registers of a thread and bytes that spill, by the assembler that Triton brings."""
    from triton.backends.nvidia.compiler import get_ptxas

    number = int(arch.removeprefix("sm"))
    try:
        program = get_ptxas(number)
    except TypeError:
        program = get_ptxas()
    path = getattr(program, "path", None) or program[0]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        name = f"sm_{number}a" if number >= 90 else f"sm_{number}"
        done = subprocess.run(
            [path, "-v", f"--gpu-name={name}", str(source), "-o", str(Path(folder) / "kernel.cubin")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    registers = int(re.findall(r"Used (\d+) registers", done.stderr)[-1])
    spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill stores", done.stderr))
    return registers, spills


def main(arguments: Sequence[str]) -> None:
    archs = [a for a in arguments if a != "--first"] or list(ARCHS)
    first = ["--first"] if "--first" in arguments else []
    if len(archs) > 1:  # a kernel keeps the target that it was first compiled for
        found = [row for arch in archs for row in json.loads(_alone(arch, first))["kernels"]]
    else:
        found = [r._asdict() for r in of_arch(archs[0], 1 if first else None)]
    rows = ",\n".join(json.dumps(row) for row in found)
    print(f'{{"triton": "{triton.__version__}", "dtype": "bfloat16", "kernels": [\n{rows}\n]}}')


def _alone(arch: str, options: Sequence[str]) -> str:
    return subprocess.run([sys.executable, __file__, arch, *options], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(sys.argv[1:])
