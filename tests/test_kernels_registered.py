"""Our attention as torch sees it: registered operators with fakes, gradients and FLOP formulas, that compile."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from llmbench.kernels.attention import BlockConfig, flash_attention, flash_attention_varlen, flash_decode
from llmbench.kernels.attention.launch import blocks_text, using
from llmbench.kernels.attention.span import Span
from llmbench.kernels.device import interprets

if not interprets():
    pytest.skip("a GPU is here: tests/gpu runs the kernels on it", allow_module_level=True)

OPS = torch.ops.llmbench
CU = torch.tensor([0, 9, 9, 30], dtype=torch.int32)


def dense(*, grad: bool = True) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = [(1, 4, 20, 16), (1, 2, 30, 16), (1, 2, 30, 16)]
    return [torch.randn(s, generator=g).requires_grad_(grad) for s in shapes]


def packed() -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=g).requires_grad_() for s in [(30, 4, 16), (30, 2, 16), (30, 2, 16)]]


def test_the_operators_are_registered_soundly() -> None:
    torch.library.opcheck(OPS.flash_attention, (*dense(), 0.25, 3, 0))
    torch.library.opcheck(OPS.flash_attention_varlen, (*packed(), CU, CU, 21, 21, 0.25, -1, 0))
    q, k, v = dense(grad=False)
    torch.library.opcheck(OPS.flash_decode, (q[:, :, 0], k, v, None, 0.25, 2))
    out, lse = OPS.flash_attention(q, k, v, 0.25, -1, 0)
    torch.library.opcheck(
        OPS.flash_attention_backward, (torch.ones_like(out), None, q, k, v, out, lse, 0.25, -1, 0)
    )  # fmt: skip


def test_fake_tensors_tell_shapes_without_work() -> None:
    with FakeTensorMode():
        q, k = torch.empty(2, 8, 4096, 128), torch.empty(2, 2, 4096, 128)
        q.requires_grad_()
        out, lse = flash_attention(q, k, k, causal=True, return_lse=True)
        assert (out.shape, lse.shape, lse.dtype) == (q.shape, q.shape[:3], torch.float32)
        assert torch.autograd.grad(out.sum(), q)[0].shape == q.shape


def test_flop_are_counted_by_the_pairs_that_see_one_another() -> None:
    q, k, v = dense()
    with FlopCounterMode(display=False) as counted:
        out = flash_attention(q, k, v, window=(3, 0))
    pairs = Span(3, 0).pairs(20, 30)
    assert counted.get_total_flops() == 4 * 4 * 16 * pairs
    with FlopCounterMode(display=False) as counted:
        out.sum().backward()
    assert counted.get_total_flops() == 2.5 * 4 * 4 * 16 * pairs
    with FlopCounterMode(display=False) as counted:
        out = flash_attention_varlen(*packed(), CU, CU, 21, 21, causal=True)
        out.sum().backward()
    assert counted.get_total_flops() == 3.5 * 4 * 4 * 16 * (9 * 10 // 2 + 21 * 22 // 2)
    with FlopCounterMode(display=False) as counted:
        flash_decode(q[:, :, 0].detach(), k.detach(), v.detach())
    assert counted.get_total_flops() == 4 * 4 * 16 * 30


def test_it_compiles_without_a_break() -> None:
    inputs = dense()
    compiled = torch.compile(lambda *t: flash_attention(*t, causal=True), backend="aot_eager", fullgraph=True)
    ours, plain = compiled(*inputs), flash_attention(*inputs, causal=True)
    assert torch.equal(ours, plain)
    for a, b in zip(*(torch.autograd.grad(o.sum(), inputs) for o in (ours, plain)), strict=True):
        assert torch.equal(a, b)


def test_autocast_casts_its_inputs_as_those_of_torchs_own() -> None:
    q, k, v = dense(grad=False)
    with torch.autocast("cpu", dtype=torch.float16):
        assert flash_attention(q, k.half(), v).dtype == torch.float16


def test_other_lengths_and_windows_do_not_compile_anew() -> None:
    counted = CompileCounter()
    packed_call = torch.compile(
        lambda q, longest: flash_attention_varlen(q, q, q, CU, CU, longest, longest, window=(7, 0)), backend=counted,
        dynamic=True,
    )  # fmt: skip
    decode = torch.compile(lambda q, k: flash_decode(q, k, k), backend=counted, dynamic=True)
    q = packed()[0].detach()[:, :2]
    for longest in (21, 22, 25, 40):
        packed_call(q, longest)
    assert counted.frame_count <= 2
    for keys in (100, 600, 1100, 3000):
        decode(torch.zeros(1, 2, 16), torch.zeros(1, 1, keys, 16))
    assert counted.frame_count <= 4


def test_the_blocks_that_are_told_are_those_of_the_problem() -> None:
    small = {"head_dim": 16, "dtype": "float32"}
    flash_attention(*dense(grad=False), causal=True)
    with using(forward=BlockConfig(32, 16, 4, 1)):
        flash_attention(*dense(grad=False), causal=True)
        assert blocks_text(("forward", "dq"), **small, mask="causal") == "forward 32x16 4 warps 1 stages"
    flash_attention(*(t[..., :8] for t in dense(grad=False)))
    assert blocks_text(("forward",), **small, mask="causal") == "forward 64x64 4 warps 1 stages"
    assert blocks_text(("forward",), head_dim=17, dtype="float32", mask="causal") == ""
