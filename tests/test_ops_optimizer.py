"""The ops optimizer, schedule and gemm: every implementation against its oracle, and what their figures say."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from llmbench.kernels.optim import Hyper, adamw_, lion_
from llmbench.measure.check import judge
from llmbench.ops import gemm, optimizer, schedule
from llmbench.ops.op import Op, Unavailable
from llmbench.ops.optimizer import OptimizerParams
from llmbench.ops.optimizer.calls import EightBit
from llmbench.ops.optimizer.params import REACHED, hyper, sizes
from llmbench.ops.oracle import expected
from llmbench.ops.work import build, make_inputs, other_values

SMALL = OptimizerParams(num_params=5000, num_tensors=7)
RULES = ("adamw", "lion", "adam_l2")


def runnable(op: Op[Any]) -> list[str]:
    return [n for n, i in op.impls.items() if i.why_unavailable(None, device_type="cpu") is None]


def why_wrong(op: Op[Any], p: Any, fn: Any, inputs: list[Tensor]) -> str | None:
    """Of a call on copies of these inputs."""
    outputs = fn(*(t.clone() for t in inputs))
    return judge(outputs if isinstance(outputs, tuple) else (outputs,), expected(op, p, op.phases[0], inputs)).why


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", runnable(optimizer))
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's import
def test_every_optimizer_makes_the_step_of_its_rule(name: str, rule: Any, dtype: Any) -> None:
    p = replace(SMALL, rule=rule, dtype=dtype)
    try:
        fn = build(optimizer.impls[name], p, device="cpu")
    except Unavailable as e:
        pytest.skip(str(e))
    inputs = make_inputs(optimizer, p, torch.Generator().manual_seed(1))
    assert why_wrong(optimizer, p, fn, inputs) is None
    mine = [t.clone() for t in inputs]
    for _ in range(3):  # as timing does: what it may change is put back, and it is told
        for t, before in zip(mine, inputs, strict=True):
            t.copy_(before)
        if hasattr(fn, "reset"):
            fn.reset()
        outputs = fn(*mine)
    assert judge(outputs, expected(optimizer, p, "step", inputs)).why is None
    others = other_values(inputs)
    if hasattr(fn, "reset"):
        fn.reset()
    for t, other in zip(mine, others, strict=True):
        t.copy_(other)
    assert judge(fn(*mine), expected(optimizer, p, "step", others)).why is None
    moments = 1 if rule == "lion" else 2
    itemsize = 4 if dtype == "float32" else 2
    assert fn.figures()["moments_per_param"] == moments * itemsize
    assert fn.figures()["state_memory"] >= moments * itemsize * p.num_params


def stepped(p: OptimizerParams, change: Callable[..., None]) -> Any:
    """A step by a mutant of a rule: `change(params, grads, moments, h)` in place, over all numbers as one tensor."""

    def step(params: Tensor, grads: Tensor, *moments: Tensor) -> tuple[Tensor, ...]:
        change(params, grads, moments, hyper(p))
        return (params, *moments)

    return step


def adam(**wrong: float) -> Callable[..., None]:
    def change(params: Tensor, grads: Tensor, moments: tuple[Tensor, Tensor], h: Hyper) -> None:
        step = wrong.get("step", REACHED + 1)
        adamw_(params, grads, *moments, step=step, h=h._replace(**{k: v for k, v in wrong.items() if k != "step"}))

    return change


def unmoved(params: Tensor, grads: Tensor, moments: tuple[Tensor, Tensor], h: Hyper) -> None:
    adamw_(params.clone(), grads, *moments, step=REACHED + 1, h=h)


def lion(**wrong: float) -> Callable[..., None]:
    def change(params: Tensor, grads: Tensor, moments: tuple[Tensor], h: Hyper) -> None:
        before = moments[0].clone()
        lion_(params, grads, before, h=h._replace(**wrong))
        moments[0].lerp_(grads, 1 - h.beta2)

    return change


def lion_of_the_new_momentum(params: Tensor, grads: Tensor, moments: tuple[Tensor], h: Hyper) -> None:
    moments[0].lerp_(grads, 1 - h.beta2)
    params.mul_(1 - h.lr * h.weight_decay).add_(torch.lerp(moments[0], grads, 1 - h.beta1).sign(), alpha=-h.lr)


MUTANTS: dict[str, tuple[Any, Callable[..., None]]] = {
    "half the rate": ("adamw", adam(lr=0.05)),
    "no decay": ("adamw", adam(weight_decay=0.0)),
    "another beta1": ("adamw", adam(beta1=0.95)),
    "another beta2": ("adamw", adam(beta2=0.99)),
    "a step too many": ("adamw", adam(step=REACHED + 2)),
    "a step too few": ("adamw", adam(step=REACHED)),
    "moments alone": ("adamw", unmoved),
    "half the rate of lion": ("lion", lion(lr=0.05)),
    "lion without decay": ("lion", lion(weight_decay=0.0)),
    "lion with another beta1": ("lion", lion(beta1=0.95)),
    "lion with yet another beta1": ("lion", lion(beta1=0.85)),
    "lion of the new momentum": ("lion", lion_of_the_new_momentum),
    "adamw for adam_l2": ("adam_l2", adam()),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MUTANTS)
def test_a_step_that_is_subtly_another_is_wrong(name: str, dtype: Any) -> None:
    rule, change = MUTANTS[name]
    p = replace(SMALL, rule=rule, dtype=dtype)
    inputs = make_inputs(optimizer, p, torch.Generator().manual_seed(1))
    right = {"adamw": adam(), "lion": lion()}.get(rule)
    assert right is None or why_wrong(optimizer, p, stepped(p, right), inputs) is None
    assert why_wrong(optimizer, p, stepped(p, change), inputs) is not None


def test_a_step_that_leaves_the_last_tensor_is_wrong() -> None:
    inputs = make_inputs(optimizer, SMALL, torch.Generator().manual_seed(1))
    right = optimizer.impls["plain"].setup(SMALL)

    def without_the_last_tensor(*buffers: Tensor) -> tuple[Tensor, ...]:
        kept = [b.clone() for b in buffers]
        out = right(*buffers)
        for b, before in zip(buffers, kept, strict=True):
            b[-sizes(SMALL)[-1] :] = before[-sizes(SMALL)[-1] :]
        return out

    assert why_wrong(optimizer, SMALL, without_the_last_tensor, inputs) is not None


class Quantised(torch.Tensor):
    """A moment in 8 bits that calls itself float32 and refuses to be cloned, as torchao's does."""

    codes: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, codes: Tensor, scale: Tensor) -> "Quantised":
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32)  # type: ignore[attr-defined]

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        self.codes, self.scale = codes, scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["codes", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(func)


BOOK = torch.linspace(-1, 1, 256)


class Eight(torch.optim.Optimizer):
    """A first step of AdamW by quantised moments, with a code book that all parameters share."""

    def __init__(self, params: list[Tensor], h: Hyper) -> None:
        super().__init__(params, {})
        self.h = h

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            if not state:
                codes = torch.zeros(p.numel(), dtype=torch.uint8)
                state.update(m=Quantised(codes, torch.ones(1)), v=Quantised(codes.clone(), torch.ones(1)), book=BOOK)
            mean = state["m"].codes.float()
            adamw_(p, p.grad, mean, state["v"].codes.float(), step=1, h=self.h)
            state["m"].codes.copy_(mean.abs().mul(100).clamp(max=255))


def test_the_state_of_wrappers_is_counted_by_what_they_are_made_of_and_put_back() -> None:
    p = replace(SMALL, state="8bit")
    fn = EightBit(p, lambda params: Eight(params, hyper(p)))
    inputs = make_inputs(optimizer, p, torch.Generator().manual_seed(1))
    wanted = expected(optimizer, p, "step", inputs)
    mine = [t.clone() for t in inputs]
    for _ in range(2):
        mine[0].copy_(inputs[0])
        fn.reset()
        assert judge(fn(*mine), wanted).why is None
    of_codes = 2 * p.num_params + 2 * 4 * p.num_tensors
    assert fn.figures()["state_memory"] == of_codes + BOOK.nbytes  # once, though every parameter has it


def test_an_optimizer_that_makes_its_own_state_begins_each_call_with_a_first_step() -> None:
    p = replace(SMALL, state="8bit")
    h = hyper(p)
    fn = EightBit(p, lambda ps: torch.optim.AdamW(ps, lr=h.lr, weight_decay=h.weight_decay))
    inputs = make_inputs(optimizer, p, torch.Generator().manual_seed(1))
    mine = [t.clone() for t in inputs]
    wanted = expected(optimizer, p, "step", inputs)
    for _ in range(2):
        mine[0].copy_(inputs[0])
        fn.reset()
        assert judge(fn(*mine), wanted).why is None
    mine[0].copy_(inputs[0])
    mine[1].neg_()
    fn(*mine)
    mine[0].copy_(inputs[0])
    mine[1].copy_(inputs[1])
    assert judge(fn(*mine), wanted).why is not None, "a third step passed for a first one"
    assert fn.figures()["moments_per_param"] == 8


@pytest.mark.parametrize(("num_params", "num_tensors"), [(5000, 7), (10, 10), (3, 2), (64 * 4, 4), (1, 1)])
def test_tensors_hold_all_numbers(num_params: int, num_tensors: int) -> None:
    found = sizes(OptimizerParams(num_params=num_params, num_tensors=num_tensors))
    assert sum(found) == num_params and len(found) == num_tensors and min(found) > 0


def test_the_byte_floor_of_adamw_is_28_and_that_of_lion_20() -> None:
    assert optimizer.cost(replace(SMALL, num_params=1), "step").bytes == 28
    assert optimizer.cost(replace(SMALL, num_params=1, rule="lion"), "step").bytes == 20
    assert optimizer.cost(replace(SMALL, num_params=1, state="8bit"), "step").bytes == 16


@pytest.mark.parametrize("step", [0, 1, 10, 30, 41])
@pytest.mark.parametrize(("warmup", "floor"), [(0, 0.0), (10, 0.1)])
@pytest.mark.parametrize("name", runnable(schedule))
def test_every_scheduler_reaches_the_rate_of_the_formula(name: str, warmup: int, floor: float, step: int) -> None:
    p = schedule.params(step=step, total=40, warmup=warmup, floor=floor)
    try:
        fn = build(schedule.impls[name], p, device="cpu")
    except Unavailable as e:
        pytest.skip(str(e))
    inputs = make_inputs(schedule, p, torch.Generator())
    assert why_wrong(schedule, p, fn, inputs) is None
    assert fn(*inputs).item() == pytest.approx(schedule.figures(p)["learning_rate"] * inputs[0].item())
    if step:
        late = build(schedule.impls[name], replace(p, step=step - 1), device="cpu")
        assert step == 41 or why_wrong(schedule, p, late, inputs) is not None


@pytest.mark.parametrize(
    ("dtype", "matmul"), [("float32", "ieee"), ("float32", "tf32"), ("bfloat16", "ieee"), ("float16", "ieee")]
)
@pytest.mark.parametrize("name", runnable(gemm))
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's import
def test_every_product_is_right_in_every_precision(name: str, dtype: Any, matmul: Any) -> None:
    p = gemm.params(rows=33, columns=40, inner=64, dtype=dtype, matmul=matmul)
    inputs = make_inputs(gemm, p, torch.Generator().manual_seed(2))
    assert why_wrong(gemm, p, build(gemm.impls[name], p, device="cpu"), inputs) is None
    assert torch.get_float32_matmul_precision() == "highest"
    assert why_wrong(gemm, p, lambda a, b: a[:, :-1] @ b[:, :-1].T, inputs) is not None
