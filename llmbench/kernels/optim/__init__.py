"""Optimizers of language models, a library on its own: rules, Lion, fused AdamW and Lion, learning-rate schedules."""

from llmbench.kernels.optim.fused import FusedAdamW, FusedLion
from llmbench.kernels.optim.lion import Lion
from llmbench.kernels.optim.rules import LION, Hyper, adam_l2_, adamw_, lion_
from llmbench.kernels.optim.schedule import CosineWithWarmup, cosine_with_warmup

__all__ = [
    "LION",
    "CosineWithWarmup",
    "FusedAdamW",
    "FusedLion",
    "Hyper",
    "Lion",
    "adam_l2_",
    "adamw_",
    "cosine_with_warmup",
    "lion_",
]
