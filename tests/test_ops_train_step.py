"""The op train_step: its losses against a reference, what it says of itself, and what it refuses."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llmbench.kernels.device import interprets
from llmbench.kernels.losses import fused_cross_entropy
from llmbench.kernels.model import forward_flops
from llmbench.kernels.precision import LossScaler
from llmbench.kernels.training import OPTIMIZERS, STAGES, TrainingStep, measured_memory
from llmbench.measure.check import judge
from llmbench.ops import OPS, train_step
from llmbench.ops.op import Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.train_step import Steps, TrainStepParams
from llmbench.ops.train_step.checked import first_steps, parameter_names, sketch
from llmbench.ops.train_step.definition import flop_of
from llmbench.ops.train_step.params import OptimizerName, config_of, recipe_of
from llmbench.ops.work import build
from llmbench.report.dashboard_names import ALL_METRICS
from llmbench.store.query import read_run
from llmbench.suite.constraints import broken

SMALL = TrainStepParams(seq_len=24, micro_batch=2, layers=2, attention="naive")
SEED = torch.zeros((), dtype=torch.int64)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tiled": {"attention": "tiled"},
    "sdpa": {"attention": "sdpa_flash"},
    "checkpointed": {"checkpointing": "full", "early_stop": False},
    "selective": {"checkpointing": "selective"},
    "accumulated": {"accumulation": 3},
    "autocast": {"autocast": "bfloat16"},
    "half": {"dtype": "bfloat16"},
    "double": {"dtype": "float64"},
    "double_chunked": {"dtype": "float64", "attention": "tiled", "cross_entropy": "chunked"},
    "chunked": {"cross_entropy": "chunked"},
    "chunked_autocast": {"cross_entropy": "chunked", "autocast": "bfloat16"},
    "dpo_autocast": {"loss": "dpo", "autocast": "bfloat16"},
    "ppo_autocast": {"loss": "ppo", "autocast": "bfloat16"},
    "lion": {"optimizer": "lion_foreach"},
    "lion_float16": {"optimizer": "lion_foreach", "autocast": "float16"},
    "reward_deep_half": {"loss": "reward", "dtype": "bfloat16", "layers": 16, "seq_len": 64},
    "reward_deep_float16": {"loss": "reward", "autocast": "float16", "layers": 16, "seq_len": 64},
    "dpo_float16": {"loss": "dpo", "autocast": "float16"},
    "adam_l2": {"optimizer": "adam_l2_foreach"},
    "gqa": {"num_heads": 4, "num_kv_heads": 1},
    **{stage: {"loss": stage} for stage in STAGES if stage != "sft"},
    **{f"{stage}_half": {"loss": stage, "dtype": "bfloat16"} for stage in STAGES if stage != "sft"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_first_losses_are_those_of_a_plain_step_in_higher_precision(name: str) -> None:
    p = replace(SMALL, **VARIANTS[name])
    fn = build(train_step.impls["eager"], p, device="cpu")
    wanted = expected(train_step, p, "step", [SEED])
    assert judge(fn(SEED), wanted).why is None
    fn(SEED)
    assert judge(fn(SEED), wanted).why is None, "later steps give the first losses still"
    fn.reset()
    assert judge(fn(SEED), wanted).why is None


def test_steps_that_loss_scaling_skips_are_told_and_leave_the_first_losses_right() -> None:
    p = replace(SMALL, autocast="float16", loss_scale=2.0**24)
    fn = build(train_step.impls["eager"], p, device="cpu")
    assert judge(fn(SEED), expected(train_step, p, "step", [SEED])).why is None
    told = fn.figures()
    assert told["skipped_steps"] >= 1, "gradients times 2^24 are above the largest float16"
    assert told["loss_scale_after"] == 2.0 ** (24 - told["skipped_steps"]), "each one halved it"
    assert told["peak_memory", "optimizer"] >= 2 * told["peak_memory", "parameters"], "of steps that update"
    calm = build(train_step.impls["eager"], replace(p, loss_scale=1.0), device="cpu")
    calm(SEED)
    told = calm.figures()
    assert (told["skipped_steps"], told["loss_scale_after"]) == (0, 1.0)
    plain = build(train_step.impls["eager"], SMALL, device="cpu")
    plain(SEED)
    assert "skipped_steps" not in plain.figures()


def test_a_gradient_that_no_scale_makes_finite_ends_the_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    unscale = LossScaler.unscale_

    def poisoned(self: LossScaler, params: Iterable[torch.nn.Parameter]) -> torch.Tensor:
        given = list(params)
        for parameter in given[:1]:
            parameter.grad.view(-1)[0] = torch.nan
        return unscale(self, given)

    monkeypatch.setattr(LossScaler, "unscale_", poisoned)
    p = replace(SMALL, autocast="float16", loss_scale=4.0)
    assert judge(build(train_step.impls["eager"], p, device="cpu")(SEED), expected(train_step, p, "step", [SEED])).why


def attend(q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q_BHSD, k_BGSD, v_BGSD, is_causal=True, enable_gqa=True)


CPU = torch.device("cpu")
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {}, "tf32": {"matmul": "tf32"}, "bfloat16": {"dtype": "bfloat16"},
    "autocast_bfloat16": {"autocast": "bfloat16"}, "autocast_float16": {"autocast": "float16"},
}  # fmt: skip
WRONG: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "nothing": lambda q, k, v: torch.zeros_like(q),
    "no gradient of k": lambda q, k, v: attend(q, k.detach(), v),
    "scaled twice": lambda q, k, v: attend(q / q.shape[-1] ** 0.5, k, v),
    "not causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
    "the gradient of k with the other sign": lambda q, k, v: attend(q, 2 * k.detach() - k, v),
    "heads of q with other heads of k and v": lambda q, k, v: attend(q, k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1)),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("wrong", [None, *WRONG])
def test_sketches_of_gradients_alone_find_wrong_attention_in_every_precision(wrong: str | None, precision: str) -> None:
    p = replace(SMALL, num_heads=4, num_kv_heads=2, **PRECISIONS[precision])
    fn = Steps(p, replace(recipe_of(p, device=CPU), attention=attend if wrong is None else WRONG[wrong]))
    many = len(parameter_names(fn._made()))
    gave, wanted = fn(SEED)[1 : 1 + many], expected(train_step, p, "step", [SEED])[1 : 1 + many]
    why = judge(gave, wanted).why
    assert (why is None) if wrong is None else str(why).startswith("sketch of the gradient of ")


def test_what_is_computed_again_is_counted_as_the_flop_that_are_asked() -> None:
    p = replace(SMALL, checkpointing="full", early_stop=False)
    config = config_of(p)
    asked = train_step.cost(p, "step").flop
    again = forward_flops(config, batch=p.rows, seq_len=p.seq_len, attention="exact").blocks
    assert train_step.figures(p)["recomputed_flop"] == pytest.approx((asked + again) / asked)


ANOTHER: dict[str, tuple[dict[str, Any], str]] = {
    "optimizer": ({"optimizer": "lion_foreach"}, "sketch of the change of norm.weight is off"),
    "accumulation": ({"accumulation": 2}, "loss of the first step is off"),
    "layers": ({"layers": 3}, "gave "),
    "heads": ({"num_kv_heads": 1}, "loss of the first step is off"),
    "loss": ({"loss": "orpo"}, "loss of the first step is off"),
}


@pytest.mark.parametrize("name", ANOTHER)
def test_another_step_is_wrong(name: str) -> None:
    given, why = ANOTHER[name]
    fn = build(train_step.impls["eager"], replace(SMALL, **given), device="cpu")
    assert str(judge(fn(SEED), expected(train_step, SMALL, "step", [SEED])).why).startswith(why)


def never_zeroes(step: TrainingStep) -> None:
    step.optimizer.zero_grad = lambda **how: None  # type: ignore[method-assign]


def learns_faster(step: TrainingStep) -> None:
    for group in step.optimizer.param_groups:
        group["lr"] *= 1.1


def forgets_weight_decay(step: TrainingStep) -> None:
    for group in step.optimizer.param_groups:
        group["weight_decay"] = 0.0


@pytest.mark.parametrize("hurt", [never_zeroes, learns_faster, forgets_weight_decay])
def test_a_loop_that_updates_otherwise_is_wrong_by_what_it_changes(hurt: Callable[[TrainingStep], None]) -> None:
    step = TrainingStep(recipe_of(SMALL, device=CPU), device=CPU)
    hurt(step)
    why = judge(first_steps(step, step), expected(train_step, SMALL, "step", [SEED])).why
    assert str(why).startswith("sketch of the change of ")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(300, 40), (64, 64), (9000, 3), (1, 500), (1000,), ()])
def test_sketches_are_apart_by_the_norm_of_the_difference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    for sums, most in ((16, 1.1), (256, 0.4)):
        ratios = []
        for _ in range(30):
            a, b = (torch.randn(shape, generator=generator).mul(1e4).to(dtype) for _ in range(2))
            apart = sketch(a, sums) - sketch(b, sums)
            assert apart.shape == (sums,) and apart.dtype == torch.promote_types(dtype, torch.float32)
            ratios.append(float(torch.linalg.vector_norm(apart) / torch.linalg.vector_norm(a.double() - b.double())))
        assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.15)
        assert min(ratios) > 1 - most / 1.5 and max(ratios) < 1 + most


def test_a_sketch_tells_a_multiple_of_the_unit_matrix_from_nothing_as_well() -> None:
    """Rows and columns have signs of their own: with the same ones its diagonal would add up."""
    assert float(torch.linalg.vector_norm(sketch(torch.eye(256), 256))) == pytest.approx(16, rel=0.3)


def test_a_sketch_is_the_same_within_autocast_and_under_another_default_device() -> None:
    tensor = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
        assert torch.equal(sketch(tensor), sketch(tensor.clone()))
        told = sketch(tensor)
    assert told.dtype == torch.float32 and torch.equal(told, sketch(tensor))


def test_a_gradient_that_is_zero_is_told_however_small_it_should_be() -> None:
    """In a deep model in bfloat16: those of q and k are a ten thousandth of all together."""
    p = replace(SMALL, layers=32, seq_len=32, dtype="bfloat16")
    wanted = [w for w in expected(train_step, p, "step", [SEED]) if w.name.startswith("sketch of the gradient of ")]
    passed = [w.name for w in wanted if judge([torch.zeros_like(w.ref, dtype=w.dtype)], [w]).why is None]
    assert len(wanted) == 32 * 9 + 2 and passed == []


def test_a_parameter_without_a_gradient_is_told_as_zero() -> None:
    """As one of a loop that forgets a part of the model: nothing of the size of the parameter is made for it."""
    step = TrainingStep(recipe_of(SMALL, device=CPU), device=CPU)
    step.model.norm.weight.requires_grad_(requires_grad=False)
    of, many = parameter_names(step), len(parameter_names(step))
    gave, wanted = first_steps(step, step), expected(train_step, SMALL, "step", [SEED])
    assert gave[0].shape == () and of[-1] == "embedding.weight" and len(gave) == len(wanted) == 1 + 2 * many
    assert [n for n, told in zip(of, gave[1 : 1 + many], strict=True) if not told.any()] == ["norm.weight"]
    assert judge(gave, wanted).why == "sketch of the gradient of norm.weight is zero everywhere"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_backward_does_wrong_is_told_where_it_begins(precision: str) -> None:
    p = replace(SMALL, **PRECISIONS[precision])
    fn = Steps(p, replace(recipe_of(p, device=CPU), attention=WRONG["no gradient of k"]))
    why = judge(fn(SEED), expected(train_step, p, "step", [SEED])).why
    assert why == "sketch of the gradient of blocks.1.attention.k.weight is zero everywhere"


def test_kv_heads_must_divide_the_heads_unless_they_are_the_presets_own() -> None:
    (rule,) = (c for c in train_step.constraints if c.kind == "multiple_of")
    found = [broken(rule, heads, kv) for heads, kv in ((8, 3), (8, 4), (8, 0))]
    assert found == ["is not a multiple of", None, None]


def test_it_tells_parts_of_time_and_memory_and_the_loss_after_some_steps() -> None:
    fn = build(train_step.impls["eager"], SMALL, device="cpu")
    first = fn(SEED)
    told = fn.figures()
    assert {k for k in told if isinstance(k, tuple)} == {
        *(("time", part) for part in ("data", "forward", "backward", "optimizer")),
        *(("peak_memory", kind) for kind in ("parameters", "gradients", "optimizer", "activations", "other")),
    }
    assert all(v > 0 for k, v in told.items() if k[0] == "time")
    assert told["parts_over_step"] > 0, "against steps that no mark disturbs"
    twenty = TrainingStep(recipe_of(SMALL, device=torch.device("cpu")), device=torch.device("cpu"), seed=int(SEED))
    assert told["loss_after"] == [float(twenty()) for _ in range(20)][-1], "of the 20th step, marks or none"
    assert told["loss_after"] < float(first[0])
    memory = sum(v for k, v in told.items() if k[0] == "peak_memory")
    predicted = train_step.predicted_memory(SMALL, "eager")
    params = told["peak_memory", "parameters"]
    assert told["peak_memory", "optimizer"] >= 2 * params * 0.99, "AdamW's moments are known as that"
    assert predicted == pytest.approx(memory, rel=0.01)
    assert judge(fn(SEED), expected(train_step, SMALL, "step", [SEED])).why is None


def test_the_middle_of_ratios_is_not_moved_by_a_spike_and_turns_over_with_them() -> None:
    module = sys.modules["llmbench.ops.train_step.steps"]
    ratios = [0.98, 1.0, 1.02, 1.01, 0.99]
    assert module._middle(ratios) == pytest.approx(1.0, abs=1e-3)
    assert module._middle([*ratios, 3.0]) == pytest.approx(1.0, abs=0.01)
    assert module._middle([1 / r for r in ratios]) == pytest.approx(1 / module._middle(ratios), rel=1e-12)
    assert module._middle([2 * r for r in ratios]) == pytest.approx(2 * module._middle(ratios), rel=1e-12)


@pytest.mark.parametrize("disturbed", ["at_first", "while_it_warms_up", "in_an_octet"])
def test_parts_are_of_steps_that_update_weights(disturbed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = replace(SMALL, autocast="float16", loss_scale=2.0**30)
    steps = build(train_step.impls["eager"], p, device="cpu")
    module = sys.modules["llmbench.ops.train_step.steps"]
    updates: list[bool] = []  # whether each step made its own
    octets: list[tuple[int, bool]] = []  # the ratio that an octet gives, here its number, and whether it skips
    told_by: list[float] = []
    one, octet, middle = steps._one, steps._octet, module._middle

    def noted(mark: Any = module.unmarked) -> Any:
        if disturbed == "while_it_warms_up" and updates.count(True) == 2 and updates[-1]:
            steps._step.scaler.scale = 2.0**60
        skipped = steps._step.skipped
        loss = one(mark)
        updates.append(steps._step.skipped == skipped)
        return loss

    def numbered(turns: Any, one: Any, clock: Any) -> Any:
        if not octets:
            assert len(updates) >= module.WARM and all(updates[-module.WARM :]), updates
        if disturbed == "in_an_octet" and len(octets) == 2:
            steps._step.scaler.scale = 2.0**60
        skipped = steps._step.skipped
        spent, ratios = octet(turns, one, clock)
        octets.append((len(octets), steps._step.skipped > skipped))
        return spent, [float(octets[-1][0])] * len(ratios)

    steps(SEED)
    steps.reset()
    monkeypatch.setattr(steps, "_one", noted)
    monkeypatch.setattr(steps, "_octet", numbered)
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    monkeypatch.setattr(module, "_standard_error", lambda ratios: 0.0)
    monkeypatch.setattr(module, "_middle", lambda ratios: told_by.extend(ratios) or middle([1.0]))
    told = steps.figures()
    assert told["skipped_steps"] > module.WARM, "or nothing is tested"
    assert set(told_by) == {number for number, skips in octets if not skips}
    assert len(set(told_by)) == module.OCTETS.start
    assert octets[2][1] or disturbed != "in_an_octet", octets


@pytest.mark.parametrize("loss_scale", [1.0, 2.0**30])
def test_parts_come_to_an_end_where_no_scale_makes_gradients_finite(
    loss_scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = build(train_step.impls["eager"], replace(SMALL, autocast="float16", loss_scale=loss_scale), device="cpu")
    module = sys.modules["llmbench.ops.train_step.steps"]
    steps(SEED)
    made: list[Any] = []
    one = steps._one

    def noted(mark: Any = module.unmarked) -> Any:
        assert len(made) < 150, "one for each halving, those that warm up, and four octets are 67"
        steps._step.scaler._not_finite = lambda: True
        made.append(one(mark))
        return made[-1]

    monkeypatch.setattr(steps, "_one", noted)
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    monkeypatch.setattr(module, "_standard_error", lambda ratios: 0.0)
    told = steps.figures()
    assert told["parts_over_step"] > 0 and told["skipped_steps"] == module.LEARNED
    assert len(made) >= module.WARM + 8 * module.OCTETS.start


def test_a_compiled_step_is_not_predicted_and_kernels_of_a_gpu_are() -> None:
    assert "torch.compile" in str(train_step.predicted_memory(SMALL, "compiled"))
    gpu = replace(SMALL, attention="triton_flash", cross_entropy="triton_fused", optimizer="lion_triton")
    assert float(train_step.predicted_memory(gpu, "eager")) > 1e6
    with pytest.raises(Unavailable, match="attention triton_flash"):
        build(train_step.impls["eager"], gpu, device="cpu")


@pytest.mark.skipif(not interprets(), reason="a GPU is here: its kernels take no tensors of a CPU")
@pytest.mark.parametrize("optimizer", ["lion_triton", "adamw_triton"])
@pytest.mark.parametrize("cross_entropy", ["triton_fused", "eager"])
def test_what_stands_for_a_kernel_of_a_gpu_holds_as_much(
    optimizer: Any, cross_entropy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["llmbench.kernels.losses.cross_entropy"]  # a function of that name hides it
    # The interpreter copies what a kernel is given, which counts: here the kernels of the loss do nothing.
    monkeypatch.setattr(module, "losses_of", lambda logits, labels: (logits.new_zeros(len(labels)),) * 2)
    monkeypatch.setattr(module, "write_gradient", lambda *given: None)

    def fused(hidden_TE: torch.Tensor, weight_VE: torch.Tensor, labels_T: torch.Tensor) -> torch.Tensor:
        return fused_cross_entropy(hidden_TE @ weight_VE.T, labels_T)

    p = replace(SMALL, micro_batch=8, seq_len=64, optimizer=optimizer)
    recipe = recipe_of(p, device=torch.device("cpu"))
    if cross_entropy == "triton_fused":
        recipe = replace(recipe, cross_entropy=fused)
    seen = measured_memory(lambda: TrainingStep(recipe, device=torch.device("cpu"))).peak
    assert train_step.predicted_memory(replace(p, cross_entropy=cross_entropy), "eager") == pytest.approx(
        seen, rel=0.02
    )


@pytest.mark.parametrize("policy", ["none", "full", "selective"])
@pytest.mark.parametrize("loss", ["sft", "dpo", "orpo"])
def test_flop_of_a_step_is_what_torch_counts(loss: Any, policy: Any) -> None:
    p = replace(SMALL, loss=loss, checkpointing=policy, seq_len=64)
    step = TrainingStep(recipe_of(p, device=torch.device("cpu")), device=torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        step()
    added_in_place = 0 if loss == "sft" else forward_flops(config_of(p), batch=p.rows, seq_len=p.seq_len).head
    assert flop_of(p, recomputed=True, attention="naive") == counter.get_total_flops() + added_in_place


def test_cost_and_figures() -> None:
    p = replace(SMALL, accumulation=3, loss="dpo")
    cost = train_step.cost(p, "step")
    assert cost.tokens == 24 * 2 * 2 * 3
    assert cost.flop == 3 * train_step.cost(replace(p, accumulation=1), "step").flop
    told = train_step.figures(replace(SMALL, checkpointing="full"))
    assert told["recomputed_flop"] > 1.1 and train_step.figures(SMALL)["recomputed_flop"] == 1.0
    assert told["model_params"] == sum(
        t.numel() for t in build(train_step.impls["eager"], SMALL, device="cpu")._made().model.parameters()
    )


def test_every_optimizer_has_a_name_in_suites() -> None:
    assert set(OptimizerName.__args__) == set(OPTIMIZERS)


def test_parts_of_a_case_are_stored(tmp_path: Any, llmbench: Any) -> None:
    (tmp_path / "step.yaml").write_text(
        "op: train_step\nimpls: [eager]\nphases: [step]\naxes: {checkpointing: [none, full]}\n"
        "fixed: {seq_len: 32, layers: 2, micro_batch: 16}\nmeasure: {max_s: 0.1, cache: warm}\nprobes: [memory]\n"
    )
    done = json.loads(llmbench("run", "step.yaml", "--json").stdout)
    rows = read_run(tmp_path / done["folder"]).rows
    by_case: dict[str, dict[tuple[str, str | None], float]] = {}
    for r in rows:
        by_case.setdefault(str(r.params["checkpointing"]), {})[r.metric or "", r.part] = r.value or 0.0
    assert set(by_case) == {"none", "full"}
    for found in by_case.values():
        peak, predicted = found["peak_memory", None], found["predicted_peak_memory", None]
        assert predicted == pytest.approx(peak, rel=0.02)
        parts = sum(v for (metric, part), v in found.items() if metric == "peak_memory" and part)
        assert parts == pytest.approx(peak, rel=0.02)
        assert found["time", "forward"] > 0
    assert by_case["full"]["peak_memory", None] < by_case["none"]["peak_memory", None]


def test_a_step_that_is_wrong_gets_no_time_neither_of_its_parts(tmp_path: Any, llmbench: Any) -> None:
    (tmp_path / "forgetful.py").write_text(
        "import dataclasses\nimport torch\nfrom llmbench.ops import train_step\n"
        "from llmbench.ops.train_step import Steps, recipe_of\n"
        "@train_step.impl('forgetful', graphable=False)\ndef forgetful(p):\n"
        "    return Steps(p, dataclasses.replace(recipe_of(p), attention=lambda q, k, v: torch.zeros_like(q)))\n"
    )
    (tmp_path / "step.yaml").write_text(
        "op: train_step\nplugins: [forgetful]\nimpls: [forgetful]\nphases: [step]\naxes: {dtype: [float32, bfloat16]}\n"
        "fixed: {seq_len: 16, layers: 1}\nmeasure: {max_s: 0.1, cache: warm}\nprobes: [memory]\n"
    )
    done = json.loads(llmbench("run", "step.yaml", "--json", rc=6).stdout)
    assert done["counts"] == {"wrong": 2}
    rows = read_run(tmp_path / done["folder"]).rows
    assert all("is off by" in str(r.why) for r in rows)
    assert {r.metric for r in rows} <= {None, "max_error", "rel_error"}


def test_a_policy_that_there_is_not_is_refused_before_anything_is_written(tmp_path: Any, llmbench: Any) -> None:
    (tmp_path / "step.yaml").write_text(
        "op: train_step\nphases: [step]\naxes: {checkpointing: [ful]}\nfixed: {seq_len: 8}\n"
    )
    told = llmbench("run", "step.yaml", rc=2).stderr
    assert "step.yaml:3:24" in told and "did you mean 'full'" in told
    assert not (tmp_path / "results").exists()


def test_no_metric_has_the_name_of_a_parameter() -> None:
    """On a page a name is the one or the other."""
    assert not {spec.name for op in OPS.values() for spec in op.spec("cpu").params} & set(ALL_METRICS)
