"""Losses, optimizers and products on a GPU: every implementation that is installed, against its oracle."""

from typing import Any

import pytest
import torch

from llmbench.kernels.optim import FusedAdamW, FusedLion
from llmbench.measure.check import judge
from llmbench.measure.compiling import forget_compiled
from llmbench.ops import cross_entropy, gemm, optimizer
from llmbench.ops.op import Op, Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.work import build, make_douts, make_inputs, other_values, output_like, work

CASES: list[tuple[Op[Any], dict[str, Any]]] = [
    *((cross_entropy, {"tokens": 300, "vocab": v, "hidden": h, "dtype": t})
      for v, h in ((131072, 0), (50257, 0), (32768, 256)) for t in ("bfloat16", "float32")),
    *((optimizer, {"num_params": 1_000_003, "num_tensors": 77, "rule": r, "dtype": t})
      for r in ("adamw", "lion", "adam_l2") for t in ("float32", "bfloat16")),
    *((optimizer, {"num_params": 1_048_576, "rule": r, "state": "8bit"}) for r in ("adamw", "lion")),
    *((gemm, {"rows": 500, "columns": 700, "inner": 1024, **p}) for p in (
        {"dtype": "float32"}, {"dtype": "float32", "matmul": "tf32"}, {"dtype": "bfloat16"}, {"dtype": "float16"})),
]  # fmt: skip


def named(op: Op[Any], values: dict[str, Any], name: str) -> Any:
    return pytest.param(op, values, name, id=f"{op.name} {' '.join(map(str, values.values()))} {name}")


@pytest.mark.parametrize(("op", "values", "name"), [named(o, v, n) for o, v in CASES for n in o.impls])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of inductor's imports, of packages
def test_every_implementation_is_right_on_the_gpu(op: Op[Any], values: dict[str, Any], name: str) -> None:
    impl, p = op.impls[name], op.params(**values)
    forget_compiled()
    generator = torch.Generator("cuda").manual_seed(0)
    for phase in [ph for ph in ("fwd_bwd", "infer", "step") if ph in impl.phases]:
        if why := impl.why_unavailable(phase, device_type="cuda"):
            pytest.skip(why)
        inputs = make_inputs(op, p, generator)
        douts = make_douts(output_like(op, p, inputs), generator) if phase == "fwd_bwd" else ()
        wanted, others = expected(op, p, phase, inputs, douts), expected(op, p, phase, other_values(inputs), douts)
        changed = other_values(inputs)
        try:
            fn = build(impl, p, device="cuda")
            given = [t.clone() for t in inputs]
            assert judge(work(op, impl, fn, given, phase, device_type="cuda", douts=douts).call(), wanted).why is None
        except Unavailable as e:
            pytest.skip(str(e))
        if hasattr(fn, "reset"):
            fn.reset()
        for t, other in zip(given, changed, strict=True):
            t.copy_(other)
        assert judge(work(op, impl, fn, given, phase, device_type="cuda", douts=douts).call(), others).why is None


@pytest.mark.parametrize("kind", [FusedAdamW, FusedLion])
def test_blocks_are_tuned_on_copies(kind: Any) -> None:
    params = [torch.randn(n, device="cuda") for n in (1 << 20, 1000, 17)]
    for p in params:
        p.grad = torch.randn_like(p)
    tuned, before = kind(params), [p.clone() for p in params]

    def timed(call: Any) -> float:
        call()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end)

    tuned.tuned(timed)
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    plain = [b.clone() for b in before]
    for q, p in zip(plain, params, strict=True):
        q.grad = p.grad
    tuned.step()
    kind(plain).step()
    assert all(torch.equal(p, q) for p, q in zip(params, plain, strict=True))
