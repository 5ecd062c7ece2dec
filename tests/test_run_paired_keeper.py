"""The worker's side of the paired gate, in this process: one answer a question, flushes that serve many samples."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from llmbench.machine.fingerprint import Machine
from llmbench.ops.registry import OPS, catalog
from llmbench.run.paired.keeper import Keeper
from llmbench.run.protocol import Block, BlockDone, CaseReady, Found, Message, Offer, Offered, Prepare, Release, Way
from llmbench.run.worker import open_bench
from llmbench.suite.case import Case
from llmbench.suite.catalog import DeviceSpec
from llmbench.suite.suite import Measure

SHAPE = {"seq_len": 16, "num_heads": 2, "num_kv_heads": 2, "head_dim": 16, "dtype": "float32"}
COLD, WARM = Measure(cache="cold"), Measure(cache="warm")


@dataclass
class Bench:
    """A keeper, what it said, and how often it flushed."""

    keeper: Keeper
    said: list[Message] = field(default_factory=list)
    flushes: int = 0

    def ask(self, message: Message) -> Message:
        self.said.clear()
        self.keeper.answer(message)
        (answer,) = self.said
        return answer


@pytest.fixture
def bench() -> Bench:
    said: list[Message] = []
    machine = Machine("cpu", "a CPU of a test", "cpu", 2**33, 2**30)  # a cache too large for rotation
    own = open_bench(torch.device("cpu"), replace(machine, llc_bytes=2**10), said.append, lambda stage, case_id: None)
    spec = DeviceSpec("cpu", "cpu", "a CPU of a test")
    found = Bench(Keeper(replace(own, machine=machine), lambda: catalog(spec, {})), said)

    def flush() -> None:
        found.flushes += 1

    found.keeper.bench.flush = flush
    return found


def case(impl: str = "naive", phase: str = "fwd", **changes: object) -> Case:
    facts = {"op": "attention", "op_version": OPS["attention"].version, "cache": "cold", "timer_class": "wall"}
    return Case("c" * 16, "p" * 16, impl=impl, phase=phase, params=SHAPE, **{**facts, **changes})  # type: ignore[arg-type]


def ready(bench: Bench, measure: Measure, asked: Case, **more: object) -> CaseReady:
    found = bench.ask(Prepare(asked, "base 0", 0, measure, (), 0, **more))  # type: ignore[arg-type]
    assert isinstance(found, CaseReady)
    return found


def test_a_case_is_prepared_timed_and_released(bench: Bench) -> None:
    offered = bench.ask(Offer())
    assert isinstance(offered, Offered) and offered.catalog.op("attention")
    found = ready(bench, WARM, case())
    assert found.record.status == "ok" and found.call_s > 0 and found.timer == "perf_counter" and found.way == Way()
    assert found.before_s == 0.0 and found.most_calls > 100 and found.checksums == ()
    done = bench.ask(Block("c" * 16, samples=7, calls=3))
    assert isinstance(done, BlockDone) and len(done.time_s) == len(done.t_ns) == len(done.flags) == 7
    assert done.calls == 3 and done.record is None and done.cpu_s >= 0 and min(done.time_s) > 0
    released = bench.ask(Release("c" * 16))
    assert isinstance(released, Found) and released.record.status == "ok"
    assert not bench.keeper.seats and not bench.keeper.problems and bench.flushes == 0


def test_one_flush_serves_as_many_samples_as_there_are_inputs(bench: Bench) -> None:
    found = ready(bench, COLD, case())
    assert found.way.flush and found.way.clones == found.most_calls == 64
    before = bench.flushes
    bench.ask(Block("c" * 16, samples=25, calls=1))
    assert bench.flushes == before + 1
    bench.ask(Block("c" * 16, samples=25, calls=4))  # 16 samples of four calls go round the ring once
    assert bench.flushes == before + 3


def test_a_backward_is_flushed_before_each_sample(bench: Bench) -> None:
    found = ready(bench, COLD, case(phase="bwd"))
    assert found.way == Way(clones=1, flush=True)
    before = bench.flushes
    bench.ask(Block("c" * 16, samples=5, calls=1))
    assert bench.flushes == before + 5


def test_the_way_that_was_agreed_is_taken(bench: Bench) -> None:
    assert ready(bench, COLD, case(), way=Way(clones=8, flush=True)).way == Way(clones=8, flush=True)
    assert ready(bench, COLD, case(), way=Way(clones=5, flush=False)).way == Way(clones=5, flush=False)


def test_a_probed_case_tells_what_its_outputs_are(bench: Bench) -> None:
    bench.keeper.answer(Prepare(case(), "base 0", 0, WARM, ("memory", "kernels"), 0))
    found = bench.said[-1]
    assert isinstance(found, CaseReady)
    metrics = {m.metric for m in found.record.measurements}
    assert {"peak_memory", "launches"} <= metrics
    ((mean, size, rounding),) = found.checksums
    assert abs(mean) < size and 0 < rounding < 1e-4 * size
    assert found.problem_bytes > 0 and found.kept_bytes == 0.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"op": "nothing"}, "no op 'nothing' here"),
        ({"op_version": 99}, "not 99"),
        ({"impl": "nothing"}, "op 'attention' has no implementation 'nothing' here"),
        ({"params": {**SHAPE, "colour": 3}}, "op 'attention' has no parameter 'colour' here"),
    ],
)
def test_what_another_version_of_the_code_has_is_unavailable_here(
    bench: Bench, changes: dict[str, object], said: str
) -> None:
    found = ready(bench, WARM, replace(case(), **changes))  # type: ignore[arg-type]
    assert found.record.status == "unavailable" and said in str(found.record.why)


def test_another_process_by_name_forgets_what_was_kept(bench: Bench) -> None:
    ready(bench, WARM, case())
    bench.ask(Prepare(replace(case(), case_id="d" * 16), "base 1", 1, WARM, (), 0))
    assert list(bench.keeper.seats) == ["d" * 16]
