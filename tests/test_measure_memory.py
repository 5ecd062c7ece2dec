"""Peak memory of a call, to the byte; and the buffer that makes caches cold."""

import sys

import pytest
import torch
from torch import Tensor

from llmbench.measure.cache import FLUSH_FACTOR, UNKNOWN_LLC_BYTES, flusher
from llmbench.measure.memory import peak_memory

CPU = torch.device("cpu")
SIZE = 3 * 2**20 + 4096


def allocate(size_bytes: int = SIZE) -> Tensor:
    return torch.empty(size_bytes, dtype=torch.uint8)


def test_a_known_allocation_is_exact() -> None:
    assert peak_memory(allocate, CPU)["peak_memory"] == SIZE


def test_what_is_freed_in_between_counts_at_its_highest() -> None:
    def call() -> None:
        first = allocate()
        second = allocate(2 * SIZE)
        del first, second
        allocate(SIZE)

    assert peak_memory(call, CPU)["peak_memory"] == 3 * SIZE


def test_one_after_the_other_is_not_added_up() -> None:
    def call() -> None:
        for _ in range(5):
            allocate()

    assert peak_memory(call, CPU)["peak_memory"] == SIZE


def test_what_was_held_before_is_not_counted() -> None:
    held = [allocate(64 * SIZE)]
    assert peak_memory(allocate, CPU)["peak_memory"] == SIZE
    assert peak_memory(lambda: held[0].zero_(), CPU)["peak_memory"] == 0


def test_scratch_inside_of_an_operator_counts() -> None:
    x = torch.randn(256, 256)
    assert peak_memory(lambda: torch.softmax(x @ x, -1), CPU)["peak_memory"] >= 2 * x.nbytes


def test_a_call_that_allocates_nothing_has_a_peak_of_zero() -> None:
    assert peak_memory(lambda: None, CPU)["peak_memory"] == 0


def test_five_repeats_are_identical() -> None:
    q = torch.randn(1, 2, 64, 16)

    def call() -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)

    call()
    assert len({peak_memory(call, CPU)["peak_memory"] for _ in range(5)}) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the high-water mark of a process is Linux's")
def test_resident_memory_sees_what_is_touched() -> None:
    touched = peak_memory(lambda: torch.ones(64 * 2**20, dtype=torch.uint8), CPU)["peak_rss"]
    assert touched >= 60 * 2**20


def test_an_exception_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        peak_memory(lambda: 1 // 0, CPU)


@pytest.mark.parametrize("llc_bytes", [2**20, 5 * 2**20 + 4])
def test_the_flusher_goes_through_twice_the_cache(llc_bytes: int) -> None:
    assert FLUSH_FACTOR >= 2
    assert peak_memory(lambda: flusher(device=CPU, llc_bytes=llc_bytes), CPU)["peak_memory"] >= 2 * llc_bytes
    flush = flusher(device=CPU, llc_bytes=llc_bytes)
    read = round(float(flush()) ** 2)  # type: ignore[arg-type]  # the norm of as many ones as are read
    assert read * 4 >= 2 * llc_bytes * 0.999


def test_a_cache_of_unknown_size_is_taken_for_a_large_one() -> None:
    made = peak_memory(lambda: flusher(device=CPU, llc_bytes=0), CPU)["peak_memory"]
    assert made == FLUSH_FACTOR * UNKNOWN_LLC_BYTES
