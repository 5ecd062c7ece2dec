"""Attention, a library on its own: references in plain torch; FlashAttention in Triton, for training and decoding."""

from llmbench.kernels.attention import flops as _flops  # noqa: F401  (registers its formulas)
from llmbench.kernels.attention.backends import (
    AttentionCase,
    AttentionMachine,
    ImpossibleBackendError,
    select_backend,
)
from llmbench.kernels.attention.blocks import BlockConfig, block_config
from llmbench.kernels.attention.decode import flash_decode
from llmbench.kernels.attention.flash import flash_attention, flash_attention_varlen
from llmbench.kernels.attention.naive import naive_attention
from llmbench.kernels.attention.tiled import tiled_attention

__all__ = [
    "AttentionCase",
    "AttentionMachine",
    "BlockConfig",
    "ImpossibleBackendError",
    "block_config",
    "flash_attention",
    "flash_attention_varlen",
    "flash_decode",
    "naive_attention",
    "select_backend",
    "tiled_attention",
]
