"""What gradients and updates lose on their way through a number format."""

# N numbers

from typing import NamedTuple

import torch
from torch import Tensor

from llmbench.kernels.precision.formats import Format


class Kept(NamedTuple):
    """What arrives: gradients (0 where they were not finite), and how many numbers were lost, int64 each.

    `flushed` were not 0 and arrive as 0, `overflowed` were larger than the format's largest number (they arrive as it
    where they are within half a step, else as infinity), `stalled` weights did not move.
    """

    grads: Tensor
    flushed: Tensor
    overflowed: Tensor
    stalled: Tensor


def through(grads_N: Tensor, weights_N: Tensor, *, dtype: torch.dtype, loss_scale: float, lr: float) -> Kept:
    """Gradients of a scaled loss cast to `dtype` and unscaled, and a step of weights kept in `dtype`.

    A backward in `dtype` loses inside, too, what is lost here at its end.

    The step is lr times the sign of a gradient: Lion's, and AdamW's first. float32 in, float32 out.
    Source: Micikevicius et al. 2018, Mixed Precision Training, sections 3.1 and 3.2.
    """
    scaled_N = grads_N * loss_scale
    came_N = scaled_N.to(dtype).float() / loss_scale
    return lost(grads_N, scaled_N, came_N, weights_N, dtype=dtype, lr=lr)


def lost(
    grads_N: Tensor, scaled_N: Tensor, came_N: Tensor, weights_N: Tensor, *, dtype: torch.dtype, lr: float
) -> Kept:
    """What of the gradients came back (`came_N`, unscaled again), and how many weights a step would not move."""
    held_N = weights_N.to(dtype)
    moved_N = (held_N.float() - lr * grads_N.sign()).to(dtype)
    return Kept(
        torch.where(came_N.isfinite(), came_N, 0.0),
        ((came_N == 0) & (grads_N != 0)).sum(),
        (scaled_N.abs() > torch.finfo(dtype).max).sum(),
        ((moved_N == held_N) & (grads_N != 0)).sum(),
    )


def rounded(x: Tensor, to: Format) -> Tensor:
    """`x` (float64) rounded to the nearest number of a format, ties to even; infinity beyond the largest.

    By arithmetic in float64 alone, no cast: what casts are checked against. Source: IEEE 754-2019, section 4.3.1.
    """
    _, exponent = torch.frexp(x)
    step = torch.ldexp(torch.full_like(x, to.epsilon), exponent - 1).clamp(min=to.smallest_subnormal)
    near = torch.round(x / step) * step  # torch.round: ties to even
    return torch.where(near.abs() > to.largest, torch.copysign(torch.full_like(x, torch.inf), x), near)
