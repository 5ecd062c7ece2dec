"""The cosine schedule against transformers' formula and torch's, at every step."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from llmbench.kernels.optim import CosineWithWarmup, cosine_with_warmup


def transformers_factor(step: int, warmup: int, total: int) -> float:
    """Source: transformers, optimization.py, _get_cosine_schedule_with_warmup_lr_lambda with num_cycles 0.5."""
    if step < warmup:
        return float(step) / float(max(1, warmup))
    progress = float(step - warmup) / float(max(1, total - warmup))
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))


def rates(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("warmup", "total"), [(0, 50), (10, 50), (1, 7), (50, 50)])
def test_it_equals_transformers_at_every_step(warmup: int, total: int) -> None:
    wanted = [3e-4 * transformers_factor(s, warmup, total) for s in range(total + (warmup < total))]
    found = rates(lambda o: CosineWithWarmup(o, warmup=warmup, total=total), len(wanted))
    assert found == pytest.approx(wanted, rel=1e-12, abs=1e-18)


def test_without_a_warm_up_it_equals_torch() -> None:
    wanted = rates(lambda o: CosineAnnealingLR(o, T_max=40, eta_min=3e-5), 41)
    assert rates(lambda o: CosineWithWarmup(o, warmup=0, total=40, floor=0.1), 41) == pytest.approx(wanted, rel=1e-9)


def test_it_is_continuous_at_the_end_of_the_warm_up_and_stays_at_its_floor() -> None:
    def factor(s: int) -> float:
        return cosine_with_warmup(s, warmup=100, total=1000, floor=0.1)

    assert factor(0) == 0 and factor(100) == 1 and factor(99) == 0.99 and 0.9999 < factor(101) < 1
    assert factor(1000) == factor(5000) == pytest.approx(0.1)
    assert factor(550) == pytest.approx(0.55)


def test_a_scheduler_goes_on_from_its_state() -> None:
    whole = rates(lambda o: CosineWithWarmup(o, warmup=3, total=20, floor=0.2), 20)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    first = CosineWithWarmup(optimizer, warmup=3, total=20, floor=0.2)
    for _ in range(8):
        optimizer.step()
        first.step()
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    second = CosineWithWarmup(other, warmup=1, total=2)
    other.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert other.param_groups[0]["lr"] == whole[8]
    other.step()
    second.step()
    assert other.param_groups[0]["lr"] == whole[9]


@pytest.mark.parametrize("wrong", [{"warmup": 11}, {"warmup": -1}, {"floor": 1.5}])
def test_what_is_no_schedule_is_said(wrong: dict) -> None:
    with pytest.raises(ValueError, match="wanted 0 <= warmup <= total"):
        cosine_with_warmup(3, **{"warmup": 0, "total": 10, **wrong})
