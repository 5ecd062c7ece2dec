"""Activation checkpointing: which runs of blocks keep only their input, and are computed again in backward.

Policies: `none`; `full`, each block; `every_2` and the like, each run of that many blocks; `sqrt`, about sqrt(L) runs;
`selective`, each block, but outputs of matrix products and attention are kept and only what is cheap is recomputed.
Sources: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, section 4; Megatron-LM's
--recompute-method uniform for runs of k; torchtitan, activation_checkpoint.py, for the operations that are kept.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
    set_checkpoint_early_stop,
)

Block = Callable[..., Tensor]
EVERY = "every_"
aten = torch.ops.aten
PRODUCTS = {
    aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default, aten._scaled_mm.default,
}  # fmt: skip
ATTENTION = {
    aten._scaled_dot_product_flash_attention.default, aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_efficient_attention.default, aten._scaled_dot_product_cudnn_attention.default,
}  # fmt: skip
NAMESPACES = {"llmbench", "flash_attn"}  # of registered attention: our own, and the package flash-attn


def segments(policy: str, layers: int) -> list[range]:
    """The runs of blocks that are checkpointed as one, in order; none of them where nothing is.

    Raises: ValueError for a policy that there is not.
    """
    if policy == "none":
        return []
    if policy.startswith(EVERY):
        size = every(policy)
        return [range(first, min(first + size, layers)) for first in range(0, layers, size)]
    if policy == "sqrt":
        count = max(1, round(math.sqrt(layers)))
    elif policy in ("full", "selective"):
        count = layers
    else:
        raise ValueError(f"checkpointing {policy!r} is none of none, full, every_K, sqrt, selective")
    cuts = [layers * i // count for i in range(count + 1)]
    return [range(*cut) for cut in pairwise(cuts)]


def every(policy: str) -> int:
    """The K of `every_K`. Raises: ValueError unless it is a whole number of at least 1."""
    size = policy.removeprefix(EVERY)
    if not size.isdecimal() or int(size) < 1:
        raise ValueError(f"checkpointing {policy!r}: wanted every_K with a K of at least 1, such as every_2")
    return int(size)


def run_blocks(
    blocks: Sequence[Block], hidden_BSE: Tensor, *shared: Tensor, policy: str = "none", early_stop: bool = True
) -> Tensor:
    """hidden_BSE after all blocks, each of them `block(hidden_BSE, *shared)`, checkpointed by `policy`.

    With `early_stop` a recomputation ends as soon as backward has all it needs: behind the last tensor that the run
    saved, so its last matrix product is not repeated (torch's default). The blocks must not draw random numbers.
    """
    runs = segments(policy, len(blocks))
    if not runs:
        return _run(blocks, hidden_BSE, *shared)
    more: dict[str, Any] = {}
    if policy == "selective":
        more["context_fn"] = partial(create_selective_checkpoint_contexts, kept)
    with _stopping(early_stop):
        for run in runs:
            hidden_BSE = checkpoint(
                partial(_run, [blocks[i] for i in run]), hidden_BSE, *shared,
                use_reentrant=False, preserve_rng_state=False, **more,
            )  # fmt: skip
    return hidden_BSE


def kept(context: object, op: Any, *args: object, **kwargs: object) -> CheckpointPolicy:
    """Whether `selective` keeps what an operation returns.

    Products within an autograd.Function, which runs without a gradient, are its own business: backward reads none of
    them, and a loop over tiles writes into them.
    """
    namespace = getattr(op, "namespace", None)
    saved = op in ATTENTION or namespace in NAMESPACES or (op in PRODUCTS and torch.is_grad_enabled())
    return CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.PREFER_RECOMPUTE


def _run(blocks: Sequence[Block], hidden_BSE: Tensor, *shared: Tensor) -> Tensor:
    for block in blocks:
        hidden_BSE = block(hidden_BSE, *shared)
    return hidden_BSE


def _stopping(early: bool) -> AbstractContextManager[None]:
    """torch's own switch, whatever it was set to; a compiler decides by itself what it repeats."""
    if torch.compiler.is_compiling():
        return nullcontext()
    switch: AbstractContextManager[None] = set_checkpoint_early_stop(early)
    return switch
