"""What really ran in a call: kernels on a GPU, operators and generated kernels on a CPU, by name and number.

From torch's profiler. Not from a TorchDispatchMode: a compiled function that runs under one stays eager. On CUDA the
profiler may stay attached to the process afterwards, and launches cost the host more (pytorch issue 144455).
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from llmbench.measure.collector import collector_off

Launches = dict[str, int]
"""Name -> how often it was launched in one call."""

TRIES = 4  # profiles at most, to find two calls in a row with the same launches
MARK = "spin_kernel"  # of torch.cuda._sleep
NAME_LENGTH = 96  # characters: the name and the first template arguments, which tell kernels apart
GENERATED = "cpp_"  # how inductor's C++ kernels begin, in the module that calls them (torch 2.6 to 2.13)

IDLE = frozenset(
    f"aten::{name}"
    for name in (
        "empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "resize_", "set_",
        "_unsafe_view", "as_strided_", "squeeze_", "unsqueeze_", "t_", "transpose_", "detach_", "result_type",
    )
)  # fmt: skip
"""Operators on tensors that compute nothing, beside the views, which are known by their schema."""


def launches(call: Callable[[], object], device: torch.device, *, ready: Callable[[], object]) -> Launches | str:
    """The launches of one call, on which two calls in a row agree; a reason where none do.

    CUDA: every kernel, copy and fill of the device. CPU: the operators that work (see `operators`) and the kernels that
    torch.compile generated. The call must have run before; `ready` runs before each, unobserved.
    """
    ready()
    call()  # a CUDA graph records in its second call: from the third on it is the same
    seen: list[Launches] = []
    for _ in range(TRIES):
        with collector_off():
            seen += _of_two_calls(call, device, ready) if device.type == "cuda" else [_of_a_call(call, ready)]
        if len(seen) > 1 and seen[-1] == seen[-2]:
            return seen[-1]
    if not seen:
        return "the profiler lost kernels of every call"
    return f"launches differ from call to call: {', '.join(str(sum(s.values())) for s in seen)}"


def marked_launches(events: Iterable[Any], *, calls: int) -> list[Launches]:
    """Of the profiler's events, what ran on a GPU from the first mark to the second, from the third to the fourth, ...

    Neither waits nor the ranges that people and torch annotate. Empty unless there are two marks a call: the profiler
    loses all of the first session of a process, or the start of any (pytorch issue 192021, CUDA 12.6 to 13.0).
    """
    found: list[Counter[str]] = []
    marks = 0
    for event in sorted((e for e in events if _ran_on_device(e)), key=lambda e: e.time_range.start):
        if MARK in event.name:
            marks += 1
            found += [Counter()] * (marks % 2)
        elif marks % 2:
            found[-1] = found[-1] + Counter([short_name(event.name)])
    return [dict(c) for c in found] if marks == 2 * calls else []


def operators(events: Iterable[Any]) -> Launches:
    """Of the profiler's events, the operators that do the work on a CPU.

    An operator counts if it has a kernel of its own for the CPU, or calls none that works. Views and allocations do not
    work: counting plain leaves would find `resolve_conj` and `empty` where a matmul and a fused attention ran.
    """
    below: dict[int, frozenset[str]] = {}
    found: Counter[str] = Counter()
    for event in events:
        op = _op(event.name)
        inside = _working(event.cpu_children, below) if op.works else frozenset()
        # one overload that calls another is one operator
        if op.works and event.name not in inside and (op.has_kernel or not inside):
            found[event.name] += 1
    return dict(found)


def short_name(name: str) -> str:
    """A kernel's name without return type, namespaces, arguments and what changes from run to run.

    `void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float> >(at::native::ReduceOp<float>)` becomes
    `reduce_kernel<512, 1, ReduceOp<float>>`.
    """
    if re.match(r"Mem(cpy|set)\b", name):
        return name
    text = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    text = re.sub(r"(?<![\w>])(?:\w+::)+(?=\w)", "", _without_arguments(text)).replace(" >", ">")
    text = re.sub(r"0x[0-9a-fA-F]+|(?<![0-9a-zA-Z])(?=[a-z]*\d)[0-9a-f]{16,}(?![0-9a-zA-Z])", "#", text)
    return text if len(text) <= NAME_LENGTH else text[: NAME_LENGTH - 1] + "…"


def _of_two_calls(call: Callable[[], object], device: torch.device, ready: Callable[[], object]) -> list[Launches]:
    """In one session, after a call whose kernels may get lost; between marks, with an idle device around them."""
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.cuda.device(device), profile(activities=activities, acc_events=False) as p:
        ready()
        call()
        for _ in range(2):
            ready()
            for step in (_mark, call, _mark):
                torch.cuda.synchronize()
                step()
        torch.cuda.synchronize()
    return marked_launches(p.events(), calls=2)


def _mark() -> None:
    torch.cuda._sleep(1)  # type: ignore[no-untyped-call]


def _ran_on_device(event: Any) -> bool:
    annotated = getattr(event, "is_user_annotation", False)
    kind = str(getattr(event, "activity_type", ""))
    return event.device_type == DeviceType.CUDA and not annotated and not re.search("annotation|sync", kind)


def _of_a_call(call: Callable[[], object], ready: Callable[[], object]) -> Launches:
    ready()
    with _generated() as generated, profile(activities=[ProfilerActivity.CPU], acc_events=False) as p:
        call()
    return dict(Counter(operators(p.events())) + generated)


@contextmanager
def _generated() -> Iterator["Counter[str]"]:
    """Counts the calls of inductor's C++ kernels while the block runs: the profiler does not see them.

    By name in the modules that inductor wrote; its own option for it (cpp.enable_kernel_profile) would change the code
    that is timed. Finds none where torch keeps them elsewhere.
    """
    found: Counter[str] = Counter()
    kept = getattr(getattr(sys.modules.get("torch._inductor.codecache"), "PyCodeCache", None), "modules", ())
    kernels = [
        (vars(module), name, kernel)
        for module in {id(m): m for m in kept}.values()
        for name, kernel in vars(module).items()
        if name.startswith(GENERATED) and callable(kernel)
    ]
    for names, name, kernel in kernels:
        names[name] = _counted(kernel, name, found)
    try:
        yield found
    finally:
        for names, name, kernel in kernels:
            names[name] = kernel


def _counted(kernel: Callable[..., Any], name: str, found: "Counter[str]") -> Callable[..., Any]:
    def run(*args: Any, **more: Any) -> Any:
        found[name] += 1
        return kernel(*args, **more)

    return run


class _Op(NamedTuple):
    """Whether a name is that of an operator that computes, and whether it has a kernel of its own for the CPU."""

    works: bool
    has_kernel: bool


@cache
def _op(name: str) -> _Op:
    if name in IDLE or not re.fullmatch(r"\w+::\w+", name):
        return _Op(False, False)
    known = ((f"{name}.{s.overload_name}".removesuffix("."), s) for s in torch._C._jit_get_schemas_for_operator(name))
    schemas = {full: s for full, s in known if torch._C._dispatch_has_kernel(full)}
    if not any(_computes(s) for s in schemas.values()):  # also where there is none: no operator
        return _Op(False, False)
    return _Op(True, any(torch._C._dispatch_has_kernel_for_dispatch_key(full, "CPU") for full in schemas))


def _computes(schema: Any) -> bool:
    """Has to do with tensors, and does more than to give a view of one."""
    aliases = [r.alias_info for r in schema.returns]
    is_view = bool(aliases) and all(a is not None and not a.is_write for a in aliases)
    return "Tensor" in str(schema) and not is_view


def _working(events: Sequence[Any], below: dict[int, frozenset[str]]) -> frozenset[str]:
    """The names of the working operators among these events and under them."""
    names: set[str] = set()
    for event in events:
        if id(event) not in below:
            own = {event.name} if _op(event.name).works else set()
            below[id(event)] = _working(event.cpu_children, below) | own
        names |= below[id(event)]
    return frozenset(names)


def _without_arguments(name: str) -> str:
    """`name` up to the parenthesis that opens its arguments, outside of its template's."""
    depth = 0
    for i, character in enumerate(name):
        if character == "(" and depth == 0 and i > 0:
            return name[:i]
        depth += {"<": 1, ">": -1}.get(character, 0) if not name.startswith("->", i - 1) else 0
    return name
