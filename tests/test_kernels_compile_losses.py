"""The Triton kernels of the losses compile for GPUs from Turing to Blackwell without one, and spill nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import outside

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm75", "sm80", "sm90", "sm100"])
def test_every_kernel_compiles_and_spills_nothing(arch: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "compile_losses.py"), arch],
        capture_output=True, text=True, cwd=HERE.parent, env={**outside(), "PYTHONPATH": str(HERE.parent)}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 4 * 3
    assert not [row for row in rows if row["spill_bytes"] or row["registers"] > 128 or row["shared_bytes"] > 1024]
