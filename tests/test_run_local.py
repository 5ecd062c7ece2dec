"""The environment that a worker is started in."""

import os
import subprocess
import sys

import pytest

from llmbench.run.local import KEEP_MEMORY, THREADS, worker_environment

FAULTS = """
import resource
import torch

def call():
    return [torch.empty(size).fill_(1.0).sum() for size in (2**20, 2**21, 2**20) for _ in range(3)]

for _ in range(20):  # the heap grows in the first few, once in one of them by 1,024 pages
    call()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    call()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


def faults(env: dict[str, str]) -> float:
    """Page faults of a call that makes and frees large tensors, once warm."""
    return float(subprocess.run([sys.executable, "-c", FAULTS], env=env, capture_output=True, check=True).stdout)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("MALLOC_")]:
        monkeypatch.delenv(name)


def test_a_worker_on_a_cpu_keeps_what_it_frees() -> None:
    env = worker_environment("cpu")
    assert env.items() >= KEEP_MEMORY.items()
    assert not worker_environment("cuda:0").keys() & KEEP_MEMORY.keys()
    if sys.platform == "linux":
        assert faults(env) < 50  # of 16,000 pages, which the system would have to give anew


def test_settings_of_the_user_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    assert worker_environment("cpu")["MALLOC_ARENA_MAX"] == "1"
    assert not worker_environment("cpu").keys() & KEEP_MEMORY.keys()


def test_threads_that_a_suite_asks_for_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert worker_environment("cpu")["OMP_NUM_THREADS"] == "2"
    assert worker_environment("cpu", threads=3).items() >= dict.fromkeys(THREADS, "3").items()
    assert worker_environment("cuda:0", threads=3)["OMP_NUM_THREADS"] == "2"
