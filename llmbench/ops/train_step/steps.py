"""Steps of training as they are measured: by a recipe, the same losses first, and passes of their own for all else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement
from math import pi, sqrt
from random import Random
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from llmbench.kernels.training import PARTS, Mark, Recipe, TrainingStep, measured_memory, unmarked
from llmbench.ops.gemm import multiplied_as
from llmbench.ops.train_step.checked import first_steps
from llmbench.ops.train_step.definition import SEED
from llmbench.ops.train_step.params import TrainStepParams

Key = str | tuple[str, str]
LEARNED = 20  # steps after which the loss is told: fewer than are made
WARM = 4  # steps before those that are timed, in a row that update weights: as many as there are different data
PLACES = 4  # after so many steps the data is the same again
TURNS = (False, True, True, False, True, False, False, True)  # of steps with marks and without, in an octet
OCTETS = range(4, 13)  # of them, or the other way round
STEADY = 0.009  # standard error of the ratio of the two, from which on there are octets enough: a look is for 3 %
PATIENCE_S = 10.0  # for warming up beyond LEARNED steps, and again for octets beyond the least: not for slow steps


class Steps:
    """Steps of one model. A call makes one and gives what is checked, as `first_steps` tells it: the loss of the first
    step, a sketch of each of its gradients, and of what the first steps change. `reset` forgets the model.

    The first call builds the model and makes all of those steps, so that what an optimizer keeps is there: the memory
    of that call is the memory of training. An implementation of `train_step` is these steps by its `recipe`, which
    `recipe_of` gives and `dataclasses.replace` changes.
    """

    def __init__(self, p: TrainStepParams, recipe: Recipe) -> None:
        self._p, self._recipe = p, recipe
        self._device = torch.empty(0).device  # that of set-up
        self._step: TrainingStep | None = None
        self._first: tuple[Tensor, ...] | None = None
        self._seed = SEED

    def __call__(self, seed: Tensor) -> tuple[Tensor, ...]:
        if self._step is None or self._first is None:
            self._seed = int(seed.item())
            self._step = self._made()
            self._first = first_steps(self._step, self._kept)
        else:
            self._one()
        return self._first

    def reset(self) -> None:
        """The next call begins anew."""
        self._step, self._first = None, None

    def figures(self) -> Mapping[Key, float]:
        """From passes of their own, begun anew: parts of the time, loss after some steps, parts of the memory."""
        self.reset()  # or two models would be there at once
        self._step = self._made()
        found = self._steady()
        scaler = self._step.scaler
        scale = self._recipe.loss_scale if scaler is None else scaler.scale  # at which no update is left out
        self.reset()
        if self._recipe.compiled:
            return found
        memory = measured_memory(lambda: self._made(replace(self._recipe, loss_scale=scale)))
        found |= {("peak_memory", kind): float(size) for kind, size in memory.parts.items()}
        return found | {"activation_memory": float(memory.working)}

    def _made(self, recipe: Recipe | None = None) -> TrainingStep:
        return TrainingStep(recipe or self._recipe, device=self._device, seed=self._seed)

    def _one(self, mark: Mark = unmarked) -> Tensor:
        assert self._step is not None
        with multiplied_as(self._p.matmul):
            return self._step(mark)

    def _kept(self, mark: Mark) -> Tensor:
        """The loss of a step that is not skipped: one whose scaled gradients overflow is made again, at a lower scale.

        So the first losses are those of a reference that scales nothing. What is not finite even unscaled stays.
        """
        assert self._step is not None
        while True:
            skipped, loss = self._step.skipped, self._one(mark)
            if self._step.skipped == skipped or not loss.isfinite() or not self._may_settle():
                return loss
            self._step.steps -= 1

    def _steady(self) -> dict[Key, float]:
        """Seconds of each part, the median over steps, and their sum over steps that no mark disturbs; in the same
        steps the loss of the LEARNED-th, and what loss scaling did until then.

        The device is waited for between parts. Steps with marks and without take turns in octets. Every fourth step has
        the same data and how long steps take may alternate, as blocks of memory come and go: in an octet both kinds are
        at each of four places once, which gives four ratios, and a drift cancels. Where ratios differ by more there are
        more octets, unless steps are slow; that is no look at their middle. On a CPU with neighbours the middles of the
        ratios of whole octets were off by more than 3 % in 12 of 100 looks, those of places in none. An octet in which
        loss scaling left an update out is made again, while that may help and patience lasts.
        """
        assert self._step is not None
        step, clock, chance = self._step, PartClock(self._device), Random(SEED)
        found: dict[Key, float] = {}
        spent: list[dict[str, float]] = []
        ratios: list[float] = []

        def one(mark: Mark) -> None:
            loss = self._one(mark)
            if step.steps == LEARNED:
                found["loss_after"] = float(loss.item())
                if step.scaler is not None:
                    found.update({"skipped_steps": step.skipped, "loss_scale_after": step.scaler.scale})

        made = clean = 0  # steps, and the last of them in a row whose update was made
        until = perf_counter() + PATIENCE_S
        while made < WARM or (clean < WARM and self._may_settle() and (made < LEARNED or perf_counter() < until)):
            skipped = step.skipped
            one(clock.mark)
            clock.take()
            made, clean = made + 1, clean + 1 if step.skipped == skipped else 0
        until = perf_counter() + PATIENCE_S
        while (octets := len(ratios) // PLACES) < OCTETS.start or (
            octets < OCTETS[-1] and _standard_error(ratios) > STEADY and perf_counter() < until
        ):
            swapped, skipped = chance.random() < 0.5, step.skipped
            may_settle = self._may_settle() and perf_counter() < until
            marked, took = self._octet([turn != swapped for turn in TURNS], one, clock)
            if step.skipped > skipped and may_settle:
                continue  # loss scaling had not come down to where it leaves nothing out: another octet instead
            spent += marked
            ratios += took
        found |= {("time", part): median(s.get(part, 0.0) for s in spent) for part in PARTS}
        return found | {"parts_over_step": _middle(ratios)}

    def _octet(
        self, turns: Sequence[bool], one: Callable[[Mark], None], clock: "PartClock"
    ) -> tuple[list[dict[str, float]], list[float]]:
        """Steps with marks and without, in these turns: the parts of each with, and the ratios of the two by place."""
        spent: list[dict[str, float]] = []
        took: dict[bool, dict[int, float]] = {True: {}, False: {}}  # seconds by place, with marks and without
        for turn, is_marked in enumerate(turns):
            begin = perf_counter()
            one(clock.mark if is_marked else unmarked)
            if is_marked:
                spent.append(clock.take())
                took[True][turn % PLACES] = sum(spent[-1].values())
            else:
                _wait_for(self._device)
                took[False][turn % PLACES] = perf_counter() - begin
        return spent, [took[True][place] / took[False][place] for place in range(PLACES)]

    def _may_settle(self) -> bool:
        """Whether a lower loss scale may help where a gradient is not finite: below 1 it is not the scale's fault."""
        assert self._step is not None
        return self._step.scaler is None or self._step.scaler.scale >= 1


def _middle(ratios: Sequence[float]) -> float:
    """The median of the means of all pairs: nearly as sharp as a mean, and spikes do not move it. Means are geometric.

    Source: Hodges and Lehmann, Estimates of location based on rank tests, 1963.
    """
    return median(sqrt(one * other) for one, other in combinations_with_replacement(ratios, 2))


def _standard_error(ratios: Sequence[float]) -> float:
    """Of that middle, as a share of it, if they were normal: by their median absolute deviation."""
    middle = median(ratios)
    return sqrt(pi / 3) * 1.4826 * median(abs(ratio - middle) for ratio in ratios) / (middle * sqrt(len(ratios)))


class PartClock:
    """Wall time of the parts of a step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spent: dict[str, float] = {}
        self._part: str | None = None
        self._since = 0.0

    def mark(self, part: str | None) -> None:
        """A part begins; None: the step is over."""
        _wait_for(self._device)
        now = perf_counter()
        if self._part is not None:
            self._spent[self._part] = self._spent.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, now

    def take(self) -> dict[str, float]:
        """What the last step's parts took."""
        spent, self._spent = self._spent, {}
        return spent


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
