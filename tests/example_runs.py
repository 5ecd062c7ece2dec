"""Hand-made runs for the tests of analysis and report: an op of three implementations, rows with known samples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmbench.machine.fingerprint import Machine
from llmbench.orderstat import median_interval
from llmbench.store.query import Row, Run
from llmbench.store.record import Measurement, Record, Status
from llmbench.store.runs import Code, Header, Manifest, write_run
from llmbench.store.sentinels import Sentinel
from llmbench.suite.case import Case, expand
from llmbench.suite.catalog import ImplSpec, OpSpec, ParamSpec
from llmbench.suite.suite import Axis, AxisValue, Suite

H100 = "NVIDIA H100 80GB HBM3"
OP = OpSpec(
    name="attention",
    version=1,
    doc="",
    params=(
        ParamSpec("batch", "int", 1),
        ParamSpec("seq_len", "int"),
        ParamSpec("num_heads", "int"),
        ParamSpec("num_kv_heads", "int"),
        ParamSpec("dtype", "str", "bfloat16"),
        ParamSpec("scale", "float", 1.0),
    ),
    phases=("fwd", "bwd"),
    impls=(ImplSpec("naive"), ImplSpec("flash"), ImplSpec("flex")),
)
HEADS = Axis(
    "heads",
    (
        AxisValue({"num_heads": 8, "num_kv_heads": 8}, "mha"),
        AxisValue({"num_heads": 8, "num_kv_heads": 2}, "gqa"),
    ),
)


def make_suite(**changes: Any) -> Suite:
    """Three implementations against `flash`, one length, two kinds of heads."""
    given: dict[str, Any] = {
        "name": "attention",
        "op": OP,
        "device": "cuda:0",
        "impls": ("naive", "flash", "flex"),
        "phases": ("fwd",),
        "axes": (Axis("seq_len", (AxisValue({"seq_len": 512}),)), HEADS),
        "fixed": {"batch": 1},
        "baseline": {"impl": "flash"},
    }
    return Suite(**{**given, **changes})


def cases_of(suite: Suite) -> list[Case]:
    """Every case of the suite in its order."""
    return [case for point in expand(suite) for case in point.cases]


def make_row(case: Case | None = None, **changes: Any) -> Row:
    """A row of that case; without a metric unless `changes` names one."""
    case = case or cases_of(make_suite())[0]
    row: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__)
    row |= {
        name: getattr(case, name) for name in ("case_id", "point_id", "op", "impl", "phase", "is_baseline", "cache")
    }
    row |= {"run_id": "r1", "suite": "attention", "process": 0, "status": "ok", "order": "interleaved", "grad": "on"}
    row |= {"check_kind": "oracle", "flop": 1e9, "bytes": 1e6, "device": "cuda:0", "device_name": H100}
    return Row(**{**row, "params": case.params, "axes": case.axes, **changes})


def time_row(case: Case | None = None, *, samples: Sequence[float], block: int = 1, **changes: Any) -> Row:
    """A row of `time` with these samples, `block` of them in each block."""
    value, low, high = median_interval(samples)
    blocks = [i // block for i in range(len(samples))]
    found = {"metric": "time", "value": value, "low": low, "high": high, "n": len(samples), "samples": list(samples)}
    return make_row(case, **{**found, "sample_block": blocks, "stop_reason": "target_ci", "timer": "event", **changes})


def make_run(rows: Sequence[Row], suite: Suite | None = None, **changes: Any) -> Run:
    """A run of these rows; `changes` go to the header."""
    header: dict[str, Any] = {
        "run_id": "r1",
        "suite": suite or make_suite(),
        "suite_path": "suites/attention.yaml",
        "only": {},
        "quick": False,
        "machine": Machine("cuda:0", H100, "sm90", 80 << 30, 50 << 20),
        "versions": {"torch": "2.13.0"},
        "code": Code("aa3d2fa", False, "0"),
        "started": "2026-05-09T12:33:05Z",
        "param_types": {p.name: p.type for p in OP.params},
    }
    return Run(Path("results/r1"), Manifest(Header(**{**header, **changes}), True, {}), list(rows))


STEADY = (1.00e-3, 1.01e-3, 0.99e-3)  # s, process medians that differ by a percent


def stored_run(
    folder: Path, times: Mapping[str, Sequence[float]], *, memory: Mapping[str, Sequence[int]] | None = None,
    failed: Mapping[str, tuple[Status, str]] | None = None, key: str = "one", complete: bool = True,
    hashes: Mapping[str, str] | None = None, throttled: Mapping[str, int] | None = None,
    more: Mapping[str, Sequence[float]] | None = None, evidence: Mapping[str, Any] | None = None, timer: str = "event",
    counts: Mapping[str, Mapping[str, Sequence[int]]] | None = None, sentinels: Mapping[str, float] | None = None,
    **changes: Any,
) -> Path:  # fmt: skip
    """A run on disk: process medians of time (s) by implementation, in the first point of the example's suite.

    `memory`: peak bytes a process, 1 MiB where not named; `counts`: metric -> implementation -> values; `failed`:
    implementations without a result; `key` tells the device from others; `hashes`: of the code of implementations;
    `throttled`: how many of the eleven samples of each process were; `more`: values of another metric of every case,
    one a process; `evidence` goes to every record, `changes` to the header; `sentinels`: seconds that each took.
    """
    header = make_run([], **changes).manifest.header
    header = replace(header, run_id=folder.name, machine=replace(header.machine, key={"name": key}))
    cases = {c.impl: c for c in reversed(cases_of(header.suite))}
    found = []
    for impl, medians in times.items():
        peaks = (memory or {}).get(impl, [1 << 20] * len(medians))
        for process, (median, peak) in enumerate(zip(medians, peaks, strict=True)):
            samples = [median * (1 + 1e-4 * (i - 5)) for i in range(11)]
            hot = (throttled or {}).get(impl, 0)
            timed = Measurement(
                "time", median, low=samples[1], high=samples[9], samples=samples, timer=timer,
                sample_flags=["throttled"] * hot + [""] * (len(samples) - hot),
            )  # fmt: skip
            counted = [Measurement(m, of[impl][process]) for m, of in (counts or {}).items() if impl in of]
            parts = [Measurement(m.metric, m.value, part="all") for m in counted]
            measured = [timed, Measurement("peak_memory", peak), *counted, *parts]
            measured += [Measurement(metric, values[process]) for metric, values in (more or {}).items()]
            code = (hashes or {}).get(impl)
            record = Record(cases[impl].case_id, process, "ok", measurements=measured, impl_hash=code)
            found.append((cases[impl], replace(record, **(evidence or {}))))
    for impl, (status, why) in (failed or {}).items():
        code = (hashes or {}).get(impl)
        found.append((cases[impl], Record(cases[impl].case_id, 0, status, why, impl_hash=code)))
    folder.mkdir(parents=True)
    seen = tuple(Sentinel(name, 1, "test", 0, (s,), (0.0,)) for name, s in (sentinels or {}).items())
    write_run(folder, Manifest(header, complete, {}, sentinels=seen), found, [])
    return folder
