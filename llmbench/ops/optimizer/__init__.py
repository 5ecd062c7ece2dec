"""The op `optimizer` with its implementations."""

from llmbench.ops.optimizer import implementations
from llmbench.ops.optimizer.definition import optimizer
from llmbench.ops.optimizer.params import OptimizerParams

__all__ = ["OptimizerParams", "implementations", "optimizer"]
