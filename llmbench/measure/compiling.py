"""torch.compile under measurement: no graph of an earlier shape, and no silent fall back to eager."""

import torch

MOST_KEPT = 4096  # graphs of a function: more than a suite has cases


def forget_compiled() -> None:
    """Compile caches in memory are reset for each point; a recompile limit is an error, and so is a failed compilation.

    Without the reset, torch.compile reuses one dynamic graph from the third shape on, and the kernel that is timed
    depends on the order of the cases. The backward of a compiled graph may run twice (retain_graph).
    """
    torch._dynamo.reset()
    wanted = {"automatic_dynamic_shapes": False, "fail_on_recompile_limit_hit": True, "suppress_errors": False}
    for name, value in wanted.items():
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, value)
    if hasattr(torch._functorch.config, "donated_buffer"):
        torch._functorch.config.donated_buffer = False


def keep_compiled() -> None:
    """As `forget_compiled`, for a process that keeps many compiled cases at once: the limits are on their number."""
    forget_compiled()
    for name in ("recompile_limit", "accumulated_recompile_limit", "cache_size_limit", "accumulated_cache_size_limit"):
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, MOST_KEPT)


def why_eager() -> str | None:
    """Why torch.compile would not compile here, although it is asked to; None if it does."""
    if getattr(torch._dynamo.config, "disable", False):
        return "torch.compile is switched off here (TORCHDYNAMO_DISABLE)"
    return None
