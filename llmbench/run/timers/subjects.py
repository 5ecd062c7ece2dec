"""Which functions are timed, and which tools time them: what the parent knows without torch."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from llmbench.errors import UsageError, nearest
from llmbench.store.timers import Function, Tool

GEMM_SIZE = {"cpu": 256, "cuda": 2048}  # fp32: 0.5 to 1 ms on a core, 0.3 to 1 ms on a datacenter GPU
ATTENTION_TOKENS = {"cpu": 128, "cuda": 2048}  # the same
ATTENTION_HEADS, ATTENTION_HEAD_DIM = 4, 64
LOOPS = (
    Function("busy_10us", "busy loop 10 µs", 10e-6),
    Function("busy_100us", "busy loop 100 µs", 100e-6),
    Function("busy_1ms", "busy loop 1 ms", 1e-3),
    Function("busy_10ms", "busy loop 10 ms", 10e-3),
)


class Asked(NamedTuple):
    """A tool: the distribution that brings it, what installs that, how it is asked, and whether only on a GPU."""

    distributions: tuple[str, ...]
    install: str
    how: str
    on_gpu_only: bool = False


AUDIT_EXTRA = "pip install 'llmbench[audit]'"
KNOWS_NO_GPU = ("pyperf", "pytest_benchmark")  # their users wait for the device in the function that they time
TOOLS = {
    "llmbench": Asked(("llmbench",), "", "its sampler, warm inputs, target_ci 0.01, max_s = budget; median"),
    "torch_blocked": Asked(
        ("torch",), "", "torch.utils.benchmark.Timer.blocked_autorange(min_run_time=budget); median"
    ),
    "torch_adaptive": Asked(
        ("torch",), "", "torch.utils.benchmark.Timer.adaptive_autorange(max_run_time=budget); median"
    ),
    "pyperf": Asked(
        ("pyperf",), AUDIT_EXTRA,
        "Runner.bench_func as a worker: loops calibrated to 0.1 s a value (at most budget / 3), one warm-up, as many "
        "values as fit into the budget, three at least; mean",
    ),
    "pytest_benchmark": Asked(
        ("pytest-benchmark",), AUDIT_EXTRA, "benchmark(function) in a test, --benchmark-max-time=budget; median"
    ),
    "do_bench": Asked(
        ("triton", "pytorch-triton"), "pip install triton",
        "triton.testing.do_bench(rep=budget), which flushes the L2 cache; mean", on_gpu_only=True,
    ),
    "cuda_bench": Asked(
        ("cuda-bench",), "pip install 'cuda-bench[cu13]' (or [cu12], as torch is)",
        "nvbench's State.exec(sync=True, batched=False), timeout = budget, which flushes the L2 cache; mean GPU time",
        on_gpu_only=True,
    ),
}  # fmt: skip
"""Tools by name, each with its own defaults beside what `how` says."""


def functions_for(device_type: str) -> tuple[Function, ...]:
    """The functions on a CPU or on a GPU."""
    size, tokens = GEMM_SIZE[device_type], ATTENTION_TOKENS[device_type]
    return (
        *LOOPS,
        Function("gemm", f"GEMM {size} x {size} x {size} fp32"),
        Function("attention", f"SDPA {ATTENTION_HEADS} heads, {tokens} tokens, head_dim {ATTENTION_HEAD_DIM} fp32"),
    )


def tools_for(device: str) -> tuple[Tool, ...]:
    """Every tool, with its version or with why it cannot be asked on this device."""
    return tuple(_tool(name, asked, device) for name, asked in TOOLS.items())


def _tool(name: str, asked: Asked, device: str) -> Tool:
    on_gpu = device.startswith("cuda")
    how = f"{asked.how}; torch.cuda.synchronize() in each call" if on_gpu and name in KNOWS_NO_GPU else asked.how
    if asked.on_gpu_only and not on_gpu:
        return Tool(name, how, why_not=f"needs a CUDA device, this one is {device}")
    for distribution in asked.distributions:
        try:
            return Tool(name, how, version(distribution))
        except PackageNotFoundError:
            continue
    if not asked.install:  # llmbench from a folder, torch from a build of its own: both are there
        return Tool(name, how)
    return Tool(name, how, why_not=f"{asked.distributions[0]} is not installed: {asked.install}")


def chosen(
    only: Sequence[str], functions: Sequence[Function], tools: Sequence[Tool]
) -> tuple[tuple[Function, ...], tuple[Tool, ...]]:
    """What `--only tool=llmbench,pyperf --only function=gemm` asks for.

    Raises: UsageError for a key or a name that there is none of, with the nearest.
    """
    offered = {"function": [f.name for f in functions], "tool": [t.name for t in tools]}
    asked: dict[str, set[str]] = {}
    for text in only:
        key, equals, names = text.partition("=")
        if not equals or not names:
            raise UsageError(f"--only {text}: wanted key=value or key=value,value")
        if key not in offered:
            raise UsageError(f"--only {text}: {key!r} is neither function nor tool{nearest(key, offered)}")
        for name in (n.strip() for n in names.split(",")):
            if name not in offered[key]:
                raise UsageError(f"--only {text}: there is no {key} {name!r}{nearest(name, offered[key])}")
            asked.setdefault(key, set()).add(name)
    kept_functions, kept_tools = (asked.get(key, set(names)) for key, names in offered.items())
    return (
        tuple(f for f in functions if f.name in kept_functions),
        tuple(t for t in tools if t.name in kept_tools),
    )
