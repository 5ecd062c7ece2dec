"""Number formats by measurement, rounding by arithmetic, and loss scaling against torch's GradScaler."""

import pytest
import torch
from torch import Tensor

from llmbench.errors import UsageError
from llmbench.kernels.precision import LossScaler, measured_format, rounded, through
from llmbench.measure.check import judge
from llmbench.ops import precision
from llmbench.ops.oracle import expected
from llmbench.ops.work import build

CPU = torch.device("cpu")
FORMATS = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_is_measured_of_a_format_is_what_torch_says(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    wanted = (info.max, info.smallest_normal, info.smallest_normal * info.eps, info.eps)
    assert measured_format(dtype, CPU) == wanted


def test_float16_is_not_what_teaching_texts_confuse() -> None:
    found = measured_format(torch.float16, CPU)
    assert found.smallest_normal == pytest.approx(6.10e-5, rel=1e-3)
    assert found.smallest_subnormal == pytest.approx(5.96e-8, rel=1e-3)
    assert found.largest == 65504


def test_a_device_that_flushes_subnormals_shows_it() -> None:
    measured_format.cache_clear()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush subnormals")
    try:
        found = measured_format(torch.float32, CPU)
    finally:
        torch.set_flush_denormal(False)
        measured_format.cache_clear()
    assert found.smallest_subnormal == found.smallest_normal == torch.finfo(torch.float32).smallest_normal


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_rounding_by_arithmetic_equals_the_cast(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    held = measured_format(dtype, CPU)
    sizes = 2.0 ** torch.arange(-50, 40, dtype=torch.float64)
    x = (torch.randn(2000, 1, generator=g, dtype=torch.float64) * sizes).float().double().flatten()
    ties = held.smallest_subnormal * (torch.arange(100, dtype=torch.float64) + 0.5)
    ends = torch.tensor([0.0, -0.0, held.largest, held.largest * (1 + held.epsilon / 8), -held.largest * 1.5])
    x = torch.cat([x, ties, ends.double()])
    wanted = x.float().to(dtype).double()
    assert torch.equal(rounded(x, held), wanted)
    assert (wanted == 0).sum() > 2 and wanted.isinf().any()


def test_a_loss_scale_saves_gradients_from_underflow_and_overflows_when_it_is_too_large() -> None:
    grads = torch.tensor([1e-9, 3e-8, 1e-6, 0.0, 1.0])
    weights = torch.tensor([1.0, 1.0, 1.0, 1.0, 1e-3])

    def lost(scale: float) -> tuple[int, int]:
        kept = through(grads, weights, dtype=torch.float16, loss_scale=scale, lr=1e-4)
        return int(kept.flushed), int(kept.overflowed)

    assert [lost(2.0**k) for k in (0, 8, 15, 17)] == [(1, 0), (0, 0), (0, 0), (0, 1)]  # 3e-8 rounds up at scale 1
    assert through(grads, weights, dtype=torch.float16, loss_scale=2.0**17, lr=1e-4).grads[4] == 0


def test_updates_of_bfloat16_weights_stall() -> None:
    weights = torch.tensor([1.0, 1e-2, 1e-4])
    grads = torch.tensor([1.0, -1.0, 0.0])
    stalled = {
        dtype: int(through(grads, weights, dtype=dtype, loss_scale=1.0, lr=1e-3).stalled)
        for dtype in (torch.bfloat16, torch.float16, torch.float32)
    }
    assert stalled == {torch.bfloat16: 1, torch.float16: 0, torch.float32: 0}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("scale", [1.0, 2.0**24])
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's import
def test_every_implementation_of_the_op_loses_what_arithmetic_says(dtype: str, scale: float) -> None:
    p = precision.params(dtype=dtype, loss_scale=scale, steps=1)
    inputs = list(precision.inputs(p, torch.Generator()))
    wanted = expected(precision, p, "infer", inputs)
    for name, impl in precision.impls.items():
        fn = build(impl, p, device="cpu")
        assert judge(fn(*inputs), wanted).why is None, name
        figures = fn.figures()
        assert figures["flushed_share"] == int(wanted[1].ref) / inputs[0].numel()
    unrounded = torch.compile(lambda g: g.to(torch.float16).float(), dynamic=False)
    if dtype == "float16" and scale == 1.0:  # why the compiled one is told to round
        assert figures["flushed_share"] > 0 and judge((unrounded(inputs[0]), *fn(*inputs)[1:]), wanted).why


def test_gradients_are_those_of_a_model_in_training() -> None:
    p = precision.params(steps=1)
    grads, weights = precision.inputs(p, torch.Generator())
    assert grads.shape == weights.shape and grads.numel() > 900_000
    assert 1e-9 < grads.abs().median() < 1e-2
    fresh, _ = precision.inputs(precision.params(steps=0), torch.Generator())
    assert not torch.equal(fresh, grads)


SCRIPTS = {
    "clean": [False] * 25,
    "at_once": [True, *[False] * 12],
    "now_and_then": [i % 7 == 3 for i in range(40)],
    "always": [True] * 30,
    "in_the_last_clean_step": [False, False, False, True] * 6,
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_state_machine_equals_grad_scaler(script: str) -> None:
    options = {"init_scale": 2.0**16, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 4}
    theirs = torch.amp.GradScaler("cpu", **options)
    ours = LossScaler(2.0**16, growth_interval=4)
    mine, his = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    my_sgd, his_sgd = (torch.optim.SGD([p], lr=0.1) for p in (mine, his))
    made = []
    for step, bad in enumerate(SCRIPTS[script]):
        factor = torch.tensor([1.0, torch.inf if bad and step % 2 else 1.0, torch.nan if bad and not step % 2 else 1.0])
        for p, sgd, scale in ((mine, my_sgd, ours.scaled), (his, his_sgd, theirs.scale)):
            sgd.zero_grad()
            torch.autograd.backward(scale((p * factor).sum()))
        ours.unscale_([mine])
        theirs.unscale_(his_sgd)
        made.append(ours.step(my_sgd))
        theirs.step(his_sgd)
        ours.update()
        theirs.update()
        assert ours.scale == theirs.get_scale(), step
        assert ours.clean_steps == theirs._get_growth_tracker(), step
        torch.testing.assert_close(mine.detach(), his.detach(), rtol=0, atol=0)
    assert made == [not bad for bad in SCRIPTS[script]] and ours.skipped == sum(SCRIPTS[script])


def test_an_injected_infinity_skips_exactly_that_step_and_halves_the_scale() -> None:
    p = torch.nn.Parameter(torch.ones(2))
    sgd, scaler, seen = torch.optim.SGD([p], lr=0.5), LossScaler(1024.0), []
    for step in range(4):
        p.grad = torch.full((2,), 1024.0) if step != 2 else torch.tensor([1024.0, torch.inf])
        scaler.step(sgd)
        scaler.update()
        seen.append((p[0].item(), scaler.scale))
    assert seen == [(0.5, 1024.0), (0.0, 1024.0), (0.0, 512.0), (-1.0, 512.0)]


def test_it_goes_on_from_its_state_and_says_what_it_does_not_take() -> None:
    first = LossScaler(8.0, growth_interval=2)
    p = torch.nn.Parameter(torch.ones(1))
    p.grad = torch.ones(1)
    first.unscale_([p])
    with pytest.raises(RuntimeError, match="unscaled already"):
        first.unscale_([p])
    first.update()
    with pytest.raises(RuntimeError, match="no gradient was unscaled"):
        first.update()
    second = LossScaler(1.0, growth_interval=2)
    second.load_state_dict(first.state_dict())
    second.unscale_([p])
    second.update()
    assert (second.scale, second.clean_steps) == (16.0, 0)
    with pytest.raises(ValueError, match="growth=1"):
        LossScaler(growth=1.0)


def test_a_loss_in_float16_is_scaled_in_its_dtype() -> None:
    loss: Tensor = LossScaler(2.0).scaled(torch.tensor(3.0, dtype=torch.float16))
    assert loss.item() == 6.0


def test_every_optimizer_under_one_scale_steps_by_unscaled_gradients() -> None:
    params = [torch.nn.Parameter(torch.ones(n)) for n in (2, 3, 0)]
    first, second = (torch.optim.SGD(ps, lr=0.5) for ps in (params[:1], params[1:]))
    scaler = LossScaler(256.0)
    for p in params:
        p.grad = torch.full_like(p, 256.0)
    assert scaler.step(first) and scaler.step(second)
    assert params[0].tolist() == [0.5] * 2 and params[1].tolist() == [0.5] * 3
    scaler.update()
    params[1].grad[0] = torch.nan
    assert scaler.step(first) and not scaler.step(second)
    scaler.update()
    assert scaler.scale == 128.0 and scaler.skipped == 1


def test_a_scale_below_one_and_one_that_shrinks_for_ever_stay_finite() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    scaler = LossScaler(0.5)
    p.grad = torch.full((1,), 1e38)
    assert scaler.unscale_([p]).item() == 0.0  # finite as it came
    scaler.update()
    for _ in range(1200):
        p.grad = torch.full((1,), torch.inf)
        scaler.unscale_([p])
        scaler.update()
    assert 0 < scaler.scale < 1e-30 and 1 / scaler.scale < float("inf")


def test_a_loss_scale_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(UsageError, match="loss_scale is 1000, wanted a power of two"):
        precision.inputs(precision.params(loss_scale=1000.0), torch.Generator())
