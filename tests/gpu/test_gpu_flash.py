"""Our FlashAttention and decoding on a GPU: the full grid of shapes, in 16 bits and fp32."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1]))
from flash_cases import HEADS, MASKS, attend, results, wrong_with

from llmbench.kernels.attention import flash_attention, flash_attention_varlen, flash_decode
from llmbench.measure.check import judge
from llmbench.ops.attention import AttentionParams
from llmbench.ops.attention.params import inputs
from llmbench.ops.decode import DecodeParams
from llmbench.ops.decode import inputs as decode_inputs
from llmbench.ops.decode import oracle as decode_oracle

LENGTHS = (
    (113, 203), (128, 217), (113, 211), (108, 256), (256, 512), (512, 256), (1024, 1024), (1023, 1024), (1024, 1023),
    (1, 239), (3, 799), (799, 3), (127, 513), (127, 512), (2048, 2048),
)  # fmt: skip
HEAD_DIMS = (16, 32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256)
DTYPES = ("float16", "bfloat16")


@pytest.mark.parametrize("dtype", [*DTYPES, "float32"])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_every_pair_of_lengths_is_right(lengths: tuple[int, int], dtype: str) -> None:
    for i, (queries, keys) in enumerate((lengths, lengths[::-1])):
        for j, mask in enumerate(MASKS):
            heads, kv_heads = HEADS[(i + j) % len(HEADS)]
            head_dim = (64, 128)[j % 2]
            p = AttentionParams(
                batch=2, seq_len=queries, kv_len=keys, num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim,
                dtype=dtype, **mask,
            )  # fmt: skip
            assert wrong_with(p, device="cuda") is None, p


@pytest.mark.parametrize(  # float32 has fewer: its kernels take ten seconds to compile
    ("head_dim", "dtype"), [*((d, t) for d in HEAD_DIMS for t in DTYPES), *((d, "float32") for d in (40, 64, 128))]
)
def test_every_head_dim_is_right(head_dim: int, dtype: str) -> None:
    for heads, kv_heads in HEADS:
        for mask in MASKS[:3]:
            p = AttentionParams(
                seq_len=257, kv_len=300, num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, dtype=dtype, **mask
            )
            assert wrong_with(p, device="cuda") is None, p


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", ["equal", "uniform", "one_long", "with_empty"])
def test_packed_sequences_are_right(lengths: str, dtype: str) -> None:
    for mask in MASKS:
        for kv_len in (0, 333):
            p = AttentionParams(
                batch=7, seq_len=500, kv_len=kv_len, num_heads=8, num_kv_heads=2, head_dim=128, layout="varlen",
                lengths=lengths, dtype=dtype, **mask,
            )  # fmt: skip
            assert wrong_with(p, device="cuda") is None, p


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_the_same_bits_each_time(dtype: str) -> None:
    p = AttentionParams(batch=2, seq_len=1000, num_heads=8, num_kv_heads=2, head_dim=128, mask="causal", dtype=dtype)
    given = inputs(p, torch.Generator("cuda").manual_seed(0))
    dout = torch.randn_like(given[0])
    first, second = (results(p, given, dout) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_offsets_beyond_32_bits_are_right() -> None:
    """Strides that fit into 32 bits, times indices: the fourth sequence and the last tokens lie beyond 2**31."""
    big = torch.empty(3 * 2**30 + 2**21, dtype=torch.float16, device="cuda")
    far = big.as_strided((4, 8, 512, 64), (2**30, 512 * 64, 64, 1)).normal_().requires_grad_()
    packed = big.as_strided((513, 2, 64), (3 * 2**21, 64, 1)).normal_().requires_grad_()
    cu = torch.tensor([0, 100, 513], dtype=torch.int32, device="cuda")
    for given, call in (
        (far, lambda t: flash_attention(t, t, t, causal=True)),
        (packed, lambda t: flash_attention_varlen(t, t, t, cu, cu, 413, 413, causal=True)),
    ):
        near = given.detach().contiguous().requires_grad_()
        out, wanted = call(given), call(near)
        assert torch.equal(out, wanted)
        dout = torch.randn_like(wanted)
        assert torch.equal(*(torch.autograd.grad(o, t, dout)[0] for o, t in ((out, given), (wanted, near))))
    keys = far.detach()
    near = keys.contiguous()
    assert torch.equal(flash_decode(keys[:, :, 0], keys, keys), flash_decode(near[:, :, 0], near, near))


def test_it_compiles_and_its_memory_is_that_of_its_results() -> None:
    p = AttentionParams(seq_len=8192, num_heads=8, num_kv_heads=8, head_dim=128, mask="causal", dtype="bfloat16")
    given = inputs(p, torch.Generator("cuda").manual_seed(0))
    compiled = torch.compile(lambda *t: attend(p, *t), fullgraph=True)
    assert torch.equal(compiled(*given), attend(p, *given))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = attend(p, *given)
    assert torch.cuda.max_memory_allocated() - before <= out.nbytes + 4 * 8 * 8192 + 4096


@pytest.mark.parametrize("dtype", [*DTYPES, "float32"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(32, 32), (32, 4), (32, 1)])
def test_decoding_is_right(heads: int, kv_heads: int, dtype: str) -> None:
    for kv_len in (1, 100, 4096, 40_000):
        for head_dim in (64, 128):
            p = DecodeParams(
                batch=3, kv_len=kv_len, num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, dtype=dtype
            )
            q, k, v = decode_inputs(p, torch.Generator("cuda").manual_seed(0))
            out = flash_decode(q[:, :, 0], k, v)[:, :, None]
            assert judge([out], decode_oracle(p, "infer", [q, k, v])).why is None, p
