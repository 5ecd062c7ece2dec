"""What is checked of steps of training: the losses of the first ones, and a sketch of each gradient of the first."""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Generator, Tensor

from llmbench.kernels.training import Mark, Part, TrainingStep, unmarked

CHECKED = 3  # losses of the first steps: the third hangs on two updates, and AdamW's first is Lion's
SUMS = 16  # of a sketch
ROWS = 4  # of it, where a gradient has rows


def sketch(gradient: Tensor) -> Tensor:
    """Sums of a gradient with random signs (`SUMS` of them), float32 or, of float64, float64: two gradients whose
    difference has the norm d have sketches that are about d apart.

    So it tells the length of a gradient and its direction in little memory. The signs hang on the shape alone: outer
    products of those of rows and of columns. Source: Johnson and Lindenstrauss 1984; signs: Achlioptas 2003.
    """
    matrix_RC = gradient.flatten(1) if gradient.ndim > 1 else gradient.reshape(1, -1)
    rows, columns = matrix_RC.shape
    kept = ROWS if rows > 1 else 1
    rows_KR, columns_LC = _signs(kept, rows, gradient.device), _signs(SUMS // kept, columns, gradient.device)
    wide = torch.promote_types(gradient.dtype, torch.float32)
    sums_KC = rows_KR.to(gradient.dtype) @ matrix_RC
    return (sums_KC.to(wide) @ columns_LC.to(wide).T).flatten() / sqrt(SUMS)


def _signs(many: int, size: int, device: torch.device) -> Tensor:
    drawn = torch.randint(0, 2, (many, size), generator=Generator().manual_seed(size), dtype=torch.int8)
    return (2 * drawn - 1).to(device)


def first_steps(
    step: TrainingStep, one: Callable[[Mark], Tensor], told: Callable[[Tensor], Tensor] = sketch
) -> tuple[Tensor, ...]:
    """What is checked of steps, which `one` makes: the loss of the first, what is `told` of each of its gradients, the
    losses of the next ones as a vector.

    So a cause stands before its effects. Gradients are unscaled and not clipped, zero where there is none, and in the
    order of `gradient_names`.
    """
    of_each: tuple[Tensor, ...] = ()

    def mark(part: Part | None) -> None:
        nonlocal of_each
        if part == "optimizer":
            scale = 1.0 if step.scaler is None else step.scaler.scale
            grads = (p.new_zeros(()) if p.grad is None else p.grad for p in reversed(list(step.model.parameters())))
            of_each = torch.stack([told(grad) / scale for grad in grads]).unbind()  # in one block of memory

    first = one(mark)
    return first, *of_each, torch.stack([one(unmarked) for _ in range(1, CHECKED)])


def gradient_names(step: TrainingStep) -> list[str]:
    """Of the model's parameters, as backward comes to them: from the last to the first."""
    return [name for name, _ in reversed(list(step.model.named_parameters()))]
