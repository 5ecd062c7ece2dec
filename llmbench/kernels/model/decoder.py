"""A decoder of the Llama kind: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Its attention is given.

Source: Touvron et al. 2023, Llama 2, and transformers, modeling_llama.py, whose rotary convention it has: the first
half of a head turns with the second (Meta's own code turns neighbours, with weights permuted to match).
"""

# B batch, S tokens of a sequence, E hidden size, H query heads, G kv heads, D head dim, F ffn size, V vocabulary

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from llmbench.kernels.model.checkpointing import run_blocks, segments
from llmbench.kernels.model.config import ModelConfig

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Causal attention: (q_BHSD, k_BGSD, v_BGSD) -> out_BHSD; query head h reads kv head h // (H / G)."""
STD = 0.02  # of initial weights. Source: GPT-2, model.py; transformers, initializer_range


class Decoder(nn.Module):
    """Embedding, blocks, final norm, head: forward returns hidden states, so that a loss can take the head's weight.

    `checkpointing` and `early_stop` are as in `run_blocks`, and may be set later. Weights are those of `draw_weights`.
    Without a `device` or a `dtype` torch's defaults hold; on "meta" and in FakeTensorMode it has shapes only.
    Raises: ValueError for a policy of checkpointing that there is not.
    """

    def __init__(
        self, config: ModelConfig, attention: Attention, *, checkpointing: str = "none", early_stop: bool = True,
        generator: torch.Generator | None = None, device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        segments(checkpointing, config.layers)
        self.config, self.checkpointing, self.early_stop = config, checkpointing, early_stop
        where = Where(device, dtype)
        self.embedding = Embedding(config.vocab, config.hidden, device=device, dtype=dtype)
        self.blocks = nn.ModuleList(Block(config, attention, where) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.norm_eps, where)
        outputs = 1 if config.score_head else config.vocab
        self.head = None if config.tied and not config.score_head else where.linear(config.hidden, outputs)
        self.draw_weights(generator)

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator | None = None) -> None:
        """Sets every parameter: normal weights of std 0.02, those that end in the residual stream / sqrt(2 L).

        Drawn in float32 where the generator is, and rounded: the same weights on every device and in every dtype. None
        is a generator on the CPU with seed 0. Source: Radford et al. 2019, GPT-2, section 2.3.
        """
        generator = generator or torch.Generator().manual_seed(0)
        for name, parameter in self.named_parameters():
            if parameter.is_meta or isinstance(parameter, FakeTensor):
                continue
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            last = name.endswith(("attention.out.weight", "ffn.down.weight"))
            std = STD / (2 * self.config.layers) ** 0.5 if last else STD
            wide = torch.empty(parameter.shape, dtype=torch.float32, device=generator.device)
            parameter.copy_(wide.normal_(std=std, generator=generator))

    def forward(self, tokens_BS: Tensor) -> Tensor:
        """hidden_BSE, behind the final norm."""
        hidden_BSE: Tensor = self.embedding(tokens_BS)
        wide = torch.promote_types(hidden_BSE.dtype, torch.float32)
        turn = rotary_table(
            tokens_BS.shape[1], self.config.head_dim, theta=self.config.rope_theta, device=hidden_BSE.device, dtype=wide
        )
        hidden_BSE = run_blocks(
            list(self.blocks), hidden_BSE, *turn, policy=self.checkpointing, early_stop=self.early_stop
        )
        normed_BSE: Tensor = self.norm(hidden_BSE)
        return normed_BSE

    @property
    def head_weight(self) -> Tensor:
        """weight_VE: logits are hidden weight^T; 1 x E of a reward or value model."""
        return self.embedding.weight if self.head is None else self.head.weight

    def logits(self, hidden_BSE: Tensor) -> Tensor:
        """logits_BSV, or scores_BS1 of a reward or value model."""
        return F.linear(hidden_BSE, self.head_weight)


class Where(NamedTuple):
    """On which device and in which dtype parameters are made."""

    device: torch.device | str | None
    dtype: torch.dtype | None

    def linear(self, inputs: int, outputs: int, *, bias: bool = False) -> nn.Linear:
        """A projection."""
        return Linear(inputs, outputs, bias=bias, device=self.device, dtype=self.dtype)


class Linear(nn.Linear):
    """A projection whose weights the decoder draws."""

    def reset_parameters(self) -> None:
        """Leaves them."""


class Embedding(nn.Embedding):
    """An embedding whose weights the decoder draws."""

    def reset_parameters(self) -> None:
        """Leaves them."""


class RMSNorm(nn.Module):
    """x / sqrt(mean x^2 + eps) * weight over the last axis: in float32, rounded before the weight, as Llama does."""

    def __init__(self, size: int, eps: float, where: Where) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size, device=where.device, dtype=where.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """In the dtype of x, or of the weight if that is wider."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return normed.to(x.dtype) * self.weight


class Block(nn.Module):
    """x + attention(norm x), then x + ffn(norm x)."""

    def __init__(self, config: ModelConfig, attention: Attention, where: Where) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden, config.norm_eps, where)
        self.attention = SelfAttention(config, attention, where)
        self.ffn_norm = RMSNorm(config.hidden, config.norm_eps, where)
        self.ffn = SwiGLU(config, where)

    def forward(self, hidden_BSE: Tensor, cos_SD: Tensor, sin_SD: Tensor) -> Tensor:
        """hidden_BSE."""
        hidden_BSE = hidden_BSE + self.attention(self.attention_norm(hidden_BSE), cos_SD, sin_SD)
        hidden_BSE = hidden_BSE + self.ffn(self.ffn_norm(hidden_BSE))
        return hidden_BSE


class SelfAttention(nn.Module):
    """Projections to queries, keys and values, rotary positions, the attention that was given, the projection back."""

    def __init__(self, config: ModelConfig, attention: Attention, where: Where) -> None:
        super().__init__()
        self.attend, self.head_dim = attention, config.head_dim
        query, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q = where.linear(config.hidden, query, bias=config.qkv_bias)
        self.k = where.linear(config.hidden, keys, bias=config.qkv_bias)
        self.v = where.linear(config.hidden, keys, bias=config.qkv_bias)
        self.out = where.linear(query, config.hidden)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps, where) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps, where) if config.qk_norm else nn.Identity()

    def forward(self, x_BSE: Tensor, cos_SD: Tensor, sin_SD: Tensor) -> Tensor:
        """out_BSE."""
        B, S, _ = x_BSE.shape
        q_BSHD, k_BSGD, v_BSGD = (project(x_BSE).view(B, S, -1, self.head_dim) for project in (self.q, self.k, self.v))
        q_BHSD = rotate(self.q_norm(q_BSHD).transpose(1, 2), cos_SD, sin_SD)
        k_BGSD = rotate(self.k_norm(k_BSGD).transpose(1, 2), cos_SD, sin_SD)
        out_BHSD = self.attend(q_BHSD, k_BGSD, v_BSGD.transpose(1, 2))
        out_BSE: Tensor = self.out(out_BHSD.transpose(1, 2).reshape(B, S, -1))
        return out_BSE


class SwiGLU(nn.Module):
    """down(silu(gate x) * up x). Source: Shazeer 2020, GLU Variants Improve Transformer."""

    def __init__(self, config: ModelConfig, where: Where) -> None:
        super().__init__()
        self.gate = where.linear(config.hidden, config.ffn)
        self.up = where.linear(config.hidden, config.ffn)
        self.down = where.linear(config.ffn, config.hidden)

    def forward(self, x_BSE: Tensor) -> Tensor:
        """out_BSE."""
        out_BSE: Tensor = self.down(F.silu(self.gate(x_BSE)) * self.up(x_BSE))
        return out_BSE


def rotary_table(
    length: int, head_dim: int, *, theta: float, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """cos_SD and sin_SD of the angles: place / theta^(2 i / D) for entries i and i + D / 2.

    Source: Su et al. 2021, RoFormer, section 3.2.2.
    """
    pair = torch.arange(0, head_dim, 2, device=device, dtype=dtype)
    place_S1 = torch.arange(length, device=device, dtype=dtype)[:, None]
    angle_SD = (place_S1 * (1.0 / theta ** (pair / head_dim))).repeat(1, 2)
    return angle_SD.cos(), angle_SD.sin()


def rotate(x_BHSD: Tensor, cos_SD: Tensor, sin_SD: Tensor) -> Tensor:
    """x with entries i and i + D / 2 of each head turned by the angle of their place, in the dtype of x."""
    wide_BHSD = x_BHSD.to(cos_SD.dtype)
    first, second = wide_BHSD.chunk(2, dim=-1)
    return (wide_BHSD * cos_SD + torch.cat((-second, first), dim=-1) * sin_SD).to(x_BHSD.dtype)
