"""Where Triton kernels run: on a GPU, or on a CPU by its interpreter.

Triton is imported at the first launch: this module, like torch's own, works where it is not installed.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache
def interprets() -> bool:
    """Whether Triton's interpreter runs the kernels, on the CPU: TRITON_INTERPRET decides, when they are imported.

    Raises: RuntimeError where Triton is not installed.
    """
    try:
        import triton
    except ImportError as e:
        raise RuntimeError(f"this kernel needs Triton, which cannot be imported: {e}") from e
    return type(triton.jit(_nothing)).__name__ == "InterpretedFunction"


def _nothing() -> None:
    """A kernel, to see what Triton makes of one."""


def check_device(t: Tensor) -> None:
    """Raises: RuntimeError where the kernels cannot run on these tensors."""
    if t.device.type == "cuda":
        return
    if not interprets():
        raise RuntimeError(
            f"this kernel needs a GPU, a tensor is on {t.device}; TRITON_INTERPRET=1 interprets it on a CPU"
        )
    if t.dtype == torch.bfloat16:
        raise RuntimeError("Triton's interpreter multiplies bfloat16 wrongly: take float16 or float32")


def on_device_of(t: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: within it, that of the tensor."""
    return torch.cuda.device(t.device) if t.device.type == "cuda" else nullcontext()


@lru_cache
def arch_of(device: torch.device) -> str:
    """`sm90` and the like; `cpu` for a CPU."""
    if device.type != "cuda":
        return "cpu"
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm{major}{minor}"


def dtype_of(t: Tensor) -> str:
    """torch's name of the dtype: `float16`."""
    return str(t.dtype).removeprefix("torch.")


@lru_cache
def out_of_resources() -> type[Exception]:
    """What Triton raises for a kernel that takes more than the device has; nothing has run then."""
    from triton.runtime.errors import OutOfResources

    found: type[Exception] = OutOfResources
    return found
