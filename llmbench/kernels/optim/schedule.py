"""Learning-rate schedules: cosine annealing after a linear warm-up, in closed form and as a torch scheduler."""

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def cosine_with_warmup(step: int, *, warmup: int, total: int, floor: float = 0.0) -> float:
    """The factor of the peak learning rate after `step` optimizer steps: from 0 up to 1, then down to `floor`.

    Continuous where the warm-up ends; `floor` from `total` on. Source: transformers, optimization.py,
    get_cosine_schedule_with_warmup (equal with floor 0 and up to `total`); Loshchilov & Hutter 2017, SGDR, equation 5.
    Raises: ValueError for a warm-up that is longer than the whole, or numbers out of range.
    """
    _check(warmup, total, floor)
    if step < warmup:
        return step / warmup
    if step >= total:
        return 1.0 if step == warmup else floor
    along = (step - warmup) / (total - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * along))


class CosineWithWarmup(LRScheduler):
    """`cosine_with_warmup` of each group's learning rate, stepped once an optimizer step.

    A closed form: a run that goes on from `state_dict`, or at any step, has the same learning rates.
    """

    def __init__(
        self, optimizer: Optimizer, *, warmup: int, total: int, floor: float = 0.0, last_epoch: int = -1
    ) -> None:
        _check(warmup, total, floor)
        self.warmup, self.total, self.floor = warmup, total, floor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Of each group, at the step that the scheduler has reached."""
        factor = cosine_with_warmup(self.last_epoch, warmup=self.warmup, total=self.total, floor=self.floor)
        return [base * factor for base in self.base_lrs]


def _check(warmup: int, total: int, floor: float) -> None:
    if not 0 <= warmup <= total or not 0 <= floor <= 1:
        raise ValueError(
            f"warmup={warmup}, total={total}, floor={floor}: wanted 0 <= warmup <= total and a floor from 0 to 1"
        )
