"""The ops optimizer, schedule and gemm: every implementation against its oracle, and what their figures say."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from llmbench.measure.check import judge
from llmbench.ops import gemm, optimizer, schedule
from llmbench.ops.op import Op, Unavailable
from llmbench.ops.optimizer import OptimizerParams
from llmbench.ops.optimizer.calls import ByLists, EightBit
from llmbench.ops.optimizer.params import REACHED, hyper, sizes
from llmbench.ops.oracle import expected
from llmbench.ops.work import build, make_inputs, other_values

torch.set_num_threads(1)
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


@pytest.mark.parametrize("rule", RULES)
def test_a_step_that_is_subtly_another_is_wrong(rule: Any) -> None:
    p = replace(SMALL, rule=rule)
    inputs = make_inputs(optimizer, p, torch.Generator().manual_seed(1))
    right = optimizer.impls["plain"].setup(p)

    def without_the_last_tensor(*buffers: Tensor) -> tuple[Tensor, ...]:
        kept = [b.clone() for b in buffers]
        out = right(*buffers)
        for b, before in zip(buffers, kept, strict=True):
            b[-sizes(p)[-1] :] = before[-sizes(p)[-1] :]
        return out

    other_rule = optimizer.impls["plain"].setup(replace(p, rule={"adamw": "adam_l2"}.get(rule, "adamw")))
    wrong = [without_the_last_tensor, lambda *b: (b[0], *b[2:])]
    if rule != "lion":
        h = hyper(p)
        plain_step = {"adamw": torch.optim.AdamW, "adam_l2": torch.optim.Adam}[rule]

        def uncorrected(params: list[Tensor], grads: list[Tensor], *moments: list[Tensor]) -> None:
            made = plain_step(params, lr=h.lr, weight_decay=h.weight_decay)
            for i, (q, g) in enumerate(zip(params, grads, strict=True)):
                q.grad = g
                state = {"step": torch.tensor(REACHED + 1.0), "exp_avg": moments[0][i], "exp_avg_sq": moments[1][i]}
                made.state[q].update(state)
            made.step()

        wrong += [other_rule, ByLists(p, uncorrected)]
    assert why_wrong(optimizer, p, right, inputs) is None
    for fn in wrong:
        assert why_wrong(optimizer, p, fn, inputs) is not None, fn


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
