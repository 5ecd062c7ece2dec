"""Losses of language models, a library on its own: cross entropy in several forms."""

from llmbench.kernels.losses.cross_entropy import (
    IGNORE,
    chunked_linear_cross_entropy,
    cross_entropy,
    fused_cross_entropy,
    linear_cross_entropy,
    sft_labels,
)

__all__ = [
    "IGNORE",
    "chunked_linear_cross_entropy",
    "cross_entropy",
    "fused_cross_entropy",
    "linear_cross_entropy",
    "sft_labels",
]
