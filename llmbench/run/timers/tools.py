"""Each tool as its own users use it: a function goes in, a time comes out, and how long that took.

The clock of the audit runs from asking to the answer. Importing the tool is outside of it, and so is the start of a
pytest session, which a user has once for many functions.
"""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch

from llmbench.measure.clock import Call, clock_for
from llmbench.measure.sampler import Target, sample
from llmbench.run.targets import host_bound, in_graph
from llmbench.suite.suite import Measure

TARGET_CI = 0.01
PYPERF_MIN_S = 0.1  # of a value: pyperf's default
PYPERF_VALUES = 3  # of a process: pyperf's default


@dataclass(frozen=True)
class Subject:
    """What a tool is asked to time, with how much time for it, and a folder for its files."""

    call: Call
    device: torch.device
    budget_s: float
    folder: Path

    @property
    def waited_for(self) -> Call:
        """The call for tools that know nothing of GPUs: done when it returns."""
        if self.device.type != "cuda":
            return self.call

        def call() -> None:
            self.call()
            torch.cuda.synchronize()

        return call


class Found(NamedTuple):
    """A tool's answer. `seconds`: what it took; `samples`: what the answer rests on."""

    value_s: float
    seconds: float
    samples: int
    detail: str = ""


def by_llmbench(subject: Subject) -> Found:
    """As a worker samples a case with a warm cache, alone."""
    start = perf_counter()
    clock = clock_for(subject.device.type)
    target = Target("function", [subject.call], repeats=True)
    if clock.timer == "cuda_event" and host_bound(target, clock):
        graphed = in_graph(target)
        target = target if isinstance(graphed, str) else graphed
    found = sample(
        [target], clock=clock, target_ci=TARGET_CI, max_s=subject.budget_s, min_samples=Measure().min_samples
    )["function"]
    if found.error is not None:
        raise found.error
    value_s = median(found.time_s)
    seconds = perf_counter() - start
    detail = f"{target.timer or clock.timer}, {found.stop_reason}, {found.sample_calls} calls a sample"
    return Found(value_s, seconds, len(found.time_s), detail)


def by_torch_blocked(subject: Subject) -> Found:
    """`blocked_autorange`, whose budget is what it measures at least."""
    return _by_torch(subject, lambda timer: timer.blocked_autorange(min_run_time=subject.budget_s))


def by_torch_adaptive(subject: Subject) -> Found:
    """`adaptive_autorange`, which stops when the interquartile range is below 10 % of the median."""
    return _by_torch(subject, lambda timer: timer.adaptive_autorange(max_run_time=subject.budget_s))


def _by_torch(subject: Subject, ask: Callable[[Any], Any]) -> Found:
    from torch.utils.benchmark import Timer

    start = perf_counter()
    found = ask(Timer("call()", globals={"call": subject.call}, num_threads=torch.get_num_threads()))
    value_s = found.median
    seconds = perf_counter() - start
    return Found(value_s, seconds, len(found.times), f"{found.number_per_run} calls a sample")


def by_pyperf(subject: Subject) -> Found:
    """The two workers that pyperf would start, one that calibrates and one that measures, in this very process.

    pyperf's 20 processes are left out: each trial of the audit is a process of its own.
    """
    runner = _pyperf_runner()
    start = perf_counter()
    shortest_s = min(PYPERF_MIN_S, subject.budget_s / PYPERF_VALUES)
    calibrate = ["--calibrate-loops", "--warmups=0", "--values=1", f"--min-time={shortest_s!r}"]
    loops, value_s = _pyperf(runner, subject, *calibrate).get_runs()[0].warmups[-1]
    values = max(PYPERF_VALUES, round(subject.budget_s / (loops * value_s)))
    found = _pyperf(runner, subject, f"--loops={loops}", "--warmups=1", f"--values={values}")
    mean_s = found.mean()
    return Found(mean_s, perf_counter() - start, found.get_nvalue(), f"{loops} calls a sample")


@lru_cache(maxsize=1)
def _pyperf_runner() -> Any:
    """pyperf allows one in a process."""
    import pyperf

    return pyperf.Runner()


def _pyperf(runner: Any, subject: Subject, *options: str) -> Any:
    runner.args = None
    runner.parse_args(["--worker", "--quiet", *options])
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            return runner.bench_func(f"function {perf_counter()}", subject.waited_for)  # names must differ
    except SystemExit:
        raise RuntimeError(said.getvalue().strip()) from None


def by_pytest_benchmark(subject: Subject) -> Found:
    """A test with the fixture `benchmark`, in a session of its own without the user's other plugins."""
    import pytest

    found: list[Found] = []

    class Taking:
        """Brings the function into the session and the answer out of it."""

        @pytest.fixture
        def take(self, benchmark: Any) -> Call:
            def take() -> None:
                start = perf_counter()
                benchmark(subject.waited_for)
                value_s = benchmark.stats.stats.median
                seconds, rounds = perf_counter() - start, benchmark.stats.stats.rounds
                found.append(Found(value_s, seconds, rounds, f"{benchmark.stats.iterations} calls a sample"))

            return take

    test, settings = subject.folder / "test_function.py", subject.folder / "pytest.ini"
    test.write_text("def test_function(take):\n    take()\n")
    settings.write_text("[pytest]\n")
    options = [
        "-q",
        "-c",
        str(settings),
        "--rootdir",
        str(subject.folder),
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
    ]
    options += ["-p", "pytest_benchmark.plugin", f"--benchmark-max-time={subject.budget_s!r}"]
    said = io.StringIO()
    with redirect_stdout(said), _without_plugins():
        code = pytest.main([*options, str(test)], plugins=[Taking()])
    if code or not found:
        raise RuntimeError(f"pytest exited with {int(code)}: {said.getvalue().strip()[-500:]}")
    return found[0]


@contextmanager
def _without_plugins() -> Iterator[None]:
    """No plugins of the user's; a worker of pytest-xdist, which this may be, would switch the fixture off."""
    given = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_XDIST_WORKER": None}
    before = {name: os.environ.get(name) for name in given}
    _set(given)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def by_do_bench(subject: Subject) -> Found:
    """triton's `do_bench`, whose `rep` is what it measures, in ms."""
    from triton.testing import do_bench

    start = perf_counter()
    value_s = do_bench(subject.call, rep=subject.budget_s * 1e3) / 1e3
    seconds = perf_counter() - start
    return Found(value_s, seconds, max(1, round(subject.budget_s / value_s)))


def by_cuda_bench(subject: Subject) -> Found:
    """nvbench from Python, on its own stream as its example for torch does. Source: python/examples/pytorch_bench.py.

    The batched measurement beside the answer is left out, and counted in nobody's seconds.
    """
    import cuda.bench as bench

    def function(state: Any) -> None:
        def launch(launched: Any) -> None:
            pointer = launched.get_stream().addressof()
            stream = torch.cuda.ExternalStream(pointer, device=subject.device)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                subject.call()

        state.exec(launch, sync=True, batched=False)

    file = subject.folder / "nvbench.json"
    start = perf_counter()
    bench.register(function)
    options = ["--devices", str(subject.device.index or 0), "--timeout", repr(subject.budget_s), "--json", str(file)]
    bench.run_all_benchmarks(["llmbench", *options])
    value_s, samples = read_nvbench(file.read_text())
    return Found(value_s, perf_counter() - start, samples)


def read_nvbench(text: str) -> tuple[float, int]:
    """Mean GPU time (s) and number of samples of the only state in nvbench's JSON, whose numbers are text.

    Raises: RuntimeError with the reason, where the state was skipped.
    """
    (state,) = json.loads(text)["benchmarks"][0]["states"]
    if state.get("is_skipped"):
        raise RuntimeError(f"nvbench skipped it: {state.get('skip_reason')}")
    found = {s["tag"]: d["value"] for s in state["summaries"] for d in s["data"] if d["name"] == "value"}
    return float(found["nv/cold/time/gpu/mean"]), int(found["nv/cold/sample_size"])


TIMERS: dict[str, Callable[[Subject], Found]] = {
    "llmbench": by_llmbench,
    "torch_blocked": by_torch_blocked,
    "torch_adaptive": by_torch_adaptive,
    "pyperf": by_pyperf,
    "pytest_benchmark": by_pytest_benchmark,
    "do_bench": by_do_bench,
    "cuda_bench": by_cuda_bench,
}
"""By the names of `subjects.TOOLS`."""
