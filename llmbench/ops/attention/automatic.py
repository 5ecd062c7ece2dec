"""The implementation `auto`: the back end that the selection takes for the case, with its reasons."""

import torch

from llmbench.kernels.attention.backends import (
    AttentionCase,
    AttentionMachine,
    ImpossibleBackendError,
    select_backend,
)
from llmbench.kernels.device import arch_of
from llmbench.ops.attention.definition import Attend, attention
from llmbench.ops.attention.params import AttentionParams
from llmbench.ops.needs import unmet
from llmbench.ops.op import Unavailable

NEEDS = {"triton": "triton_gpu", "flash-attn": "flash_attn", "flash-attn-4": "flash_attn4"}
PACKED = {"flash_attn": "varlen_flash_attn"}  # back end -> its implementation for packed sequences, where it is another


@attention.impl("auto", compiled=True)
def auto(p: AttentionParams) -> Attend:
    """The first back end that can serve the case, by architecture. Source: llmbench.kernels.attention.backends."""
    device = torch.get_default_device()
    case = AttentionCase(
        dtype=p.dtype, head_dim=p.head_dim, num_heads=p.num_heads, num_kv_heads=p.num_kv_heads, queries=p.seq_len,
        keys=p.keys, mask=p.mask, varlen=p.varlen,
    )  # fmt: skip
    machine = AttentionMachine(
        arch_of(device), frozenset(n for n, need in NEEDS.items() if not unmet([need], device.type))
    )
    try:
        choice, passed = select_backend(case, machine)
    except ImpossibleBackendError as e:
        raise Unavailable(str(e)) from e
    name = PACKED.get(choice, choice) if p.varlen else choice
    told = "; ".join(f"not {backend}: {', '.join(reasons)}" for backend, reasons in passed)
    return _Chosen(attention.impls[name].setup(p), name + (f" ({told})" if told else ""))


class _Chosen:
    """A function with the choice that led to it."""

    def __init__(self, attend: Attend, choice: str) -> None:
        self._attend, self._choice = attend, choice

    def config(self) -> str:
        """The choice and its reasons, and what the chosen one says of itself."""
        own = getattr(self._attend, "config", None)
        return f"{self._choice}; {own()}" if callable(own) else self._choice

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self._attend(*inputs)
