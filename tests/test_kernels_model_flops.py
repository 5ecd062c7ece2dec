"""FLOPs of a training step: equal to torch's counter for every policy, and golden numbers of the conventions."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from llmbench.kernels.attention import flash_attention, naive_attention
from llmbench.kernels.device import interprets
from llmbench.kernels.losses import linear_cross_entropy
from llmbench.kernels.model import (
    Corpus,
    Decoder,
    ModelConfig,
    Parts,
    StepFlops,
    forward_flops,
    model_flops,
    preset,
    step_flops,
)

POLICIES = ("none", "full", "every_2", "every_4", "sqrt", "selective")
CONFIG = ModelConfig(vocab=61, hidden=32, layers=5, num_heads=4, num_kv_heads=2, head_dim=16, ffn=48, tied=True)


def sdpa_math(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


ATTENTIONS: dict[str, Callable[..., Tensor]] = {
    "naive": partial(naive_attention, causal=True),
    "sdpa_math": sdpa_math,
    "flash": partial(flash_attention, causal=True),
}


def counted(
    config: ModelConfig, attention: str, policy: str, *, early_stop: bool, batch: int, seq_len: int
) -> int:  # fmt: skip
    """What torch's counter sees of a forward and backward."""
    model = Decoder(config, ATTENTIONS[attention], checkpointing=policy, early_stop=early_stop)
    tokens, labels, _ = Corpus(config.vocab).batch(0, batch=batch, seq_len=seq_len)
    with FlopCounterMode(display=False) as counter:
        hidden = model(tokens)
        if config.score_head:
            model.logits(hidden).sum().backward()
        else:
            linear_cross_entropy(hidden.flatten(0, 1), model.head_weight, labels.flatten()).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("early_stop", [True, False], ids=["early_stop", "to_the_end"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("attention", ["naive", "sdpa_math"])
def test_torchs_counter_counts_the_same(attention: str, policy: str, early_stop: bool) -> None:
    for config in (CONFIG, CONFIG.with_heads(6, 6), replace(CONFIG, tied=False, qkv_bias=True, qk_norm=True)):
        ours = step_flops(config, batch=3, seq_len=20, policy=policy, early_stop=early_stop)
        assert ours.total == counted(config, attention, policy, early_stop=early_stop, batch=3, seq_len=20)


def test_torchs_counter_counts_a_score_head_the_same() -> None:
    config = CONFIG.with_score_head()
    wanted = counted(config, "naive", "none", early_stop=True, batch=2, seq_len=12)
    assert step_flops(config, batch=2, seq_len=12).total == wanted


@pytest.mark.parametrize("policy", ["none", "full", "selective"])
def test_torchs_counter_counts_our_flash_attention_the_same(policy: str) -> None:
    if not interprets():
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    config = replace(CONFIG, layers=2)
    ours = step_flops(config, batch=1, seq_len=20, policy=policy, attention="flash")
    assert ours.total == counted(config, "flash", policy, early_stop=True, batch=1, seq_len=20)


def test_golden_numbers_of_a_step_by_part() -> None:
    config = ModelConfig(vocab=10, hidden=4, layers=3, num_heads=2, num_kv_heads=1, head_dim=2, ffn=5, tied=True)
    step = step_flops(config, batch=2, seq_len=3, policy="every_2")
    # Of 6 tokens and 3 layers: 4 x (4 + 2 + 2) and 4 x 4 weights; 9 pairs, 2 heads of 2; 3 x 20 weights; 40 weights.
    assert step.forward == Parts(projections=2 * 18 * 48, attention=3 * 2 * 4 * 2 * 2 * 9, ffn=2 * 18 * 60, head=480)
    assert step.backward == Parts(*(2 * part for part in step.forward))
    assert step.recompute == Parts(1728, 864, 2160 - 2 * (2 * 6 * 20), 0)  # two runs stop before a down projection
    assert step.parts == Parts(1728 * 4, 864 * 4, 2160 * 4 - 480, 480 * 3)
    assert (step.total, step.parts.blocks) == (sum(step.parts), sum(step.parts) - 1440)
    exact = forward_flops(config, batch=2, seq_len=3, attention="exact")
    assert exact == step.forward._replace(attention=864 * 6 // 9)
    flash = step_flops(config, batch=2, seq_len=3, attention="flash")
    assert flash.backward == step.backward._replace(attention=576 * 5 // 2)


def blocks_ratio(policy: str, *, early_stop: bool) -> float:
    def blocks(step: StepFlops) -> int:
        return step.parts.blocks

    config, shape = preset("llama3_8b"), {"batch": 1, "seq_len": 4096}
    with_policy = step_flops(config, policy=policy, early_stop=early_stop, **shape)
    return blocks(with_policy) / blocks(step_flops(config, **shape))


def test_full_checkpointing_costs_a_third_more_of_the_blocks() -> None:
    assert blocks_ratio("full", early_stop=False) == pytest.approx(4 / 3, abs=1e-12)
    assert blocks_ratio("every_2", early_stop=False) == pytest.approx(4 / 3, abs=1e-12)
    assert blocks_ratio("full", early_stop=True) == pytest.approx(1.27, abs=0.02)
    assert blocks_ratio("full", early_stop=True) < blocks_ratio("sqrt", early_stop=True) < 4 / 3
    assert blocks_ratio("selective", early_stop=False) == 1.0


def test_the_counter_sees_a_third_more_of_the_blocks() -> None:
    shape = {"batch": 2, "seq_len": 20}
    head = 3 * 2 * 40 * CONFIG.head_params
    full, none = (counted(CONFIG, "naive", p, early_stop=False, **shape) - head for p in ("full", "none"))
    assert full / none == pytest.approx(1.333, abs=0.02)


def test_model_flops_do_not_depend_on_how_the_step_runs() -> None:
    config = preset("llama3_8b")
    step = step_flops(config, batch=2, seq_len=1024, attention="exact")
    assert model_flops(config, batch=2, seq_len=1024) == step.total
    assert step_flops(config, batch=2, seq_len=1024, policy="full", attention="exact").total > step.total
    # PaLM, appendix B: 6 N + 12 L H Q T
    wanted = 2 * 1024 * (6 * 8_030_261_248 + 12 * 32 * 32 * 128 * 1024)
    assert model_flops(config, batch=2, seq_len=1024, convention="palm") == wanted


def test_the_conventions_differ_by_the_embedding_norms_and_unseen_pairs() -> None:
    config, tokens = preset("125m"), 3 * 256
    palm, exact = (model_flops(config, batch=3, seq_len=256, convention=c) for c in ("palm", "exact"))
    norms = (2 * config.layers + 1) * config.hidden
    unseen = 3 * 256 * 255 // 2 * config.layers * config.num_heads * config.head_dim
    assert palm - exact == 6 * tokens * norms + 12 * unseen  # tied: the embedding stands for the head
