"""Benchmarks of what is told of a training step: `make perf`. Figures, not assertions."""

from dataclasses import replace
from statistics import median
from time import perf_counter

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from llmbench.kernels.training import TrainingStep
from llmbench.ops.train_step import TrainStepParams, recipe_of
from llmbench.ops.train_step.implementations import PartClock

ROUNDS = 60
PLAIN = TrainStepParams(seq_len=128, micro_batch=4, attention="naive")


@pytest.mark.parametrize("p", [PLAIN, replace(PLAIN, micro_batch=1, accumulation=4, checkpointing="full")], ids=str)
def test_the_parts_of_a_step_beside_the_whole(benchmark: BenchmarkFixture, p: TrainStepParams) -> None:
    """`parts_over_step`: parts of marked steps, over unmarked steps in turn with them; wanted: 0.97 to 1.03."""
    device = torch.device("cpu")
    step, clock = TrainingStep(recipe_of(p, device=device), device=device), PartClock(device)

    def turn() -> tuple[float, float]:
        """Seconds of an unmarked step, and of the parts of the marked one after it."""
        begin = perf_counter()
        step()
        whole = perf_counter() - begin
        step(clock.mark)
        return whole, sum(clock.take().values())

    def run() -> list[tuple[float, float]]:
        return [turn() for _ in range(ROUNDS)]

    run()
    found = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["parts_over_step"] = median(parts / whole for whole, parts in found)
