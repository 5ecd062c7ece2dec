"""Geometry of a decoder: presets from one million to eight billion parameters, and how many parameters it has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder of the Llama kind: sizes, and which of the parts that Llama and Qwen differ in it has.

    `head_dim` need not be hidden / num_heads. `tied`: the head's weight is the embedding's. `qkv_bias` is Qwen2's,
    `qk_norm` (an RMSNorm of each query and key head) Qwen3's. `score_head`: one number a token in place of a logit for
    each token of the vocabulary, for reward and value models.
    Raises: ValueError for sizes that fit no model.
    """

    vocab: int
    hidden: int
    layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn: int
    tied: bool
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    qkv_bias: bool = False
    qk_norm: bool = False
    score_head: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab", "hidden", "layers", "num_heads", "num_kv_heads", "head_dim", "ffn"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted at least 1")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads = {self.num_heads} is no multiple of num_kv_heads = {self.num_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim = {self.head_dim} is odd: rotary positions turn pairs")

    @property
    def num_params(self) -> int:
        """How many parameters the decoder has; a tied weight counts once."""
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        bias = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim if self.qkv_bias else 0
        block = self.projection_params + self.ffn_params + norms + bias
        own_head = 0 if self.tied and not self.score_head else self.head_params
        return self.vocab * self.hidden + self.layers * block + self.hidden + own_head

    @property
    def projection_params(self) -> int:
        """Weights of the projections to queries, keys and values and back, of one block."""
        return 2 * self.hidden * (self.num_heads + self.num_kv_heads) * self.head_dim

    @property
    def ffn_params(self) -> int:
        """Weights of SwiGLU's gate, up and down projections, of one block."""
        return 3 * self.hidden * self.ffn

    @property
    def head_params(self) -> int:
        """Weights of the head, tied or not."""
        return self.hidden * (1 if self.score_head else self.vocab)

    def with_heads(self, num_heads: int, num_kv_heads: int) -> "ModelConfig":
        """The same with other numbers of heads; the head dim stays, so the projections' size follows."""
        return replace(self, num_heads=num_heads, num_kv_heads=num_kv_heads)

    def with_score_head(self) -> "ModelConfig":
        """The same as a reward or value model."""
        return replace(self, score_head=True)


PRESETS: Mapping[str, ModelConfig] = MappingProxyType({
    # 0.95 M: for tests and for training on a CPU.
    "tiny": ModelConfig(
        vocab=512, hidden=128, layers=4, num_heads=4, num_kv_heads=2, head_dim=32, ffn=448, tied=True,
    ),
    # 9.97 M.
    "10m": ModelConfig(
        vocab=8192, hidden=256, layers=8, num_heads=4, num_kv_heads=2, head_dim=64, ffn=1024, tied=True,
    ),
    # 123.6 M: GPT-3 Small (Brown et al. 2020, table 2.1) with GPT-2's vocabulary rounded up to 64 (nanoGPT, model.py)
    # and SwiGLU of 8/3 hidden (Shazeer 2020, section 3).
    "125m": ModelConfig(
        vocab=50_304, hidden=768, layers=12, num_heads=12, num_kv_heads=12, head_dim=64, ffn=2048, tied=True,
    ),
    # 359.8 M: GPT-3 Medium, likewise; 8/3 hidden rounded up to 256 (llama, model.py, multiple_of).
    "350m": ModelConfig(
        vocab=50_304, hidden=1024, layers=24, num_heads=16, num_kv_heads=16, head_dim=64, ffn=2816, tied=True,
    ),
    # 1.24 B: Llama 3.2 1B. Source: config.json of meta-llama/Llama-3.2-1B, without its rope_scaling.
    "1b": ModelConfig(
        vocab=128_256, hidden=2048, layers=16, num_heads=32, num_kv_heads=8, head_dim=64, ffn=8192, tied=True,
        rope_theta=5e5,
    ),
    # 3.21 B: Llama 3.2 3B. Source: config.json of meta-llama/Llama-3.2-3B, without its rope_scaling.
    "3b": ModelConfig(
        vocab=128_256, hidden=3072, layers=28, num_heads=24, num_kv_heads=8, head_dim=128, ffn=8192, tied=True,
        rope_theta=5e5,
    ),
    # 8.03 B. Source: config.json of meta-llama/Meta-Llama-3-8B.
    "llama3_8b": ModelConfig(
        vocab=128_256, hidden=4096, layers=32, num_heads=32, num_kv_heads=8, head_dim=128, ffn=14_336, tied=False,
        rope_theta=5e5,
    ),
})  # fmt: skip


def preset(name: str) -> ModelConfig:
    """The geometry of this name. Raises: ValueError for a name that there is not."""
    if name not in PRESETS:
        raise ValueError(f"model {name!r} is none of {', '.join(PRESETS)}")
    return PRESETS[name]
