"""What every test shares: the command line in a process of its own, with locks that other tests do not see."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chromium import browser, show
from command_line import outside

__all__ = ["browser", "show"]  # fixtures

if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: its kernels run on the CPU then
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is: threads of two tests on two cores wait for each other

ROOT = Path(__file__).parent.parent
TINY = """\
# Tiny shapes, for tests.
op: attention
impls: [naive, tiled, sdpa_flash]
baseline: {impl: sdpa_flash}
phases: [infer]
axes: {seq_len: [16, 32]}
fixed: {num_heads: 2, num_kv_heads: 1, head_dim: 16}
measure: {max_s: 0.01}
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with a device lock of its own; the cache of catalogs is shared, since it is slow to make."""
    own = {"XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return {**outside(), **own}


@pytest.fixture
def llmbench(tmp_path: Path, env: dict[str, str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs `llmbench ARGS` in `tmp_path`, asserting the exit code (0 unless told)."""

    def call(*args: str | Path, rc: int = 0, **more: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "llmbench", *map(str, args)], cwd=tmp_path, env={**env, **more},
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == rc, f"exit {done.returncode}, wanted {rc}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A suite of six cases that takes a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def toy_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy package, installed into a folder of its own: put it on PYTHONPATH."""
    source = tmp_path_factory.mktemp("toy_source")
    shutil.copytree(ROOT / "tests" / "toy_plugin", source, dirs_exist_ok=True)
    target = tmp_path_factory.mktemp("toy_site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", target, source],
        check=True, capture_output=True,
    )  # fmt: skip
    return target
