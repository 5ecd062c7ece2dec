"""Where a kernel of torch is wrong, so that it is no mistake of ours when it is found to be."""

import torch


def flex_reads_beyond(*, keys: int, head_dim: int) -> bool:
    """Whether torch's compiled FlexAttention reads memory that is not its own, on a CPU with AVX2 and no AVX-512.

    Seen with torch 2.13: with 8 keys in the last block of 64 and 8 or 16 features, some of the last rows are off by
    anything, otherwise in each call.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX2" and keys % 64 == 8 and head_dim <= 16
