"""What an implementation can need of a machine, and the reason to give where it is missing."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence

from llmbench.errors import UsageError, nearest
from llmbench.machine.simulated import NAME


def unmet(needs: Sequence[str], device_type: str) -> str | None:
    """The first need that a device of this type, with what is installed, does not meet; None if all are met.

    Raises: UsageError for a need that nobody knows.
    """
    if device_type == NAME and NAME not in needs:
        return f"cannot run on the device {NAME}, which has the op {NAME} only"
    for need in needs:
        if need not in NEEDS:
            raise UsageError(f"unknown need {need!r}{nearest(need, NEEDS)}")
        reason = NEEDS[need](device_type)
        if reason is not None:
            return reason
    return None


def _cuda(device_type: str) -> str | None:
    return None if device_type == "cuda" else f"needs a CUDA device, this one is {device_type}"


def _module(name: str, package: str) -> Callable[[str], str | None]:
    def missing(_: str) -> str | None:
        try:
            found = importlib.util.find_spec(name)  # imports the parents of a submodule, which may be broken
        except Exception as e:
            return f"needs the package {package}, which cannot be imported: {e}"
        return None if found else f"needs the package {package}, which is not installed"

    return missing


def _triton_gpu(device_type: str) -> str | None:
    """Kernels in Triton: compiled for a GPU; what its interpreter runs on a CPU can be checked and not timed."""
    if os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes"):
        return "TRITON_INTERPRET is set: interpreter, correctness only"
    return _cuda(device_type) or NEEDS["triton"](device_type)


def _inductor(device_type: str) -> str | None:
    """torch.compile writes C++ for a CPU and Triton for a GPU."""
    if device_type == "cuda":
        return NEEDS["triton"](device_type)
    compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if any(shutil.which(c) for c in compilers):
        return None
    return f"needs a C++ compiler for torch.compile; looked for {' and '.join(compilers)}"


NEEDS: dict[str, Callable[[str], str | None]] = {
    "cuda": _cuda,
    "simulated": lambda d: None if d == NAME else f"needs the device {NAME}, this one is {d}",
    "triton": _module("triton", "triton"),
    "triton_gpu": _triton_gpu,
    "inductor": _inductor,
    "flash_attn": _module("flash_attn", "flash-attn"),
    "liger": _module("liger_kernel", "liger-kernel"),
    "cut_cross_entropy": _module("cut_cross_entropy", "cut-cross-entropy"),
    "lion_pytorch": _module("lion_pytorch", "lion-pytorch"),
    "transformers": _module("transformers", "transformers"),
    "bitsandbytes": _module("bitsandbytes", "bitsandbytes"),
    "torchao": _module("torchao", "torchao"),
    "torchrl": _module("torchrl", "torchrl"),
    "flash_attn4": lambda d: _module("flash_attn", "flash-attn-4")(d) or _module("flash_attn.cute", "flash-attn-4")(d),
}
"""Need -> a function of the device type that gives the reason why it is not met, or None."""
