"""Training steps: accumulation, stages, loss scaling, and memory known before a step is run."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from llmbench.kernels.attention import naive_attention, tiled_attention
from llmbench.kernels.losses import chunked_linear_cross_entropy
from llmbench.kernels.model import ModelConfig
from llmbench.kernels.training import STAGES, Recipe, TrainingStep, measured_memory, predict
from llmbench.kernels.training.prediction import KINDS, LINEAR_TO, _predict
from llmbench.measure.memory import peak_memory

CPU = torch.device("cpu")
SMALL = ModelConfig(
    vocab=96, hidden=32, layers=4, num_heads=4, num_kv_heads=2, head_dim=8, ffn=64, tied=True
)  # fmt: skip
PLAIN = Recipe(config=SMALL, attention=partial(naive_attention, causal=True), rows=4, seq_len=24)


def with_stage(stage: str, recipe: Recipe = PLAIN) -> Recipe:
    config = recipe.config.with_score_head() if stage == "reward" else recipe.config
    return replace(recipe, stage=stage, config=config)


def gradients(recipe: Recipe, step: TrainingStep | None = None) -> list[Tensor]:
    """Of the first step, before they are clipped."""
    step = step or TrainingStep(recipe, device=CPU)
    found: list[Tensor] = []
    step._update = lambda: found.extend(p.grad.clone() for p in step.model.parameters() if p.grad is not None)
    step()
    return found


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_accumulated_micro_batches_equal_the_whole_batch_though_their_tokens_are_unequal(stage: str) -> None:
    wide = with_stage(stage, replace(PLAIN, dtype=torch.float64, rows=2, accumulation=4))
    parts = TrainingStep(wide, device=CPU)
    given = parts.data()
    shares = [g.share for g in given]
    assert sum(shares) == pytest.approx(1)

    whole = TrainingStep(replace(wide, rows=8, accumulation=1), device=CPU)
    batch = type(given[0].batch)(*(_together(t, wide.pairs) for t in zip(*(g.batch for g in given), strict=True)))
    whole._drawn = lambda step: [given[0]._replace(batch=batch, share=1.0)]
    means = TrainingStep(wide, device=CPU)
    means._drawn = lambda step: [g._replace(share=1 / 4) for g in given]
    wanted, found, wrong = (gradients(wide, s) for s in (whole, parts, means))
    scale = max(float(g.abs().max()) for g in wanted)
    assert max(float((a - b).abs().max()) for a, b in zip(wanted, found, strict=True)) < 1e-12 * scale
    if stage == "sft":
        assert len(set(shares)) > 1
        assert max(float((a - b).abs().max()) for a, b in zip(wanted, wrong, strict=True)) > 1e-6 * scale


def _together(parts: Sequence[Tensor], pairs: bool) -> Tensor:
    """Of all micro-batches; where they hold pairs, all that were chosen come before all that were rejected."""
    halves = zip(*(part.chunk(2) for part in parts), strict=True) if pairs else [parts]
    return torch.cat([torch.cat(half) for half in halves])


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_learns(stage: str) -> None:
    step = TrainingStep(with_stage(stage, replace(PLAIN, lr=3e-3)), device=CPU)
    losses = [step().item() for _ in range(24)]
    assert all(torch.tensor(losses).isfinite())
    assert sum(losses[-4:]) < sum(losses[:4])
    if stage == "dpo":
        assert losses[0] == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-5)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("checkpointing", ["full", "every_2", "sqrt", "selective"])
def test_checkpointing_changes_no_bit_of_a_gradient(stage: str, checkpointing: str) -> None:
    recipe = with_stage(stage, replace(PLAIN, accumulation=2))
    wanted, found = gradients(recipe), gradients(replace(recipe, checkpointing=checkpointing))
    assert len(wanted) == len(found) > 0
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_losses_agree_whatever_computes_attention_and_loss_and_they_fall() -> None:
    def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    forms = [
        PLAIN,
        replace(PLAIN, attention=partial(tiled_attention, causal=True)),
        replace(PLAIN, attention=sdpa),
        replace(PLAIN, cross_entropy=chunked_linear_cross_entropy),
        replace(PLAIN, optimizer="adamw_fused"),
    ]
    after = []
    for recipe in forms:
        step = TrainingStep(recipe, device=CPU)
        losses = [step().item() for _ in range(20)]
        assert losses[-1] < 0.95 * losses[0]
        after.append(losses[-1])
    assert max(after) - min(after) < 1e-4


MEMORY = {
    "plain": PLAIN,
    "checkpointed": replace(PLAIN, checkpointing="full"),
    "selective": replace(PLAIN, checkpointing="selective"),
    "accumulated": replace(PLAIN, accumulation=3, rows=2),
    "many": replace(PLAIN, accumulation=LINEAR_TO + 3, rows=2),
    "many_pairs": replace(with_stage("dpo"), accumulation=LINEAR_TO + 3, rows=1),
    "autocast": replace(PLAIN, autocast=torch.bfloat16),
    "scaled": replace(PLAIN, autocast=torch.float16),
    "half": replace(PLAIN, dtype=torch.bfloat16),
    "lion": replace(PLAIN, optimizer="lion_foreach"),
    "fused": replace(PLAIN, optimizer="adamw_fused"),
    **{stage: with_stage(stage) for stage in STAGES if stage != "sft"},
}


@pytest.mark.parametrize("name", MEMORY)
def test_predicted_memory_is_what_a_step_takes(name: str) -> None:
    recipe = replace(MEMORY[name], rows=4 * MEMORY[name].rows)

    def train() -> None:
        step = TrainingStep(recipe, device=CPU)
        step()
        step()

    train()
    measured = peak_memory(train, CPU)["peak_memory"]
    predicted, seen = predict(recipe), measured_memory(lambda: TrainingStep(recipe, device=CPU))
    assert measured * 0.98 <= predicted.peak <= measured * 1.02
    for memory in (predicted, seen):
        assert sum(memory.parts.values()) == memory.peak and set(memory.parts) == set(KINDS)
    params = sum(p.nbytes for p in TrainingStep(recipe, device=CPU).model.parameters())
    assert predicted.parts["parameters"] >= params * (2 if recipe.stage == "dpo" else 1)
    assert predicted.parts["optimizer"] >= params * (1 if name == "lion" else 2)
    assert abs(predicted.peak - seen.peak) < 0.01 * seen.peak
    assert abs(predicted.working - seen.working) < 0.01 * seen.working
    assert predicted == _predict(recipe, recipe.accumulation, seed=0), "the line through two and three is exact"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rows": 0}, "rows is 0, wanted at least 1"),
        ({"seq_len": 1}, "seq_len is 1, wanted at least 2"),
        ({"accumulation": 0}, "accumulation is 0, wanted at least 1"),
        ({"clip": 0.0}, "clip is 0.0, wanted more than 0; inf clips nothing"),
        ({"stage": "sfft"}, "stage 'sfft' is none of sft, reward, dpo, orpo, ppo"),
        ({"optimizer": "adam"}, "optimizer 'adam' is none of adamw_for_loop, "),
        ({"checkpointing": "ful"}, "checkpointing 'ful' is none of none, full, every_K, sqrt, selective"),
    ],
)
def test_a_recipe_says_what_is_wrong_with_it(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        replace(PLAIN, **given)


def test_checkpointing_and_lion_need_less_and_a_compiled_step_is_not_predicted() -> None:
    rows = replace(PLAIN, rows=64)
    peaks = {name: predict(replace(MEMORY[name], rows=64)).peak for name in ("plain", "checkpointed", "lion")}
    assert peaks["checkpointed"] < 0.8 * peaks["plain"] and peaks["lion"] < peaks["plain"]
    with pytest.raises(ValueError, match="only running it tells"):
        predict(replace(rows, compiled=True))


def test_an_infinite_gradient_skips_exactly_that_step_and_halves_the_scale() -> None:
    step = TrainingStep(replace(PLAIN, autocast=torch.float16), device=CPU)
    assert step.scaler is not None
    seen = []
    for i in range(4):
        before = [p.detach().clone() for p in step.model.parameters()]
        unscale = step.scaler.unscale_
        if i == 2:
            first = next(step.model.parameters())

            def poisoned(params: list[Tensor], unscale=unscale, first=first) -> Tensor:
                first.grad[0, 0] = torch.inf
                return unscale(params)

            step.scaler.unscale_ = poisoned  # type: ignore[method-assign]
        step()
        step.scaler.unscale_ = unscale  # type: ignore[method-assign]
        after = list(step.model.parameters())
        seen.append((any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), step.scaler.scale))
    assert seen == [(True, 2.0**16), (True, 2.0**16), (False, 2.0**15), (True, 2.0**15)]
    assert step.scaler.skipped == 1


def test_marks_tell_the_parts_in_their_order() -> None:
    heard: list[str | None] = []
    TrainingStep(replace(PLAIN, accumulation=2), device=CPU)(heard.append)
    assert heard == ["data", "forward", "backward", "forward", "backward", "optimizer", None]


def test_working_memory_grows_with_layers_and_under_sqrt_with_their_root() -> None:
    def working(policy: str, layers: int) -> int:
        config = replace(PLAIN.config, layers=layers)
        return predict(replace(PLAIN, config=config, checkpointing=policy, rows=8)).working

    none, root, full = ({n: working(policy, n) for n in (1, 4, 9)} for policy in ("none", "sqrt", "full"))
    assert none[9] - none[4] == pytest.approx((none[4] - none[1]) * 5 / 3, rel=0.02), "a line in layers"
    assert root[9] - root[4] == pytest.approx(root[4] - root[1], rel=0.1), "a line in their root: 1, 2, 3 runs"
    assert full[9] < root[9] < none[9], "a block holds far more than its input"
    recipe = replace(PLAIN, rows=8, checkpointing="sqrt")
    measured = measured_memory(lambda: TrainingStep(recipe, device=CPU)).working
    assert measured == pytest.approx(predict(recipe).working, rel=0.02)
