"""A step of training as a whole, a library on its own: data, loss, backward, optimizer, by a recipe."""

from llmbench.kernels.training.prediction import Memory, measured_memory, predict
from llmbench.kernels.training.recipe import OPTIMIZERS, PAIRED, STAGES, Recipe
from llmbench.kernels.training.stages import Stage, make_stage
from llmbench.kernels.training.step import PARTS, Mark, Part, TrainingStep, unmarked

__all__ = [
    "OPTIMIZERS",
    "PAIRED",
    "PARTS",
    "STAGES",
    "Mark",
    "Memory",
    "Part",
    "Recipe",
    "Stage",
    "TrainingStep",
    "make_stage",
    "measured_memory",
    "predict",
    "unmarked",
]
