"""Optimizers against torch's and lion-pytorch's, over many steps; what tells AdamW from Adam with an L2 penalty."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import lion_pytorch
import pytest
import torch
from torch import Tensor

from llmbench.kernels.device import interprets
from llmbench.kernels.optim import LION, FusedAdamW, FusedLion, Hyper, Lion, adam_l2_, adamw_, lion_
from llmbench.kernels.optim.fused import CANDIDATES, Blocks

DECAY = 0.1
needs_interpreter = pytest.mark.skipif(not interprets(), reason="a GPU is here: tests/gpu runs the kernels on it")


def tensors(dtype: torch.dtype = torch.float32, *, seed: int = 0) -> list[Tensor]:
    """Of sizes that blocks divide and do not divide, one of them empty, one of several axes."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g, dtype=dtype) for shape in ((5,), (0,), (33, 100), (1024,), (1,))]


def gradients(step: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return tensors(dtype, seed=100 + step)


def walk(make: Callable[[list[Tensor]], Any], *, dtype: torch.dtype, steps: int) -> tuple[list[Tensor], Any]:
    """The parameters after so many steps of an optimizer, and it."""
    params = tensors(dtype)
    optimizer = make(params)
    for step in range(steps):
        for p, grad in zip(params, gradients(step, dtype), strict=True):
            p.grad = grad
        optimizer.step()
    return params, optimizer


def by_rule(rule: Callable[..., None], moments: int, h: Hyper, *, dtype: torch.dtype, steps: int) -> list[Tensor]:
    params = tensors(dtype)
    state = [[torch.zeros_like(p) for _ in range(moments)] for p in params]
    for step in range(1, steps + 1):
        for p, grad, kept in zip(params, gradients(step - 1, dtype), state, strict=True):
            rule(p, grad, *kept, **({"step": step} if moments == 2 else {}), h=h)
    return params


def off(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference, as a share of the largest number."""
    return max(
        ((a - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, theirs, strict=True) if b.numel()
    )  # fmt: skip


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("rule", ["adamw", "adam_l2"])
def test_adam_equals_torch_over_100_steps(rule: str, dtype: torch.dtype, limit: float) -> None:
    kind, ours = {"adamw": (torch.optim.AdamW, adamw_), "adam_l2": (torch.optim.Adam, adam_l2_)}[rule]
    theirs, _ = walk(lambda ps: kind(ps, lr=1e-3, weight_decay=DECAY, foreach=False), dtype=dtype, steps=100)
    mine = by_rule(ours, 2, Hyper(lr=1e-3, weight_decay=DECAY), dtype=dtype, steps=100)
    assert off(mine, theirs) < limit
    assert off(theirs, tensors(dtype)) > 1e-3, "nothing moved"


@needs_interpreter
def test_fused_adamw_equals_torch_over_100_steps() -> None:
    options = {"lr": 1e-3, "weight_decay": DECAY}
    theirs, _ = walk(lambda ps: torch.optim.AdamW(ps, **options, foreach=False), dtype=torch.float32, steps=100)
    mine, _ = walk(lambda ps: FusedAdamW(ps, **options), dtype=torch.float32, steps=100)
    assert off(mine, theirs) < 1e-6


@pytest.mark.parametrize("foreach", [False, True])
def test_lion_equals_lion_pytorch_over_100_steps_in_float64(foreach: bool) -> None:
    options = {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": DECAY}
    theirs, _ = walk(lambda ps: lion_pytorch.Lion(ps, **options), dtype=torch.float64, steps=100)
    mine, _ = walk(lambda ps: Lion(ps, **options, foreach=foreach), dtype=torch.float64, steps=100)
    assert off(mine, theirs) < 1e-12


@pytest.mark.parametrize("kind", ["for_loop", "foreach", pytest.param("fused", marks=needs_interpreter)])
def test_a_step_of_lion_in_float32_flips_only_signs_that_hang_on_rounding(kind: str) -> None:
    """From equal state: long fp32 trajectories part by 2 lr wherever an update is a rounding away from 0."""
    lr, make = 1e-3, {"for_loop": lambda p: Lion(p, lr=1e-3, weight_decay=DECAY, foreach=False),
                      "foreach": lambda p: Lion(p, lr=1e-3, weight_decay=DECAY),
                      "fused": lambda p: FusedLion(p, lr=1e-3, weight_decay=DECAY)}[kind]  # fmt: skip
    params, moment = tensors(), tensors(seed=7)
    moment[2].view(-1)[:50] = -gradients(0)[2].view(-1)[:50] / 9  # an update of 0, but for rounding
    wide = [p.double() for p in params]
    optimizer = make(params)
    for i, (p, w) in enumerate(zip(params, wide, strict=True)):
        p.grad = gradients(0)[i]
        optimizer.state[p].update({"exp_avg": moment[i].clone(), **({"step": 0} if kind == "fused" else {})})
        lion_(w, p.grad.double(), moment[i].double(), h=Hyper(lr, LION.beta1, LION.beta2, 0.0, DECAY))
    optimizer.step()
    flips = 0
    for p, w, m, g in zip(params, wide, moment, gradients(0), strict=True):
        update = LION.beta1 * m.double() + (1 - LION.beta1) * g.double()
        flipped = (p.double() - w).abs() > 1e-6
        assert (update.abs()[flipped] < 4 * torch.finfo(torch.float32).eps).all()
        flips += int(flipped.sum())
    assert flips <= 51


def test_lion_keeps_exactly_half_of_the_moments_of_adamw() -> None:
    def moments(kind: Any) -> int:
        _, optimizer = walk(kind, dtype=torch.float32, steps=1)
        return sum(t.nbytes for s in optimizer.state.values() for k, t in s.items() if k.startswith("exp_avg"))

    assert 2 * moments(Lion) == moments(torch.optim.AdamW) == 8 * sum(t.numel() for t in tensors())


@pytest.mark.parametrize("form", ["rule", pytest.param("fused", marks=needs_interpreter)])
def test_without_a_gradient_adamw_decays_and_adam_with_l2_does_something_else(form: str) -> None:
    h = Hyper(lr=1e-2, weight_decay=DECAY)
    p = torch.tensor([1.0, -2.0, 100.0])
    decayed, penalised, zero = p.clone(), p.clone(), torch.zeros(3)
    if form == "fused":
        decayed.grad = zero
        FusedAdamW([decayed], lr=h.lr, weight_decay=DECAY).step()
    else:
        adamw_(decayed, zero, torch.zeros(3), torch.zeros(3), step=1, h=h)
    adam_l2_(penalised, zero, torch.zeros(3), torch.zeros(3), step=1, h=h)
    torch.testing.assert_close(decayed, p - h.lr * DECAY * p)
    torch.testing.assert_close(penalised, p - h.lr * p.sign())  # the penalty alone is a gradient, and is normalised


@needs_interpreter
@pytest.mark.parametrize("kind", [FusedAdamW, FusedLion])
def test_tuning_leaves_parameters_and_state_as_they_were(kind: Any) -> None:
    plain, _ = walk(kind, dtype=torch.float32, steps=3)
    params, optimizer = walk(kind, dtype=torch.float32, steps=2)
    before = copy.deepcopy([params, [optimizer.state[p] for p in params]])
    tried: list[object] = []

    def timed(call: Callable[[], object]) -> float:
        call()
        call()  # as often as a timer likes
        tried.append(call)
        return float(len(CANDIDATES) - len(tried))

    assert optimizer.tuned(timed) == CANDIDATES[-1] and len(tried) == len(CANDIDATES)
    for old, new in zip(before[0], params, strict=True):
        assert torch.equal(old, new)
    assert str(before[1]) == str([optimizer.state[p] for p in params])
    for p, grad in zip(params, gradients(2), strict=True):
        p.grad = grad
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(plain, params, strict=True)), "other blocks, other numbers"


@needs_interpreter
@pytest.mark.parametrize("kind", [FusedAdamW, FusedLion])
def test_a_launch_that_does_not_fit_is_tried_again_and_changes_nothing(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.runtime.errors import OutOfResources

    plain, _ = walk(kind, dtype=torch.float32, steps=3)
    launch = kind._launch

    def full_at_first(self: Any, group: Any, likes: Any, table: Any, blocks: Blocks) -> None:
        if blocks in CANDIDATES[:2]:
            raise OutOfResources(300_000, 232_448, "shared memory")
        launch(self, group, likes, table, blocks)

    monkeypatch.setattr(kind, "_launch", full_at_first)
    retried, optimizer = walk(kind, dtype=torch.float32, steps=3)
    assert optimizer.blocks == CANDIDATES[2]
    assert all(torch.equal(a, b) for a, b in zip(plain, retried, strict=True))


@needs_interpreter
def test_fused_optimizers_follow_gradients_that_move_and_views_that_are_not_aligned() -> None:
    whole = torch.arange(64.0)
    odd, even = whole[1:10], whole[16:32]
    twins = [odd.clone(), even.clone()]
    ours, theirs = FusedAdamW([odd, even], weight_decay=DECAY), torch.optim.AdamW(twins, weight_decay=DECAY)
    for step in range(4):
        keep = torch.randn(step * 7 + 1)  # so that the next gradient has another address
        for p, q in zip((odd, even), twins, strict=True):
            p.grad = torch.full_like(p, step - 1.5)
            q.grad = p.grad.clone()
        ours.step()
        theirs.step()
        del keep
    for p, q in zip((odd, even), twins, strict=True):
        torch.testing.assert_close(p, q)
    assert torch.equal(whole[10:16], torch.arange(10.0, 16.0)), "wrote beside its tensor"


@needs_interpreter
def test_fused_adamw_goes_on_from_its_own_state_and_from_that_of_torch() -> None:
    wanted, _ = walk(FusedAdamW, dtype=torch.float32, steps=4)
    for first in (FusedAdamW, torch.optim.AdamW):
        params, optimizer = walk(first, dtype=torch.float32, steps=3)
        resumed = copy.deepcopy(FusedAdamW(params))
        params = resumed.param_groups[0]["params"]
        resumed.load_state_dict(optimizer.state_dict())
        for p, grad in zip(params, gradients(3), strict=True):
            p.grad = grad
        resumed.step()
        for a, b in zip(params, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@needs_interpreter
def test_half_precision_is_stored_and_float32_computed() -> None:
    params, _ = walk(lambda ps: FusedLion(ps, lr=0.01), dtype=torch.float16, steps=1)
    assert {p.dtype for p in params} == {torch.float16}
    wide = [t.float() for t in tensors(torch.float16)]
    for w, g in zip(wide, gradients(0, torch.float16), strict=True):
        lion_(w, g.float(), torch.zeros_like(w), h=LION._replace(lr=0.01))
    assert all(torch.equal(p, w.half()) for p, w in zip(params, wide, strict=True))


@needs_interpreter
def test_what_a_fused_optimizer_does_not_take_is_said() -> None:
    p = torch.zeros(4, 4).T[:2]
    p.grad = torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"contiguous float32, bfloat16 and float16.*float32 \(2, 4\)"):
        FusedLion([p]).step()
    with pytest.raises(ValueError, match="betas"):
        FusedAdamW([torch.zeros(1)], betas=(0.9, 1.0))


def test_a_closure_is_called_with_gradients() -> None:
    p = torch.ones(3, requires_grad=True)
    optimizer = Lion([p], lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.9))
