"""A training step: micro-batches forward and backward, gradients scaled and clipped, the optimizer's update."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from llmbench.kernels.model import Batch, Corpus, Decoder
from llmbench.kernels.precision import LossScaler
from llmbench.kernels.training.recipe import Recipe
from llmbench.kernels.training.stages import Given, counts, make_stage

Part = Literal["data", "forward", "backward", "optimizer"]
PARTS: tuple[Part, ...] = ("data", "forward", "backward", "optimizer")
Mark = Callable[[Part | None], object]  # called as a part of a step begins, and with None when the step is over
ROUND = 4  # steps whose data are met in turn: a model learns them


def unmarked(part: Part | None) -> None:
    """Nobody listens."""


class Data:
    """The micro-batches of a recipe's steps, on the CPU: sequences of unequal length, the same ones every few steps."""

    def __init__(self, recipe: Recipe, *, seed: int = 0) -> None:
        self._recipe, self._corpus = recipe, Corpus(recipe.config.vocab, seed=seed)

    def __call__(self, step: int) -> list[Given]:
        """Those of a step, each with its share of what counts in it."""
        r = self._recipe
        first = step % ROUND * r.accumulation
        batches = [self._draw(first + i) for i in range(r.accumulation)]
        counted = [counts(batch, r) for batch in batches]
        return [
            Given(batch, count / max(1, sum(counted)), first + i)
            for i, (batch, count) in enumerate(zip(batches, counted, strict=True))
        ]

    def _draw(self, index: int) -> Batch:
        """Of three tokens at the least: of two, the one that is learned from attends to itself alone."""
        r = self._recipe
        rows = 2 * r.rows if r.pairs else r.rows
        return self._corpus.ragged(index, batch=rows, seq_len=r.seq_len, shortest=max(3, r.seq_len // 2))


class TrainingStep:
    """A model in training by a recipe; each call makes one step and gives its loss, a float32 scalar (float64 of
    float64) on the device.

    The loss is the mean over all that counts in the step, however unequally micro-batches share it: gradients equal
    those of one large batch. Weights and data follow from `seed`. `drawn` gives the micro-batches of a step otherwise
    than `Data` would, `place` brings a tensor of them to the device.
    Raises: what the model, the stage and the optimizer raise.
    """

    def __init__(
        self, recipe: Recipe, *, device: torch.device, seed: int = 0, drawn: Callable[[int], list[Given]] | None = None,
        place: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.device, self.steps = recipe, device, 0
        generator = torch.Generator().manual_seed(seed)
        self.model = Decoder(
            recipe.config, recipe.attention, checkpointing=recipe.checkpointing, early_stop=recipe.early_stop,
            generator=generator, device=device, dtype=recipe.dtype,
        )  # fmt: skip
        self.stage = make_stage(recipe, self.model)
        self._loss = torch.compile(self.stage.loss, dynamic=False) if recipe.compiled else self.stage.loss
        self.optimizer = recipe.make_optimizer(self.model.parameters())
        self.scaler = LossScaler(recipe.loss_scale) if recipe.autocast is torch.float16 else None
        self._drawn = drawn or Data(recipe, seed=seed)
        self._place = place or (lambda t: t.to(device, non_blocking=True))

    def __call__(self, mark: Mark = unmarked) -> Tensor:
        """One step; `mark` is called as each part of each micro-batch begins, and with None at the end."""
        losses = []
        mark("data")
        for given in self.data():
            mark("forward")
            with self._autocast():  # apart: weights that it casts without gradients would be kept for the loss
                before = self.stage.before(self.model, given)
            with self._autocast():
                loss = self._loss(self.model, given, before) * given.share
            mark("backward")
            torch.autograd.backward(loss if self.scaler is None else self.scaler.scaled(loss))
            losses.append(loss.detach())
            del loss, before  # to give the graph back takes a while too, and is backward's
        mark("optimizer")
        self._update()
        self.steps += 1
        whole = torch.stack(losses).sum()
        mark(None)
        return whole

    @property
    def skipped(self) -> int:
        """Updates left out until now, since a scaled gradient was infinite or NaN."""
        return 0 if self.scaler is None else self.scaler.skipped

    def data(self) -> list[Given]:
        """The micro-batches of the next step, on the device."""
        return [
            Given(Batch(*(self._place(t) for t in batch)), share, number)
            for batch, share, number in self._drawn(self.steps)
        ]

    def _update(self) -> None:
        params = [p for p in self.model.parameters() if p.grad is not None]
        if self.scaler is not None:
            self.scaler.unscale_(params)
        nn.utils.clip_grad_norm_(params, self.recipe.clip, foreach=True)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.recipe.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.recipe.autocast)
