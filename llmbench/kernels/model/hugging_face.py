"""Configurations of transformers, taken as geometry of our decoder; whatever it would build otherwise is refused."""

from collections.abc import Mapping
from typing import Any, cast

from llmbench.kernels.model.config import ModelConfig

KINDS = ("llama", "mistral", "qwen2", "qwen3")
ONLY: Mapping[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "attention_dropout": (0, None),
    "pretraining_tp": (1, None),
    "partial_rotary_factor": (1, None),
    "use_sliding_window": (False, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "quantization_config": (None,),
}
"""What changes a model, and the values with which it is ours; a key that is absent has the first."""


def from_hugging_face(config: object) -> ModelConfig:
    """The geometry of a Llama, Mistral, Qwen2 or Qwen3 configuration of transformers, or of its dictionary.

    Source of the keys: transformers, configuration_llama.py, configuration_qwen2.py, configuration_qwen3.py; both the
    `rope_theta` of version 4 and the `rope_parameters` of version 5 are read.
    Raises: ValueError for what the decoder does not build, by name, and for keys that are missing.
    """
    given = _dictionary(config)
    kind = given.get("model_type")
    if kind not in KINDS:
        raise ValueError(f"model_type is {kind!r}, known are {', '.join(KINDS)}")
    for key, allowed in ONLY.items():
        if given.get(key, allowed[0]) not in allowed:
            raise ValueError(f"{key} is {given[key]!r}, the decoder has {allowed[0]!r} only")
    _check_windows(given)
    hidden, heads = _size(given, "hidden_size"), _size(given, "num_attention_heads")
    return ModelConfig(
        vocab=_size(given, "vocab_size"),
        hidden=hidden,
        layers=_size(given, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=_size(given, "num_key_value_heads", heads if kind == "llama" else None),
        head_dim=_size(given, "head_dim", 128 if kind == "qwen3" else hidden // heads),
        ffn=_size(given, "intermediate_size"),
        tied=bool(given.get("tie_word_embeddings", False)),
        rope_theta=_rope_theta(given),
        norm_eps=float(given.get("rms_norm_eps", 1e-6)),
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
    )


def _dictionary(config: object) -> Mapping[str, Any]:
    if isinstance(config, Mapping):
        return config
    if not hasattr(config, "to_dict"):
        raise ValueError(f"a {type(config).__name__}, wanted a configuration of transformers or its dictionary")
    return cast("Mapping[str, Any]", config.to_dict())


def _check_windows(given: Mapping[str, Any]) -> None:
    """Mistral slides wherever `sliding_window` is set; Qwen2 and Qwen3 with `use_sliding_window`, by `layer_types`."""
    window = given.get("sliding_window")
    if given["model_type"] == "mistral" and window is not None:
        raise ValueError(f"sliding_window is {window!r}, the decoder is causal without a window")
    kinds = set(given.get("layer_types") or ()) - {"full_attention"}
    if kinds:
        raise ValueError(f"layer_types has {', '.join(sorted(kinds))}, the decoder has full_attention only")


def _rope_theta(given: Mapping[str, Any]) -> float:
    theta = given.get("rope_theta", 10_000.0)
    for key in ("rope_scaling", "rope_parameters"):
        rope = given.get(key) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise ValueError(f"{key} is of type {kind!r}, the decoder has default rotary positions only")
        if rope.get("partial_rotary_factor", 1) != 1:
            raise ValueError(f"{key} turns a part of each head, the decoder turns all of it")
        theta = rope.get("rope_theta", theta)
    return float(theta)


def _size(given: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = given.get(key)
    if value is None:
        value = default
    if value is None:
        raise ValueError(f"{key} is missing")
    return int(value)
