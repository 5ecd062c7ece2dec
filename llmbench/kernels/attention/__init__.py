"""Attention in plain tensor code: materialised scores (naive) and the online softmax by blocks (tiled)."""

from llmbench.kernels.attention.naive import naive_attention
from llmbench.kernels.attention.tiled import tiled_attention

__all__ = ["naive_attention", "tiled_attention"]
