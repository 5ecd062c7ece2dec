"""What a number format holds, found by arithmetic on the device, so that one that flushes subnormals shows it."""

from functools import lru_cache
from typing import NamedTuple

import torch


class Format(NamedTuple):
    """Largest finite number, smallest normal and subnormal ones, and the step from 1 to the next."""

    largest: float
    smallest_normal: float
    smallest_subnormal: float
    epsilon: float


@lru_cache
def measured_format(dtype: torch.dtype, device: torch.device) -> Format:
    """Of a binary floating format, by casting powers of two to it: float64 and narrower, 8-bit ones included.

    Equal to torch.finfo where subnormals are kept; where they are flushed, the smallest subnormal is the smallest
    normal number.
    """
    exponents = torch.arange(-1100, 1025, dtype=torch.float64, device=device)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def held(x: torch.Tensor) -> torch.Tensor:
        return x.to(wide).to(dtype).to(torch.float64)

    powers = torch.exp2(exponents)
    steps = torch.exp2(-torch.arange(0, 60, dtype=torch.float64, device=device))
    epsilon = float(steps[held(1 + steps) > 1].min())
    kept = held(powers) == powers
    finite = kept & powers.isfinite() & (powers > 0)
    smallest = float(powers[finite].min())
    next_up = powers * (1 + epsilon)
    full = (held(next_up) == next_up) & (next_up > powers)  # the whole mantissa is there
    normal = float(powers[finite & full].min())
    top = float(powers[finite].max())
    fractions = torch.arange(1, round(1 / epsilon), dtype=torch.float64, device=device) if epsilon > 1e-4 else None
    if fractions is None:
        return Format(top * (2 - epsilon), normal, smallest, epsilon)
    within = top * (1 + fractions * epsilon)  # e4m3fn keeps its last code for NaN
    largest = max(top, float(torch.where(held(within) == within, within, 0.0).max()))
    return Format(largest, normal, smallest, epsilon)
