"""A training step, eager and compiled."""

from llmbench.ops.train_step.definition import train_step
from llmbench.ops.train_step.params import TrainStepParams, recipe_of
from llmbench.ops.train_step.steps import Steps


@train_step.impl("eager", graphable=False)
def eager(p: TrainStepParams) -> Steps:
    """Operation by operation. Source: llmbench.kernels.training."""
    return Steps(p, recipe_of(p))


@train_step.impl("compiled", needs=["inductor"], compiled=True, graphable=False)
def compiled(p: TrainStepParams) -> Steps:
    """Model and loss through torch.compile. Source: llmbench.kernels.training."""
    return Steps(p, recipe_of(p, compiled=True))
