"""The op `train_step` with its implementations."""

from llmbench.ops.train_step import implementations
from llmbench.ops.train_step.checked import first_steps, sketch
from llmbench.ops.train_step.definition import train_step
from llmbench.ops.train_step.params import TrainStepParams, recipe_of
from llmbench.ops.train_step.steps import Steps

__all__ = [
    "Steps",
    "TrainStepParams",
    "first_steps",
    "implementations",
    "recipe_of",
    "sketch",
    "train_step",
]
