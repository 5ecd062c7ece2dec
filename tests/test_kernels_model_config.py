"""Geometry of decoders: presets, counts of parameters, and what is taken from transformers or refused."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from llmbench.kernels.attention import naive_attention
from llmbench.kernels.model import PRESETS, Decoder, ModelConfig, from_hugging_face, preset

NAIVE = partial(naive_attention, causal=True)
CONFIG = ModelConfig(vocab=61, hidden=24, layers=2, num_heads=6, num_kv_heads=2, head_dim=8, ffn=40, tied=False)


@pytest.mark.parametrize("name", PRESETS)
def test_num_params_is_the_modules_count(name: str) -> None:
    for config in (preset(name), replace(preset(name), qkv_bias=True, qk_norm=True, tied=False)):
        for each in (config, config.with_score_head(), replace(config, tied=True)):
            model = Decoder(each, NAIVE, device="meta")
            assert each.num_params == sum(p.numel() for p in model.parameters())


def test_presets_are_as_large_as_they_say() -> None:
    counts = {name: config.num_params for name, config in PRESETS.items()}
    assert counts == {
        "tiny": 951_424, "10m": 9_965_824, "125m": 123_587_328, "350m": 359_842_816,
        "1b": 1_235_814_400, "3b": 3_212_749_824, "llama3_8b": 8_030_261_248,
    }  # fmt: skip
    with pytest.raises(ValueError, match="model '7b' is none of tiny, 10m, 125m"):
        preset("7b")


def test_a_geometry_that_fits_no_model_is_refused() -> None:
    assert (CONFIG.with_heads(4, 1).num_heads, CONFIG.with_heads(4, 1).head_dim) == (4, 8)
    with pytest.raises(ValueError, match="num_heads = 6 is no multiple of num_kv_heads = 4"):
        CONFIG.with_heads(6, 4)
    with pytest.raises(ValueError, match="head_dim = 7 is odd"):
        replace(CONFIG, head_dim=7)
    with pytest.raises(ValueError, match="layers is 0, wanted at least 1"):
        replace(CONFIG, layers=0)


LLAMA_3_2_1B = {  # config.json of meta-llama/Llama-3.2-1B, without rope_scaling
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
    "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
    "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama",
    "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1,
    "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "use_cache": True, "vocab_size": 128256,
}  # fmt: skip


class Configuration:
    """What transformers' configurations have in common."""

    def to_dict(self) -> dict[str, Any]:
        return dict(LLAMA_3_2_1B)


def test_a_configuration_of_transformers_is_its_preset() -> None:
    assert from_hugging_face(LLAMA_3_2_1B) == from_hugging_face(Configuration()) == preset("1b")
    newer: dict[str, Any] = {k: v for k, v in LLAMA_3_2_1B.items() if k != "rope_theta"}
    newer["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5}
    assert from_hugging_face(newer) == preset("1b")
    qwen2 = from_hugging_face({**LLAMA_3_2_1B, "model_type": "qwen2", "sliding_window": 4096, "head_dim": None})
    assert (qwen2.qkv_bias, qwen2.qk_norm, qwen2.head_dim) == (True, False, 64)
    qwen3 = from_hugging_face({k: v for k, v in {**LLAMA_3_2_1B, "model_type": "qwen3"}.items() if k != "head_dim"})
    assert (qwen3.qkv_bias, qwen3.qk_norm, qwen3.head_dim) == (False, True, 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gemma"}, "model_type is 'gemma', known are llama, mistral, qwen2, qwen3"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', the decoder has 'silu' only"),
        ({"attention_bias": True}, "attention_bias is True, the decoder has False only"),
        ({"attention_dropout": 0.1}, "attention_dropout is 0.1"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 32.0}}, "rope_scaling is of type 'llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling is of type 'linear'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "rope_parameters turns a part of each head"),
        ({"use_sliding_window": True}, "use_sliding_window is True"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding_window is 4096"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types has sliding_attention"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"model_type": "qwen2", "num_key_value_heads": None}, "num_key_value_heads is missing"),
    ],
)
def test_what_the_decoder_does_not_build_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_hugging_face({**LLAMA_3_2_1B, **change})
    with pytest.raises(ValueError, match="a str, wanted a configuration of transformers"):
        from_hugging_face("meta-llama/Llama-3.2-1B")
