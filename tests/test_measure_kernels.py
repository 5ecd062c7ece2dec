"""What really ran in a call: operators and generated kernels on this CPU, and the names of a GPU's kernels."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch._C._autograd import DeviceType

from llmbench.measure.compiling import forget_compiled
from llmbench.measure.kernels import NAME_LENGTH, TRIES, Launches, launches, marked_launches, short_name
from llmbench.ops import OPS
from llmbench.ops.needs import unmet
from llmbench.ops.work import build, make_douts, output_like, work
from llmbench.suite.catalog import Phase

CPU = torch.device("cpu")
FLASH = "aten::_scaled_dot_product_flash_attention_for_cpu"
needs_compiler = pytest.mark.skipif(unmet(("inductor",), "cpu") is not None, reason="torch.compile has no compiler")


def ran(call: Callable[[], object], ready: Callable[[], object] = lambda: None) -> Launches:
    found = launches(call, CPU, ready=ready)
    assert not isinstance(found, str), found
    return found


def attention_call(name: str, phase: Phase) -> Callable[[], object]:
    op = OPS["attention"]
    p = op.params(seq_len=32, num_heads=4, num_kv_heads=2, head_dim=16, mask="causal")
    generator = torch.Generator().manual_seed(0)
    inputs, douts = op.inputs(p, generator), ()
    if phase == "bwd":
        douts = make_douts(output_like(op, p, inputs), generator)
    impl = op.impls[name]
    job = work(op, impl, build(impl, p, device=CPU), inputs, phase, device_type="cpu", douts=douts)
    job.call()
    return job.call


def test_what_works_counts_and_neither_views_nor_allocations() -> None:
    x = torch.randn(4, 8, 8)
    assert ran(lambda: torch.matmul(x, x.mT).view(-1)) == {"aten::bmm": 1}
    assert ran(lambda: torch.empty(8).detach_().view(2, 4).t().squeeze_()) == {}
    assert ran(lambda: x.clone().exp_().softmax(-1)) == {"aten::copy_": 1, "aten::exp_": 1, "aten::_softmax": 1}
    assert ran(lambda: torch.promote_types(torch.float32, torch.float64)) == {}
    assert ran(lambda: None) == {}


def test_a_fused_kernel_counts_although_it_calls_others() -> None:
    q = torch.randn(1, 2, 16, 8, requires_grad=True)
    out = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert ran(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True)) == {FLASH: 1}
    backward = ran(lambda: torch.autograd.grad(out.sum(), q, retain_graph=True))
    assert backward[f"{FLASH}_backward"] == 1 and backward["aten::zero_"] == 3


def test_an_overload_that_calls_another_is_one_operator() -> None:
    assert ran(lambda: torch.arange(5)) == {"aten::arange": 1}
    assert ran(torch.ones(8).sum)["aten::sum"] == 1


def test_an_operator_of_a_package_counts() -> None:
    with torch.library._scoped_library("llmbench_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x + x, "CPU")
        x = torch.ones(3)
        assert ran(lambda: torch.ops.llmbench_test.twice(x)) == {"llmbench_test::twice": 1, "aten::add": 1}


@pytest.mark.parametrize("phase", ["infer", "fwd", "bwd"])
@pytest.mark.parametrize("name", ["naive", "tiled", "sdpa_math", "sdpa_flash"])
def test_five_repeats_are_identical(name: str, phase: Phase) -> None:
    call = attention_call(name, phase)
    first, *others = (ran(call) for _ in range(5))
    assert first and others == [first] * 4


@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_five_repeats_of_compiled_code_are_its_generated_kernels_and_it_stays_compiled() -> None:
    forget_compiled()
    for phase in ("fwd", "bwd"):
        call = attention_call("naive_compiled", phase)
        kept = [dict(vars(m)) for m in torch._inductor.codecache.PyCodeCache.modules]
        first, *others = (ran(call) for _ in range(5))
        assert others == [first] * 4
        assert {n for n in first if not n.startswith("cpp_fused_")} == {"aten::bmm"}
        assert len([n for n in first if n.startswith("cpp_fused_")]) == 2
        assert [dict(vars(m)) for m in torch._inductor.codecache.PyCodeCache.modules] == kept  # put back as they were


def test_inputs_are_put_back_before_every_call_and_that_is_not_counted() -> None:
    x, seen = torch.zeros(3), []

    def call() -> Tensor:
        seen.append(float(x[0].item()))
        return x.cos_()

    assert ran(call, ready=x.zero_) == {"aten::_local_scalar_dense": 1, "aten::cos_": 1}
    assert set(seen) == {0.0}


@pytest.mark.parametrize("counts", [(1, 2, 3, 4), (2, 5, 2, 5)])
def test_calls_that_do_not_agree_have_no_number_but_a_reason(counts: tuple[int, ...]) -> None:
    x, sizes = torch.ones(3), iter((9, *counts))

    def call() -> None:
        for _ in range(next(sizes)):
            x.cos_()

    found = launches(call, CPU, ready=lambda: None)
    assert len(counts) == TRIES and found == f"launches differ from call to call: {', '.join(map(str, counts))}"


def test_the_first_two_calls_that_agree_count() -> None:
    x, sizes = torch.ones(3), iter([9, 5, 2, 2])

    def call() -> None:
        for _ in range(next(sizes)):
            x.cos_()

    assert ran(call) == {"aten::cos_": 2}


def test_an_exception_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        launches(lambda: 1 // 0, CPU, ready=lambda: None)


def event(name: str, start: float, device: DeviceType = DeviceType.CUDA, **more: object) -> SimpleNamespace:
    return SimpleNamespace(name=name, device_type=device, time_range=SimpleNamespace(start=start), **more)


def mark(start: float) -> SimpleNamespace:
    return event("at::cuda::(anonymous namespace)::spin_kernel(long)", start)


ADD = "triton_poi_fused_add_0"
SESSION = [
    event(ADD, 1.0),  # what may get lost
    mark(2),
    event(ADD, 3, activity_type="kernel", is_user_annotation=False),
    event(ADD, 4),  # an older torch tells less
    event("Memset (Device)", 5, activity_type="gpu_memset"),
    mark(6),
    event("Memcpy DtoD (Device -> Device)", 7),  # inputs put back
    mark(8),
    event("## Call CompiledFxGraph fabc ##", 9, activity_type="gpu_user_annotation"),
    event("my range", 9, is_user_annotation=True),
    event("Stream Sync", 9, activity_type="cuda_sync"),
    event("cudaLaunchKernel", 9, DeviceType.CPU),
    event("Memcpy DtoD (Device -> Device)", 10, activity_type="gpu_memcpy"),
    mark(11),
]


def test_of_a_gpu_kernels_copies_and_fills_between_the_marks_count() -> None:
    found = [{ADD: 2, "Memset (Device)": 1}, {"Memcpy DtoD (Device -> Device)": 1}]
    assert marked_launches(SESSION, calls=2) == marked_launches(reversed(SESSION), calls=2) == found
    assert marked_launches([mark(1), mark(2)], calls=1) == [{}]


@pytest.mark.parametrize("lost", [1, 5, 7, 13])
def test_a_session_that_lost_a_mark_tells_nothing(lost: int) -> None:
    assert marked_launches(SESSION[:lost] + SESSION[lost + 1 :], calls=2) == []
    assert marked_launches([], calls=2) == []


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("triton_poi_fused_0", "triton_poi_fused_0"),
        ("Memcpy HtoD (Pinned -> Device)", "Memcpy HtoD (Pinned -> Device)"),
        (
            "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float> >(at::native::ReduceOp<float>)",
            "reduce_kernel<512, 1, ReduceOp<float>>",
        ),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, "
            "std::array<char*, 3ul> >(int, at::native::CUDAFunctor_add<float>, std::array<char*, 3ul>)",
            "vectorized_elementwise_kernel<4, CUDAFunctor_add<float>, array<char*, 3ul>>",
        ),
        ("void (anonymous namespace)::softmax_warp<float>(float*)", "softmax_warp<float>"),
        ("void f<g(int)::{lambda(int)#1}>(int)", "f<g(int)::{lambda(int)#1}>"),
        ("sm90_xmma_gemm_bf16_tn_n_tilesize64x128x64", "sm90_xmma_gemm_bf16_tn_n_tilesize64x128x64"),
        ("kernel_object_at_0x7f3a12b4c0d0_tensor", "kernel_object_at_#_tensor"),
        ("kernel_9f86d081884c7d659a2feaa0c55ad015_x", "kernel_#_x"),
        ("nvjet_hsh_128x256_64x4_2x1_v_bz_coopB_TNN", "nvjet_hsh_128x256_64x4_2x1_v_bz_coopB_TNN"),
    ],
)  # fmt: skip
def test_names_are_short_and_the_same_in_every_run(name: str, short: str) -> None:
    assert short_name(name) == short


def test_a_very_long_name_is_cut() -> None:
    short = short_name(f"void f<{'x' * 10_000}>(int)")
    assert len(short) == NAME_LENGTH and short.endswith("…")
