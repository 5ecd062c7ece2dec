"""What the Triton kernels that ran take of a multiprocessor: registers, spills and shared memory."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple


class Resources(NamedTuple):
    """Of a thread: registers, and those that do not fit; of a block: shared memory. None where Triton does not tell."""

    registers: int | None = None
    spills: int | None = None
    shared_memory_bytes: int | None = None


@contextmanager
def triton_resources() -> Iterator[dict[str, Resources]]:
    """Fills the dict, by kernel name, with the Triton kernels that are launched while the block runs.

    Those of `triton.jit` and those that inductor generated (seen: Triton 3.6 to 3.9, torch 2.6 to 2.13); the largest of
    each number where several variants of a name ran. None by the interpreter, which compiles nothing, and none that a
    CUDA graph replays.
    """
    found: dict[str, Resources] = {}
    with ExitStack() as stack:
        for module, kind, read in (
            ("triton.runtime.jit", "JITFunction", _of_jit),
            ("torch._inductor.runtime.triton_heuristics", "CachingAutotuner", _of_inductor),
        ):
            launcher = getattr(sys.modules.get(module), kind, None)
            if callable(getattr(launcher, "run", None)):
                stack.enter_context(_watched(launcher, read, found))
        yield found


def _of_jit(function: Any, result: Any) -> tuple[str, Any, Any]:
    """Name, compiled kernel and its shared memory: `JITFunction.run` returns the kernel that it launched."""
    return result.metadata.name, result, result.metadata.shared


def _of_inductor(function: Any, result: Any) -> tuple[str, Any, Any]:
    """Name, compiled kernel and its shared memory: after a run only the launcher that tuning chose is left."""
    (launcher,) = function.launchers
    return function.fn.__name__, launcher, launcher.shared


@contextmanager
def _watched(
    launcher: Any, read: Callable[[Any, Any], tuple[str, Any, Any]], found: dict[str, Resources]
) -> Iterator[None]:
    """The method `run` of a class, replaced by one that also notes what it ran; nothing that it cannot read."""
    run = launcher.run

    def noting(self: Any, *args: Any, **more: Any) -> Any:
        result = run(self, *args, **more)
        try:
            name, kernel, shared = read(self, result)
        except Exception:  # another version of Triton: absent, never a failed call
            return result
        numbers = (getattr(kernel, "n_regs", None), getattr(kernel, "n_spills", None), shared)
        new = Resources(*(n if isinstance(n, int) else None for n in numbers))
        old = found.get(name, Resources())
        found[name] = Resources(*(_larger(a, b) for a, b in zip(old, new, strict=True)))
        return result

    launcher.run = noting
    try:
        yield
    finally:
        launcher.run = run


def _larger(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)
