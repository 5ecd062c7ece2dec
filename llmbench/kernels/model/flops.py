"""FLOPs of a training step of the decoder: what runs, by part, and what a model is credited with for MFU.

A multiply-add is two. Only matrix products count, as in torch.utils.flop_counter, which `step_flops` equals exactly.
"""

from typing import Literal, NamedTuple

from llmbench.kernels.attention.flops import BACKWARD, attention_flop
from llmbench.kernels.attention.span import Span
from llmbench.kernels.model.checkpointing import segments
from llmbench.kernels.model.config import ModelConfig

AttentionKind = Literal["naive", "exact", "flash"]
"""How attention is counted: all S x S pairs, as the textbook computes and torch counts them; causal pairs alone,
backward twice forward; causal pairs alone, backward 2.5 times forward, as FlashAttention computes them."""
Convention = Literal["exact", "palm"]
"""Of model FLOPs: matrix products with causal pairs alone, 3 x forward; or 6 N + 12 L H Q T for each token."""


class Parts(NamedTuple):
    """FLOPs of the projections around attention, of attention itself, of the ffn and of the head."""

    projections: int
    attention: int
    ffn: int
    head: int

    @property
    def total(self) -> int:
        """Of all parts."""
        return sum(self)

    @property
    def blocks(self) -> int:
        """Of all parts but the head."""
        return self.total - self.head


class StepFlops(NamedTuple):
    """FLOPs of one step: forward, what checkpointing repeats, backward proper."""

    forward: Parts
    recompute: Parts
    backward: Parts

    @property
    def parts(self) -> Parts:
        """Of the three together."""
        return Parts(*map(sum, zip(*self, strict=True)))

    @property
    def total(self) -> int:
        """Of the step."""
        return self.parts.total


def step_flops(
    config: ModelConfig, *, batch: int, seq_len: int, policy: str = "none", early_stop: bool = True,
    attention: AttentionKind = "naive",
) -> StepFlops:  # fmt: skip
    """What runs in one forward and backward with a loss on every token's logits.

    Backward is two products for each of forward's: of the gradient with the weight, and with the input. A policy of
    checkpointing repeats the blocks of its segments; early stop leaves out the last product of each, the ffn's down
    projection. `selective` keeps all products. A batch with accumulation is the sum of its micro-batches. torch's
    counter misses products that are added in place (`addmm_`), as a chunked cross entropy has them in float32.
    """
    forward = forward_flops(config, batch=batch, seq_len=seq_len, attention=attention)
    runs = [] if policy == "selective" else segments(policy, config.layers)
    spared = len(runs) * 2 * batch * seq_len * config.hidden * config.ffn if early_stop else 0
    again = Parts(forward.projections, forward.attention, forward.ffn - spared, 0) if runs else Parts(0, 0, 0, 0)
    twice = Parts(*(2 * part for part in forward))
    backward = twice._replace(attention=int(BACKWARD * forward.attention)) if attention == "flash" else twice
    return StepFlops(forward, again, backward)


def forward_flops(config: ModelConfig, *, batch: int, seq_len: int, attention: AttentionKind = "naive") -> Parts:
    """Of one forward with the head on every token."""
    span = Span() if attention == "naive" else Span(right=0)
    pairs = [(seq_len, seq_len)] * batch
    tokens = batch * seq_len
    return Parts(
        projections=2 * tokens * config.layers * config.projection_params,
        attention=config.layers * attention_flop(pairs, heads=config.num_heads, head_dim=config.head_dim, span=span),
        ffn=2 * tokens * config.layers * config.ffn_params,
        head=2 * tokens * config.head_params,
    )


def model_flops(config: ModelConfig, *, batch: int, seq_len: int, convention: Convention = "exact") -> int:
    """What MFU credits a step with: recomputation is not model work.

    `exact`: three forwards with causal pairs alone. `palm`: 6 N + 12 L H Q T a token, with all parameters N, head dim Q
    and sequence length T, which counts the embedding as a product and attention without causality.
    Sources: PaLM, appendix B; nanoGPT, model.py, estimate_mfu.
    """
    if convention == "palm":
        attention = 12 * config.layers * config.num_heads * config.head_dim * seq_len
        return batch * seq_len * (6 * config.num_params + attention)
    return 3 * forward_flops(config, batch=batch, seq_len=seq_len, attention="exact").total
