"""Our kernels compile for sm_80 and sm_90 without a GPU: what they take of registers and shared memory, and no spills.

`tests/data/kernels.json` is the table, made by `python tests/compile_kernels.py`.
"""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from command_line import outside

from llmbench.kernels.attention.blocks import SHARED_BYTES, block_config, shared_bytes

HERE = Path(__file__).parent
TABLE = json.loads((HERE / "data" / "kernels.json").read_text())
Key = tuple[str, str, int, str, str]


def key(row: dict[str, Any]) -> Key:
    return row["arch"], row["kernel"], row["head_dim"], row["mask"], row["blocks"]


def test_the_table_has_every_configuration_that_is_shipped() -> None:
    shipped = {
        (arch, kernel, head_dim, mask, str(blocks))
        for arch in ("sm80", "sm90")
        for head_dim in (64, 128, 256)
        for kernel in ("forward", "dkdv", "dq", "decode")
        for mask in (("full", "causal", "window") if kernel != "decode" else ("full",))
        for blocks in block_config(arch, head_dim, "bfloat16", mask, kernel)
    }
    assert {key(row) for row in TABLE["kernels"]} == shipped


def test_the_table_holds_what_is_promised() -> None:
    rows = TABLE["kernels"]
    assert all(row["shared_bytes"] <= SHARED_BYTES[row["arch"]] for row in rows)
    forward = [row for row in rows if row["kernel"] == "forward" and row["head_dim"] in (64, 128)]
    assert len(forward) > 20 and not [row for row in forward if row["spill_bytes"]]
    assert all(
        row["wgmma"] for row in rows if key(row) == first(row) and row["arch"] == "sm90" and row["kernel"] != "decode"
    )
    for arch in ("sm80", "sm90"):
        for kernel in ("dkdv", "dq"):
            for head_dim in (64, 128, 256):
                mine = [r for r in rows if (r["arch"], r["kernel"], r["head_dim"]) == (arch, kernel, head_dim)]
                assert not min(row["spill_bytes"] for row in mine), (arch, kernel, head_dim)


def first(row: dict[str, Any]) -> Key:
    """The key of the configuration that is tried first."""
    blocks = block_config(row["arch"], row["head_dim"], "bfloat16", row["mask"], row["kernel"])[0]
    return row["arch"], row["kernel"], row["head_dim"], row["mask"], str(blocks)


def test_the_table_of_blocks_knows_how_much_shared_memory_a_kernel_takes() -> None:
    for row in TABLE["kernels"]:
        blocks = next(
            c
            for c in block_config(row["arch"], row["head_dim"], "bfloat16", row["mask"], row["kernel"])
            if str(c) == row["blocks"]
        )
        known = shared_bytes(blocks, head_dim=row["head_dim"], dtype="bfloat16", kernel=row["kernel"])
        assert row["shared_bytes"] <= max(1.6 * known, known + 16 * 1024), (row, known)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm80", "sm90"])
def test_what_is_tried_first_compiles_as_the_table_says(arch: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "compile_kernels.py"), "--first", arch],
        capture_output=True, text=True, cwd=HERE.parent, env={**outside(), "PYTHONPATH": str(HERE.parent)}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)["kernels"]
    assert len(found) == 30
    table = {key(row): row for row in TABLE["kernels"]}
    for row in found:
        assert row["shared_bytes"] <= SHARED_BYTES[arch]
        if row["kernel"] == "forward" and row["head_dim"] in (64, 128):
            assert not row["spill_bytes"], row
        if arch == "sm90" and row["kernel"] != "decode":
            assert row["wgmma"], row
        if version("triton") == TABLE["triton"]:  # another compiler spends registers in its own way
            assert row["spill_bytes"] <= table[key(row)]["spill_bytes"], (row, table[key(row)])
            assert row["shared_bytes"] <= table[key(row)]["shared_bytes"], (row, table[key(row)])


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm75", "sm80", "sm90", "sm100"])
def test_losses_and_optimizers_compile_without_spills_and_load_16_bytes_at_once(arch: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "compile_streams.py"), arch],
        capture_output=True, text=True, cwd=HERE.parent, env={**outside(), "PYTHONPATH": str(HERE.parent)}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) == 3 * 14
    assert not [row for row in found if row["spill_bytes"] or row["registers"] > 128 or row["shared_bytes"] > 1024]
    narrow = {row["kernel"] for row in found if row["widest_load"] < 16}
    small = {row["kernel"] for row in found if row["kernel"].endswith("512 4 warps")}  # 4 entries of 16 bits a thread
    assert narrow <= small, "a mask splits loads"
    assert not [row for row in found if row["widest_load"] < (16 if row["dtype"] == "torch.float32" else 8)]
