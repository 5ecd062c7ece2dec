"""What a worker samples: clones of the inputs in turn where the cache is cold, one set of them where it is warm."""

import pytest
import torch
from torch import Tensor

from llmbench.kernels.attention import naive_attention
from llmbench.machine.fingerprint import Machine
from llmbench.measure.cache import FLUSHED_BYTES, MOST_CLONES, ROTATE_FACTOR, cold_by
from llmbench.ops import OPS, Impl
from llmbench.run.protocol import Found, Message, Unit
from llmbench.run.worker import measure_unit, open_bench
from llmbench.store.record import Record
from llmbench.suite.case import Case
from llmbench.suite.suite import Measure

CPU = torch.device("cpu")
LLC = 2**20
PARAMS = {
    "batch": 1,
    "num_heads": 4,
    "num_kv_heads": 4,
    "seq_len": 64,
    "head_dim": 32,
    "dtype": "float32",
    "mask": "causal",
}
INPUTS_BYTES = 3 * 4 * 64 * 32 * 4


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where the first input was, call by call, of implementations `spy` and `spy2`."""
    pointers: list[int] = []

    def setup(p: object) -> object:
        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            pointers.append(q.data_ptr())
            return naive_attention(q, k, v, causal=True)

        return call

    for name in ("spy", "spy2"):
        monkeypatch.setitem(OPS["attention"].impls, name, Impl(name, setup, ("infer", "fwd", "bwd")))  # type: ignore[arg-type]
    return pointers


def records(phase: str, *, cache: str = "cold", impls: tuple[str, ...] = ("spy",), samples: int = 6) -> list[Record]:
    defaults = {p.name: p.default for p in OPS["attention"].spec("cpu").params if p.default is not None}
    cases = tuple(
        Case(f"{i:016}", "p", "attention", 1, impl, phase, {**defaults, **PARAMS}, cache, "wall")  # type: ignore[arg-type]
        for i, impl in enumerate(impls)
    )
    said: list[Message] = []
    machine = Machine("cpu", "some cpu", "cpu", 2**34, LLC)
    bench = open_bench(CPU, machine, said.append, lambda stage, case_id: None)
    measure = Measure(max_s=0.01, target_ci=0.2, min_samples=samples, cache=cache)  # type: ignore[arg-type]
    measure_unit(Unit("p", 0, cases, measure, (), seed=0), bench)
    return [m.record for m in said if isinstance(m, Found)]


def test_a_cold_forward_goes_through_five_caches_of_clones(seen: list[int]) -> None:
    clones = ROTATE_FACTOR * LLC // INPUTS_BYTES
    (record,) = records("fwd", samples=2 * clones)
    assert (record.status, record.cold_by) == ("ok", "rotation")
    assert len(set(seen)) >= clones + 1
    turns = seen[2 : 2 + clones]  # after the check
    assert len(set(turns)) == len(turns)


def test_implementations_that_share_clones_do_not_warm_them_for_each_other(seen: list[int]) -> None:
    clones = ROTATE_FACTOR * LLC // INPUTS_BYTES
    found = records("infer", impls=("spy", "spy2"), samples=2 * clones)
    assert {(r.status, r.cold_by) for r in found} == {("ok", "rotation")}
    timed = seen[4:-6]  # between the checks before and after
    assert len(timed) > 2 * clones
    for i in range(len(timed) - clones):
        assert len(set(timed[i : i + clones])) == clones


def test_a_backward_is_flushed_on_one_set_of_inputs(seen: list[int]) -> None:
    (record,) = records("bwd")
    assert (record.status, record.cold_by) == ("ok", "flush")
    assert len(set(seen)) == 1


def test_a_warm_cache_keeps_to_one_set_of_inputs(seen: list[int]) -> None:
    (record,) = records("infer", cache="warm")
    assert (record.status, record.cold_by) == ("ok", None)
    assert len(set(seen)) == 1


def test_clones_that_find_no_memory_give_way_to_a_flush(seen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: object, n: int) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("llmbench.run.prepared.Problem.cloned", no_memory)
    (record,) = records("infer")
    assert (record.status, record.cold_by) == ("ok", "flush")


def test_what_would_take_too_many_clones_or_too_much_memory_is_flushed() -> None:
    room = 2.0**34
    assert cold_by(inputs_bytes=2**20, llc_bytes=32 * 2**20, device=CPU, free_bytes=room) == (161, False)
    assert cold_by(inputs_bytes=2**30, llc_bytes=32 * 2**20, device=CPU, free_bytes=room) == (2, False)
    assert cold_by(inputs_bytes=2**30, llc_bytes=32 * 2**20, device=CPU, free_bytes=2.0**30) == (1, True)
    tiny = 32 * 2**20 * ROTATE_FACTOR // MOST_CLONES - 1
    assert cold_by(inputs_bytes=tiny, llc_bytes=32 * 2**20, device=CPU, free_bytes=room).flush
    gpu = cold_by(inputs_bytes=FLUSHED_BYTES // 4, llc_bytes=50 * 2**20, device=torch.device("cuda"), free_bytes=room)
    assert gpu == (4, True)
