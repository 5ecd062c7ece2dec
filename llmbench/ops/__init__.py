"""What can be measured: ops with their implementations, inputs, oracles and costs. Imports torch; workers only.

A plugin writes `from llmbench.ops import attention` and decorates a function with `@attention.impl("name")`.
"""

from llmbench.ops.attention import attention
from llmbench.ops.cross_entropy import op as cross_entropy
from llmbench.ops.decode import decode
from llmbench.ops.gemm import op as gemm
from llmbench.ops.op import Cost, Expected, Impl, Op, Unavailable
from llmbench.ops.optimizer import optimizer
from llmbench.ops.params import AtLeast
from llmbench.ops.policy import op as ppo
from llmbench.ops.precision import op as precision
from llmbench.ops.preference import op as preference
from llmbench.ops.registry import OPS, register
from llmbench.ops.reward import op as reward
from llmbench.ops.schedule import op as schedule
from llmbench.ops.simulated import simulated
from llmbench.ops.train_step import train_step

__all__ = [
    "OPS",
    "AtLeast",
    "Cost",
    "Expected",
    "Impl",
    "Op",
    "Unavailable",
    "attention",
    "cross_entropy",
    "decode",
    "gemm",
    "optimizer",
    "ppo",
    "precision",
    "preference",
    "register",
    "reward",
    "schedule",
    "simulated",
    "train_step",
]
