"""What a training step is asked: model, heads, precision, checkpointing, optimizer, batch, loss; and its recipe."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, cast

import torch

from llmbench.kernels.model import Attention, ModelConfig, preset
from llmbench.kernels.training import PAIRED, Recipe
from llmbench.ops.attention import AttentionParams, attention
from llmbench.ops.cross_entropy import CrossEntropyParams, Loss
from llmbench.ops.cross_entropy import op as cross_entropy
from llmbench.ops.op import Unavailable
from llmbench.ops.params import AtLeast
from llmbench.ops.work import build

AttentionName = Literal[
    "naive", "tiled", "sdpa_math", "sdpa_flash", "sdpa_efficient", "sdpa_cudnn", "flex", "triton_flash", "flash_attn",
    "flash_attn4",
]  # fmt: skip
CrossEntropyName = Literal["eager", "chunked", "torch_linear", "triton_fused", "liger", "cut_cross_entropy"]
OptimizerName = Literal[
    "adamw_for_loop", "adamw_foreach", "adamw_fused", "adamw_triton", "adam_l2_foreach", "lion_for_loop",
    "lion_foreach", "lion_triton",
]  # fmt: skip
Checkpointing = Literal["none", "full", "every_2", "every_3", "every_4", "every_8", "sqrt", "selective"]
Model = Literal["tiny", "10m", "125m", "350m", "1b", "3b", "llama3_8b"]


@dataclass(frozen=True, kw_only=True)
class TrainStepParams:
    """One step of training a decoder, in all that an engineer may choose.

    `layers`, `num_heads` and `num_kv_heads` of 0 are the preset's own. `micro_batch` sequences (or pairs of them, where
    the loss compares two) make a micro-batch, `accumulation` of them a step. `loss_scale` is where dynamic loss scaling
    starts, under autocast to float16: 65536 is that of torch.amp.GradScaler.
    """

    model: Model = "tiny"
    layers: Annotated[int, AtLeast(0)] = 0
    num_heads: Annotated[int, AtLeast(0)] = 0
    num_kv_heads: Annotated[int, AtLeast(0)] = 0
    seq_len: Annotated[int, AtLeast(3)]
    micro_batch: int = 1
    accumulation: int = 1
    attention: AttentionName = "sdpa_flash"
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    autocast: Literal["none", "bfloat16", "float16"] = "none"
    loss_scale: Annotated[float, AtLeast(1)] = 65536.0
    matmul: Literal["ieee", "tf32"] = "ieee"
    checkpointing: Checkpointing = "none"
    early_stop: bool = True
    optimizer: OptimizerName = "adamw_foreach"
    loss: Literal["sft", "reward", "dpo", "orpo", "ppo"] = "sft"
    cross_entropy: CrossEntropyName = "eager"

    @property
    def rows(self) -> int:
        """Sequences of a micro-batch."""
        return self.micro_batch * (2 if self.loss in PAIRED else 1)

    @property
    def computed_in(self) -> str:
        """torch's name of the dtype that products run in."""
        return self.dtype if self.autocast == "none" else self.autocast


def config_of(p: TrainStepParams) -> ModelConfig:
    """The geometry: the preset's, with what is asked otherwise."""
    config = preset(p.model)
    if p.layers:
        config = replace(config, layers=p.layers)
    if p.num_heads or p.num_kv_heads:
        config = config.with_heads(p.num_heads or config.num_heads, p.num_kv_heads or config.num_kv_heads)
    return config.with_score_head() if p.loss == "reward" else config


def recipe_of(p: TrainStepParams, *, device: torch.device | None = None, compiled: bool = False) -> Recipe:
    """What the parameters ask, with attention and cross entropy by the implementations of those ops.

    `device` None is the one that set-up has as torch's default.
    Raises: Unavailable where one of them cannot serve the case on this device.
    """
    config = config_of(p)
    device = torch.empty(0).device if device is None else device
    return Recipe(
        config=config,
        attention=_attention(p, config, device),
        rows=p.micro_batch,
        seq_len=p.seq_len,
        accumulation=p.accumulation,
        stage=p.loss,
        cross_entropy=_cross_entropy(p, config, device),
        checkpointing=p.checkpointing,
        early_stop=p.early_stop,
        dtype=getattr(torch, p.dtype),
        autocast=None if p.autocast == "none" else getattr(torch, p.autocast),
        loss_scale=p.loss_scale,
        optimizer=p.optimizer,
        compiled=compiled,
    )


def _attention(p: TrainStepParams, config: ModelConfig, device: torch.device) -> Attention:
    impl = attention.impls[p.attention]
    why = impl.why_unavailable("fwd_bwd", device_type=device.type)
    if why is not None:
        raise Unavailable(f"attention {p.attention} {why}")
    asked = AttentionParams(
        batch=p.rows, seq_len=p.seq_len, num_heads=config.num_heads, num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim, mask="causal", dtype=cast("Literal['float32', 'bfloat16']", p.computed_in),
    )  # fmt: skip
    return build(impl, asked, device=device)


def _cross_entropy(p: TrainStepParams, config: ModelConfig, device: torch.device) -> Loss:
    impl = cross_entropy.impls[p.cross_entropy]
    why = impl.why_unavailable("fwd_bwd", device_type=device.type)
    if why is not None:
        raise Unavailable(f"cross entropy {p.cross_entropy} {why}")
    asked = CrossEntropyParams(
        tokens=p.rows * p.seq_len, vocab=config.vocab, hidden=config.hidden,
        dtype=cast("Literal['float32', 'bfloat16']", p.computed_in),
    )  # fmt: skip
    return build(impl, asked, device=device)
