"""The measuring of ceilings: what is counted, with time set to a second a call; and once for real, on a tiny cache."""

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="ceilings are measured with torch")

from llmbench.machine.fingerprint import Machine  # noqa: E402
from llmbench.measure import ceilings  # noqa: E402
from llmbench.measure.ceilings import TooSlow, cache_check, matmul_rates, traffic_rates  # noqa: E402

CPU = torch.device("cpu")
LLC_BYTES = 1 << 20


def machine(*, memory_bytes: int = 8 << 30, llc_bytes: int = LLC_BYTES) -> Machine:
    return Machine("cpu", "a CPU", "cpu", memory_bytes, llc_bytes)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Every call that is timed; the time of each is one second."""
    timed: list[Callable[[], object]] = []

    def one_second(call: Callable[[], object], calls: int, device: torch.device) -> float:
        timed.append(call)
        call()
        return 1.0

    monkeypatch.setattr(ceilings, "_seconds", one_second)
    monkeypatch.setattr(ceilings, "EDGES", (64, 128))
    monkeypatch.setattr(ceilings, "LONGEST_S", 0.02)
    return timed


def test_a_product_counts_a_multiplication_and_an_addition_for_each_element(
    calls: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "LONGEST_S", 60.0)
    monkeypatch.setattr(ceilings, "MAX_SAMPLES", 7)
    monkeypatch.setattr(ceilings, "_is_flat", lambda times: True)
    rates, notes = matmul_rates(CPU, machine())
    assert set(rates) == {"float32", "float64", "bfloat16"} and not notes
    for rate in rates.values():
        assert (rate.value, rate.n, rate.size) == (2 * 128**3, 7, "128 x 128 x 128")  # the faster of two sizes


def test_the_operands_of_a_product_are_random() -> None:
    assert ceilings._product(32, 64, torch.bfloat16, CPU)().float().std() > 4  # type: ignore[attr-defined]


def test_a_dtype_without_a_fast_kernel_is_left_out_and_told(calls: list[Callable[[], object]]) -> None:
    rates, notes = matmul_rates(CPU, machine())
    assert not rates
    assert notes[0] == "float32 matmul: 7 products of 64 x 64 x 64 would take 112 s"


def test_a_product_without_room_is_left_out_and_told(
    calls: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "LONGEST_S", 60.0)
    _, notes = matmul_rates(CPU, machine(memory_bytes=4 * 3 * 64 * 64 * 4 - 1))
    assert notes[0] == "float32 matmul: no room for its operands"


def test_what_a_dtype_raises_is_told_and_the_precision_is_put_back(
    calls: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> object:
        raise RuntimeError(f"no kernel in {torch.get_float32_matmul_precision()}\nis available")

    monkeypatch.setattr(torch, "mm", broken)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        notes = matmul_rates(CPU, machine())[1]
        assert notes == [f"{dtype} matmul: no kernel in highest" for dtype in ("float32", "float64", "bfloat16")]
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_copy_counts_what_it_reads_and_what_it_writes(calls: list[Callable[[], object]]) -> None:
    copy, read = traffic_rates(CPU, machine())
    assert copy.value == read.value == 8 * LLC_BYTES  # in a second
    copied = next(out for call in calls if (out := call()).numel() > 1)
    assert 2 * copied.numel() * copied.element_size() == 8 * LLC_BYTES  # source and target together
    assert copied.std() > 0.5
    assert copy.size == "8 MiB"


def test_a_copy_without_room_is_refused(calls: list[Callable[[], object]]) -> None:
    with pytest.raises(TooSlow, match="no room for 8 times the last-level cache"):
        traffic_rates(CPU, machine(memory_bytes=8 * LLC_BYTES))


def test_every_flushed_copy_follows_a_flush_and_a_warm_one_two_copies_more(
    calls: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    timed = ceilings._seconds  # type: ignore[attr-defined]

    def telling(call: Callable[[], object], calls: int, device: torch.device) -> float:
        events.append("timed")
        return float(timed(call, calls, device))

    def copying(source: torch.Tensor, target: torch.Tensor) -> Callable[[], object]:
        return lambda: events.append("copy")

    monkeypatch.setattr(ceilings, "_seconds", telling)
    monkeypatch.setattr(ceilings, "_copy", copying)
    monkeypatch.setattr(ceilings, "flusher", lambda device, llc_bytes: lambda: events.append(f"flush {llc_bytes}"))
    found = cache_check(CPU, machine())
    flush = f"flush {LLC_BYTES}"
    clones = ["copy"] * (4 * ceilings.ROTATE_FACTOR)
    warm, flushed = [flush, "copy", "copy", "timed", "copy"], [flush, "timed", "copy"]
    assert events == [*warm, *flushed, *clones, "timed", "copy", "timed"] * (ceilings.ROUNDS + ceilings.WARM_UP)
    assert found.warm.n == ceilings.ROUNDS and found.llc_bytes == LLC_BYTES


def test_a_cache_of_unknown_size_is_checked_all_the_same(
    calls: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "UNKNOWN_LLC_BYTES", LLC_BYTES)
    found = cache_check(CPU, machine(llc_bytes=0))
    assert (found.llc_bytes, found.warm.size) == (0, "0.25 MiB")
    assert found.warm.value == LLC_BYTES // 4


def test_rates_of_this_machine_have_their_quartiles_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "EDGES", (128,))
    monkeypatch.setattr(ceilings, "LONGEST_S", 0.05)
    rates, _ = matmul_rates(CPU, machine())
    copy, read = traffic_rates(CPU, machine())
    check = cache_check(CPU, machine())
    assert check.rotated is not None and check.streamed is not None
    for rate in [*rates.values(), copy, read, check.warm, check.flushed, check.rotated, check.streamed]:
        assert 1e6 < rate.low <= rate.value <= rate.high <= rate.best < 1e15
        assert rate.n >= ceilings.MIN_SAMPLES
