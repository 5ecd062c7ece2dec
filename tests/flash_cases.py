"""Cases of attention for our kernels, and what they should give: the rule that implementations are checked by."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llmbench.kernels.attention import flash_attention, flash_attention_varlen
from llmbench.measure.check import judge
from llmbench.ops.attention import AttentionParams
from llmbench.ops.attention.oracle import oracle
from llmbench.ops.attention.params import inputs

MASKS = (
    {"mask": "full"},
    {"mask": "causal"},
    {"mask": "window", "window_left": 33, "window_right": 0},
    {"mask": "window", "window_left": 20, "window_right": 17},
    {"mask": "window", "window_left": -1, "window_right": 5},
    {"mask": "window", "window_left": 9, "window_right": -1},
)
HEADS = ((4, 4), (4, 2), (6, 1), (2, 2))


def attend(p: AttentionParams, *tensors: Tensor) -> Tensor:
    """Our attention of these inputs."""
    if p.varlen:
        return flash_attention_varlen(*tensors, p.seq_len, p.keys, **p.masking._asdict())
    return flash_attention(*tensors, **p.masking._asdict())


def results(p: AttentionParams, tensors: Sequence[Tensor], dout: Tensor) -> list[Tensor]:
    """out, dq, dk, dv."""
    leaves = [t.detach().requires_grad_() for t in tensors[:3]]
    out = attend(p, *leaves, *tensors[3:])
    return [out.detach(), *torch.autograd.grad(out, leaves, dout)]


def wrong_with(p: AttentionParams, *, seed: int = 0, device: str = "cpu") -> str | None:
    """What is wrong with output and gradients by flash-attention's rule; None if nothing is."""
    generator = torch.Generator(device).manual_seed(seed)
    tensors = inputs(p, generator)
    dout = torch.randn(tensors[0].shape, generator=generator, device=device, dtype=tensors[0].dtype)
    return judge(results(p, tensors, dout), oracle(p, "fwd_bwd", tensors, [dout])).why
