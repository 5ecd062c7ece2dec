"""What is checked of steps of training: the first loss, and sketches of gradients and of what changes in weights."""

from collections.abc import Callable
from math import isqrt, sqrt

import torch
from torch import Generator, Tensor

from llmbench.kernels.training import Mark, Part, TrainingStep, unmarked
from llmbench.ops.gemm import multiplied_as

CHECKED = 3  # first steps: the third hangs on two updates, and AdamW's first is Lion's
SUMS = 16  # of a sketch
PIECE = 4096  # rows of a tensor that are widened at a time


def sketch(tensor: Tensor, sums: int = SUMS) -> Tensor:
    """Sums of a tensor with random signs, `sums` of them (a square number), float32 (float64 of float64).

    Linear, and about as long as the tensor in Frobenius norm: to 1/sqrt(`sums`), where values are independent.

    So two tensors whose difference has the norm d have sketches that are about d apart: they tell length and direction
    in little memory. The signs hang on the shape alone: outer products of those of rows and of columns.
    Source: Johnson and Lindenstrauss 1984; signs: Achlioptas 2003.
    """
    matrix_RC = tensor.flatten(1) if tensor.ndim > 1 else tensor.reshape(1, -1)
    rows, columns = matrix_RC.shape
    kept = isqrt(sums) if rows > 1 else 1
    wide, device = torch.promote_types(tensor.dtype, torch.float32), tensor.device
    rows_KR = _signs(kept, rows, seed=rows).to(device, wide)
    columns_LC = _signs(sums // kept, columns, seed=-columns).to(device, wide)
    with torch.autocast(device.type, enabled=False), multiplied_as("ieee"):
        sums_KC = matrix_RC.new_zeros(kept, columns, dtype=wide)
        for signs, piece in zip(torch.split(rows_KR, PIECE, dim=1), torch.split(matrix_RC, PIECE), strict=True):
            sums_KC += signs @ piece.to(wide)
        return (sums_KC @ columns_LC.T).flatten() / sqrt(sums)


def _signs(many: int, size: int, *, seed: int) -> Tensor:
    generator = Generator("cpu").manual_seed(seed)
    return 2 * torch.randint(0, 2, (many, size), generator=generator, dtype=torch.int8, device="cpu") - 1


def first_steps(
    step: TrainingStep, one: Callable[[Mark], Tensor], told: Callable[[Tensor], Tensor] = sketch
) -> tuple[Tensor, ...]:
    """What is checked of the first steps, which `one` makes: the loss of the first, what is `told` of each of its
    gradients, and of each parameter's change in all of them (`told` is linear).

    So a cause stands before its effects. Gradients are unscaled and not clipped, zero where there is none; parameters
    are in the order of `parameter_names`.
    """
    params = list(reversed(list(step.model.parameters())))
    gradients: tuple[Tensor, ...] = ()

    def mark(part: Part | None) -> None:
        nonlocal gradients
        if part == "optimizer":
            scale = 1.0 if step.scaler is None else step.scaler.scale
            grads = (p.new_zeros(()) if p.grad is None else p.grad for p in params)
            gradients = torch.stack([told(grad) / scale for grad in grads]).unbind()  # in one block of memory

    def now() -> Tensor:
        return torch.stack([told(p.detach()) for p in params])

    before, first = now(), one(mark)
    for _ in range(1, CHECKED):
        one(unmarked)
    return first, *gradients, *(now() - before).unbind()


def parameter_names(step: TrainingStep) -> list[str]:
    """Of the model's parameters, as backward comes to them: from the last to the first."""
    return [name for name, _ in reversed(list(step.model.named_parameters()))]
