"""The op `attention`: what its parts are."""

from collections.abc import Callable

from torch import Tensor

from llmbench.kernels.attention import naive_attention
from llmbench.kernels.attention.packed import Cut, padded_attention
from llmbench.ops.attention.oracle import oracle
from llmbench.ops.attention.params import AttentionParams, attention_cost, figures, inputs
from llmbench.ops.op import Op
from llmbench.ops.registry import register
from llmbench.suite.catalog import Constraint

Attend = Callable[..., Tensor]  # q_BHSD, k_BGKD, v_BGKD -> out_BHSD; q_THD, k_UGD, v_UGD, cu_q, cu_k -> out_THD


def _reference(p: AttentionParams) -> Attend:
    """For the shape of the output; `oracle` says its values."""
    if not p.varlen:
        return lambda q, k, v: naive_attention(q, k, v, **p.masking._asdict())
    return lambda q, k, v, cu_q, cu_k: padded_attention(
        q, k, v, Cut(cu_q, cu_k, p.seq_len, p.keys), **p.masking._asdict()
    )


attention: Op[AttentionParams] = Op(
    name="attention",
    version=1,
    params=AttentionParams,
    inputs=inputs,
    reference=_reference,
    oracle=oracle,
    cost=attention_cost,
    figures=figures,
    sizes=("batch", "seq_len", "num_heads", "head_dim"),
    input_names=("q", "k", "v", "cu_seqlens_q", "cu_seqlens_k"),
    constraints=(
        Constraint("multiple_of", "num_heads", "num_kv_heads"),
        Constraint("only_with", "window_left", "mask", "window"),
        Constraint("only_with", "window_right", "mask", "window"),
        Constraint("only_with", "lengths", "layout", "varlen"),
    ),
    doc="Scaled dot-product attention over whole sequences (training, prefill), with grouped kv heads.",
)
register(attention)
