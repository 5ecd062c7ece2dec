"""The table of block configurations: what it offers fits, in an order that is fixed, on every architecture."""

import itertools

import pytest

from llmbench.kernels.attention.blocks import (
    ITEM_BYTES,
    SHARED_BYTES,
    BlockConfig,
    block_config,
    known_arch,
    padded_head_dim,
    shared_bytes,
)

HEAD_DIMS = (1, 16, 32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256)
KERNELS = ("forward", "dkdv", "dq", "decode")
MASKS = ("full", "causal", "window")


@pytest.mark.parametrize("arch", ["sm75", "sm80", "sm86", "sm89", "sm90", "sm100"])
def test_every_candidate_fits_and_there_always_is_one(arch: str) -> None:
    for head_dim, dtype, mask, kernel in itertools.product(HEAD_DIMS, ITEM_BYTES, MASKS, KERNELS):
        found = block_config(arch, head_dim, dtype, mask, kernel)
        assert found, (arch, head_dim, dtype, kernel)
        assert len(set(found)) == len(found)
        assert found == block_config(arch, head_dim, dtype, mask, kernel)
        for c in found:
            assert shared_bytes(c, head_dim=head_dim, dtype=dtype, kernel=kernel) <= SHARED_BYTES[arch]
            assert all(n & (n - 1) == 0 and n >= 16 for n in (c.block_q, c.block_k))


def test_the_first_choices_are_as_they_were_decided() -> None:
    assert block_config("sm90", 128, "bfloat16")[0] == BlockConfig(128, 64, 8, 3)
    assert block_config("sm90", 64, "bfloat16")[0] == BlockConfig(128, 128, 8, 3)
    assert block_config("sm80", 128, "float16", "causal")[0] == BlockConfig(128, 32, 8, 2)
    assert block_config("sm90", 128, "bfloat16", "window")[0] == BlockConfig(128, 64, 8, 3)
    assert block_config("cpu", 128, "float32") == (BlockConfig(64, 64, 4, 1),)
    assert str(BlockConfig(128, 64, 8, 3)) == "128x64 8 warps 3 stages"


def test_small_shared_memory_gets_smaller_blocks() -> None:
    def most(arch: str) -> int:
        return max(
            shared_bytes(c, head_dim=256, dtype="float16", kernel="forward") for c in block_config(arch, 256, "float16")
        )

    assert most("sm75") <= 64 * 1024 < most("sm90") <= 227 * 1024


def test_an_unknown_architecture_is_taken_for_the_nearest_older_one() -> None:
    assert [known_arch(a) for a in ("sm87", "sm88", "sm121", "sm101")] == ["sm87", "sm87", "sm120", "sm100"]
    with pytest.raises(ValueError, match="sm70 is older than sm75"):
        known_arch("sm70")


def test_head_dims_are_padded_to_powers_of_two_from_16_on() -> None:
    assert [padded_head_dim(d) for d in (1, 16, 17, 64, 65, 192, 256)] == [16, 16, 32, 64, 128, 256, 256]
    with pytest.raises(ValueError, match="head_dim 257"):
        block_config("sm90", 257, "float16")
    with pytest.raises(ValueError, match="dtype 'float64'"):
        block_config("sm90", 64, "float64")
