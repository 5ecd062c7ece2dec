"""Decoding with a split KV cache, in Triton's interpreter."""

import pytest
import torch

from llmbench.kernels.attention import flash_decode, naive_attention
from llmbench.kernels.device import interprets
from llmbench.measure.check import judge
from llmbench.ops.decode import DecodeParams, decode_cost, figures, inputs, oracle

if not interprets():
    pytest.skip("a GPU is here: tests/gpu runs the kernels on it", allow_module_level=True)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (8, 2), (20, 1)])
@pytest.mark.parametrize(("kv_len", "head_dim"), [(1, 16), (63, 64), (300, 40), (700, 128)])
def test_one_query_against_its_cache_is_right(
    dtype: str, heads: int, kv_heads: int, kv_len: int, head_dim: int
) -> None:
    p = DecodeParams(batch=2, kv_len=kv_len, num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, dtype=dtype)
    q, k, v = inputs(p, torch.Generator().manual_seed(0))
    out = flash_decode(q[:, :, 0], k, v)[:, :, None]
    assert judge([out], oracle(p, "infer", [q, k, v])).why is None


@pytest.mark.parametrize("parts", [1, 2, 5, 16])
def test_the_number_of_parts_does_not_matter(parts: int) -> None:
    g = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 6, 32, generator=g), torch.randn(2, 3, 200, 32, generator=g)
    usual, its_lse = flash_decode(q, k, k, return_lse=True, parts=3)
    out, lse = flash_decode(q, k, k, return_lse=True, parts=parts)
    torch.testing.assert_close((out, lse), (usual, its_lse), rtol=1e-5, atol=1e-6)
    scores = (q[:, :, None] @ k.repeat_interleave(2, 1).mT)[:, :, 0] * 32**-0.5
    torch.testing.assert_close(lse, scores.logsumexp(-1), rtol=1e-5, atol=1e-5)


def test_only_the_filled_part_of_a_cache_is_read() -> None:
    g = torch.Generator().manual_seed(2)
    q, k = torch.randn(3, 4, 16, generator=g), torch.randn(3, 2, 90, 16, generator=g)
    filled = torch.tensor([90, 0, 37], dtype=torch.int32)
    k[2, :, 37:] = torch.nan
    out, lse = flash_decode(q, k, k, seqlens=filled, parts=4, return_lse=True)
    for b, n in ((0, 90), (2, 37)):
        wanted = naive_attention(q[b : b + 1, :, None], k[b : b + 1, :, :n], k[b : b + 1, :, :n])[:, :, 0]
        torch.testing.assert_close(out[b : b + 1], wanted, rtol=1e-5, atol=1e-5)
    assert not out[1].any() and torch.isneginf(lse[1]).all()


def test_a_group_of_more_heads_than_a_tile_takes_is_right() -> None:
    p = DecodeParams(batch=1, kv_len=90, num_heads=80, num_kv_heads=2, head_dim=16)
    q, k, v = inputs(p, torch.Generator().manual_seed(0))
    out = flash_decode(q[:, :, 0], k, v)[:, :, None]
    assert judge([out], oracle(p, "infer", [q, k, v])).why is None


def test_lengths_may_lie_in_memory_as_they_like() -> None:
    g = torch.Generator().manual_seed(2)
    q, k = torch.randn(4, 2, 16, generator=g), torch.randn(4, 2, 30, 16, generator=g)
    wanted = flash_decode(q, k, k, seqlens=torch.tensor([7, 7, 7, 7], dtype=torch.int32))
    assert torch.equal(flash_decode(q, k, k, seqlens=torch.tensor([7, 3], dtype=torch.int32)[:1].expand(4)), wanted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q_BHD": torch.zeros(1, 3, 16)}, "3 query heads are no multiple of 2 kv heads"),
        ({"q_BHD": torch.zeros(1, 2, 1, 16)}, "wanted 3 axes"),
        ({"k_BGKD": torch.zeros(2, 5, 16)}, "k is float32"),
        ({"seqlens": torch.zeros(1, dtype=torch.int64)}, "seqlens is int64"),
        ({"seqlens": [3]}, "seqlens is list, wanted int32"),
        ({"parts": 0}, "parts is 0, wanted 1 to 128"),
        ({"scale": 0.0}, "scale is 0"),
        ({"q_BHD": torch.zeros(1, 2, 16, requires_grad=True)}, "has no gradients"),
    ],
)
def test_what_it_does_not_take_is_told(change: dict[str, object], words: str) -> None:
    given = {"q_BHD": torch.zeros(1, 2, 16), "k_BGKD": torch.zeros(1, 2, 5, 16), "v_BGKD": torch.zeros(1, 2, 5, 16)}
    with pytest.raises(ValueError, match=words):
        flash_decode(**(given | change))  # type: ignore[arg-type]


def test_the_cost_of_decoding_is_its_cache() -> None:
    p = DecodeParams(batch=2, kv_len=10, num_heads=8, num_kv_heads=2, head_dim=4, dtype="bfloat16")
    cache = 2 * 2 * 10 * 2 * 4 * 2
    assert figures(p) == {"kv_cache": cache, "kv_cache_reduction": 4.0}
    assert decode_cost(p, "infer") == (4 * 2 * 8 * 10 * 4, cache + 2 * 2 * 8 * 4 * 2, 2)
