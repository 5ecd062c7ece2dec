"""The op `attention`: its definition, and the implementations in the order in which they are listed."""

from llmbench.ops.attention import dense, packed, automatic  # noqa: I001  (naive first)
from llmbench.ops.attention.definition import attention
from llmbench.ops.attention.params import AttentionParams, attention_cost

__all__ = ["AttentionParams", "attention", "attention_cost", "automatic", "dense", "packed"]
