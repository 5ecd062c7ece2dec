"""FLOP that a call really did: those of its matrix products, convolutions and attention, by torch's own counter.

What the counter does not see is told and never counted as nothing: operators without a formula that may multiply,
Triton kernels that are launched outside of an operator with one, and compiled code. What an extension launches past
torch and Triton is seen by nobody.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from llmbench.kernels.attention import flops as _registers_ours  # noqa: F401

COMPILED = "compiled code runs past torch's counter"
SHOWN = 4  # names in a reason
Shape = tuple[int, ...]


def counted_flop(call: Callable[[], object], *, ready: Callable[[], object]) -> int | str | None:
    """FLOP of one call; why they are not known; None where nothing ran that multiplies.

    The call must have run before; `ready` runs before each, unobserved. It runs eagerly here: under a counter dynamo
    would give up compiled functions for good (torch 2.13), so that later times would be those of eager code.
    """
    if "torch._dynamo" in sys.modules and _runs_compiled(call, ready):
        return COMPILED
    ready()
    counter = FlopCounterMode(display=False, custom_mapping=dict(FORMULAS))
    watch = _Watch(counter.flop_registry)
    with _eager(), _triton_launches(watch), watch, counter:
        call()
    if watch.unknown:
        names = list(dict.fromkeys(watch.unknown))
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return f"no formula for {', '.join(names[:SHOWN])}{more}"
    return counter.get_total_flops() or None


def may_multiply(name: str) -> bool:
    """Whether an operator without a formula, `aten::mv` or `other::thing`, may hold FLOP that should count.

    Of torch's own those that are products, convolutions, attention, recurrent layers, transforms or solvers by name; of
    others all but those that move data.
    """
    space, _, op = name.partition("::")
    return space not in MOVES_DATA and (space not in ("aten", "prims") or bool(MULTIPLIES.search(op.split(".")[0])))


MOVES_DATA = frozenset({"prim", "profiler", "debugprims", "c10d", "_c10d_functional", "c10d_functional"})
MULTIPLIES = re.compile(
    r"mm(_|$)|(^|_)(add)?mv_?$|dot|conv(?!ert)|attention|(^|_)linear(_|$)|^_?(bi|tri)linear$|cholesky|(?<!re)solve|_fft_"
    r"|linalg(?!_norm|_vector_norm|__powsum|_check|_diagonal|_cross)|geqrf|orgqr|ormqr|svd|(^|_)inverse$|matrix_exp"
    r"|(^|_)lu_with|rnn|lstm|(^|_)gru|cdist|multi_head"
)
"""Of names of aten. Not `sqrt` and `relu`, which hold `qr` and `lu`; nor `lgamma`, `upsample_bilinear2d`,
`resolve_conj` and norms."""


def _product(a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    return 2 * a[0] * a[1] * (b[1] if len(b) > 1 else 1)


def _added_product(added: Shape, a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    return _product(a, b)


def _added_products(added: Shape, a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    return a[0] * _product(a[1:], b[1:])


def _dot(a: Shape, *_: Any, **__: Any) -> int:
    return 2 * a[0]


def _attention(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])


def _attention_backward(dout: Shape, q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    return 2 * q[0] * q[1] * q[2] * k[2] * (3 * q[3] + 2 * v[3])


_aten = torch.ops.aten
FORMULAS: Mapping[Any, Callable[..., int]] = {
    getattr(_aten, name): formula
    for name, formula in (
        ("mv", _product),
        ("_int_mm", _product),
        ("addmv", _added_product),
        ("addmv_", _added_product),
        ("addmm_", _added_product),
        ("baddbmm_", _added_products),
        ("dot", _dot),
        ("_scaled_dot_product_flash_attention_for_cpu", _attention),
        ("_scaled_dot_product_flash_attention_for_cpu_backward", _attention_backward),
    )
    if hasattr(_aten, name)
}
"""What torch's counter (2.6 to 2.13) has no formula for: products in place or with a vector, and the attention of a
CPU. All pairs of queries and keys, as its own formulas of attention count them, causal or not."""


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what runs without a formula, below the counter: so it sees what the counter could not decompose."""

    supports_higher_order_operators = True

    def __init__(self, formulas: Mapping[Any, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.formulas = formulas
        self.inside = 0  # operators with a formula that are running: what they launch is counted
        self.unknown: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        counted = getattr(func, "_overloadpacket", func) in self.formulas
        if not counted:
            self.note(func.name() if callable(getattr(func, "name", None)) else f"higher_order::{func}")
        self.inside += counted
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.inside -= counted

    def note(self, name: str) -> None:
        """An operator or kernel that is about to run."""
        if not self.inside and may_multiply(name):
            self.unknown.append(name)


@contextmanager
def _triton_launches(watch: _Watch) -> Iterator[None]:
    """Tells the watch of Triton's kernels, compiled and interpreted, while the block runs."""
    with ExitStack() as stack:
        for module, kind in (
            ("triton.runtime.jit", "JITFunction"),
            ("triton.runtime.interpreter", "InterpretedFunction"),
        ):
            launcher = getattr(sys.modules.get(module), kind, None)
            if callable(getattr(launcher, "run", None)):
                stack.enter_context(_told(launcher, watch))
        yield


@contextmanager
def _told(launcher: Any, watch: _Watch) -> Iterator[None]:
    run = launcher.run

    def telling(self: Any, *args: Any, **more: Any) -> Any:
        watch.note(f"triton::{getattr(self, '__name__', 'kernel')}")
        return run(self, *args, **more)

    launcher.run = telling
    try:
        yield
    finally:
        launcher.run = run


def _eager() -> AbstractContextManager[Any]:
    """Within it dynamo compiles nothing and gives up nothing: what it compiled before stays so."""
    stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return stance("force_eager") if stance is not None and "torch._dynamo" in sys.modules else nullcontext()


def _runs_compiled(call: Callable[[], object], ready: Callable[[], object]) -> bool:
    """Whether the call enters code of torch.compile, forward or backward, by the ranges that the profiler sees."""
    ready()
    with profile(activities=[ProfilerActivity.CPU], acc_events=False) as p:
        call()
    return any(e.name.startswith(("Torch-Compiled Region", "CompiledFunction")) for e in p.events())
