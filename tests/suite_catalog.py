"""A catalog by hand, so that suites are tested without torch."""

from dataclasses import replace

from llmbench.suite.catalog import Catalog, Constraint, DeviceSpec, ImplSpec, OpSpec, ParamSpec, Phase

DTYPES = ("float32", "float16", "bfloat16")
PHASES: tuple[Phase, ...] = ("infer", "fwd", "bwd", "fwd_bwd")
IMPLS = (
    "naive", "naive_compiled", "tiled", "sdpa_math", "sdpa_flash", "sdpa_efficient", "sdpa_cudnn", "flex", "flash_attn",
    "flash_attn4", "triton_flash", "varlen_loop", "padded", "varlen_flash_attn", "varlen_torch", "auto",
)  # fmt: skip

ATTENTION = OpSpec(
    name="attention",
    version=1,
    doc="Scaled dot-product attention.",
    params=(
        ParamSpec("batch", "int", 1, minimum=1),
        ParamSpec("seq_len", "int", minimum=1),
        ParamSpec("num_heads", "int", minimum=1),
        ParamSpec("num_kv_heads", "int", minimum=1),
        ParamSpec("head_dim", "int", minimum=1),
        ParamSpec("mask", "str", "full", choices=("full", "causal", "window")),
        ParamSpec("dtype", "str", "float32", choices=DTYPES),
        ParamSpec("kv_len", "int", 0, minimum=0),
        ParamSpec("window_left", "int", -1, minimum=-1),
        ParamSpec("window_right", "int", 0, minimum=-1),
        ParamSpec("layout", "str", "dense", choices=("dense", "varlen")),
        ParamSpec("lengths", "str", "equal", choices=("equal", "uniform", "one_long", "with_empty")),
        ParamSpec("logit_scale", "float", 1.0, minimum=2**-20),
    ),
    phases=PHASES,
    impls=tuple(ImplSpec(name, phases=PHASES) for name in IMPLS),
    constraints=(
        Constraint("multiple_of", "num_heads", "num_kv_heads"),
        Constraint("only_with", "window_left", "mask", "window"),
        Constraint("only_with", "window_right", "mask", "window"),
        Constraint("only_with", "lengths", "layout", "varlen"),
    ),
)

DECODE = OpSpec(
    name="decode",
    version=1,
    doc="Attention of one new token.",
    params=(
        ParamSpec("batch", "int", 1, minimum=1),
        *(ParamSpec(name, "int", minimum=1) for name in ("kv_len", "num_heads", "num_kv_heads", "head_dim")),
        ParamSpec("dtype", "str", "float32", choices=DTYPES),
    ),
    phases=("infer",),
    impls=tuple(
        ImplSpec(name, phases=("infer",)) for name in (
            "naive", "tiled", "sdpa_math", "sdpa_flash", "sdpa_efficient", "sdpa_cudnn", "flash_attn", "triton_decode",
        )
    ),
    constraints=(Constraint("multiple_of", "num_heads", "num_kv_heads"),),
)  # fmt: skip

CROSS_ENTROPY = OpSpec(
    name="cross_entropy",
    version=1,
    doc="Cross entropy of the next token.",
    params=(
        ParamSpec("tokens", "int", minimum=1),
        ParamSpec("vocab", "int", minimum=1),
        ParamSpec("hidden", "int", 0, minimum=0),
        ParamSpec("masked", "float", 0.25),
        ParamSpec("dtype", "str", "float32", choices=DTYPES),
    ),
    phases=PHASES,
    impls=tuple(
        ImplSpec(name, phases=PHASES) for name in (
            "eager", "eager_compiled", "triton_fused", "chunked", "torch_linear", "liger", "cut_cross_entropy",
        )
    ),
)  # fmt: skip

OPTIMIZER = OpSpec(
    name="optimizer",
    version=1,
    doc="One step of an optimizer.",
    params=(
        ParamSpec("rule", "str", "adamw", choices=("adamw", "lion", "adam_l2")),
        ParamSpec("num_params", "int", minimum=1),
        ParamSpec("num_tensors", "int", 64, minimum=1),
        ParamSpec("state", "str", "full", choices=("full", "8bit")),
        ParamSpec("dtype", "str", "float32", choices=DTYPES),
    ),
    phases=("step",),
    impls=tuple(
        ImplSpec(name, phases=("step",)) for name in (
            "plain", "compiled", "for_loop", "foreach", "fused", "triton_fused", "lion_pytorch", "bitsandbytes",
            "torchao",
        )
    ),
    constraints=(Constraint("at_most", "num_tensors", "num_params"),),
)  # fmt: skip

SCHEDULE = OpSpec(
    name="schedule",
    version=1,
    doc="The learning rate that a schedule reaches.",
    params=(
        ParamSpec("step", "int", minimum=0),
        ParamSpec("total", "int", minimum=1),
        ParamSpec("warmup", "int", 0, minimum=0),
        ParamSpec("floor", "float", 0.0, minimum=0),
    ),
    phases=("infer",),
    impls=tuple(
        ImplSpec(name, phases=("infer",))
        for name in ("closed_form", "scheduler", "scheduler_resumed", "torch_cosine", "transformers")
    ),
    constraints=(Constraint("at_most", "warmup", "total"),),
)

GEMM = OpSpec(
    name="gemm",
    version=1,
    doc="A matrix product.",
    params=(
        *(ParamSpec(name, "int", minimum=1) for name in ("rows", "columns", "inner")),
        ParamSpec("dtype", "str", "float32", choices=(*DTYPES, "float64")),
        ParamSpec("matmul", "str", "ieee", choices=("ieee", "tf32")),
    ),
    phases=("infer",),
    impls=tuple(ImplSpec(name, phases=("infer",)) for name in ("matmul", "linear", "compiled")),
    constraints=(Constraint("only_with", "matmul", "dtype", "float32"),),
)

PRECISION = OpSpec(
    name="precision",
    version=1,
    doc="Real gradients and updates in a number format.",
    params=(
        ParamSpec("dtype", "str", "float16", choices=DTYPES),
        ParamSpec("loss_scale", "float", 1.0, minimum=2**-24),
        ParamSpec("lr", "float", 1e-4, minimum=0),
        ParamSpec("model", "str", "tiny", choices=("tiny", "10m")),
        ParamSpec("steps", "int", 20, minimum=0),
    ),
    phases=("infer",),
    impls=tuple(ImplSpec(name, phases=("infer",)) for name in ("cast", "compiled", "amp")),
)

PREFERENCE = OpSpec(
    name="preference",
    version=1,
    doc="DPO, IPO or ORPO of pairs of completions.",
    params=(
        ParamSpec("loss", "str", "dpo", choices=("dpo", "ipo", "orpo")),
        ParamSpec("pairs", "int", minimum=1),
        ParamSpec("seq_len", "int", minimum=1),
        ParamSpec("rejected_len", "int", 0, minimum=0),
        ParamSpec("hidden", "int", minimum=1),
        ParamSpec("vocab", "int", minimum=1),
        ParamSpec("beta", "float", 0.1),
        ParamSpec("label_smoothing", "float", 0.0, minimum=0),
        ParamSpec("forward", "str", "concatenated", choices=("concatenated", "separate")),
        ParamSpec("reference", "str", "precomputed", choices=("precomputed", "on_the_fly")),
        ParamSpec("dtype", "str", "float32", choices=DTYPES),
    ),
    phases=PHASES,
    impls=tuple(
        ImplSpec(name, phases=PHASES)
        for name in ("eager", "gathered", "gathered_compiled", "chunked", "triton_fused", "liger")
    ),
    constraints=(
        Constraint("at_most", "rejected_len", "seq_len"),
        Constraint("only_with", "label_smoothing", "loss", "dpo"),
        Constraint("not_with", "reference", "loss", "orpo"),
    ),
)

REWARD = OpSpec(
    name="reward",
    version=1,
    doc="Loss of a reward model.",
    params=(
        *(ParamSpec(name, "int", minimum=1) for name in ("pairs", "seq_len", "hidden")),
        ParamSpec("dtype", "str", "float32", choices=DTYPES),
    ),
    phases=PHASES,
    impls=tuple(ImplSpec(name, phases=PHASES) for name in ("eager", "gathered", "eager_compiled", "gathered_compiled")),
)

PPO = OpSpec(
    name="ppo",
    version=1,
    doc="PPO's loss of given logits and values.",
    params=(
        *(ParamSpec(name, "int", minimum=1) for name in ("batch", "seq_len", "vocab")),
        ParamSpec("padding", "float", 0.25, minimum=0),
        ParamSpec("kl", "str", "k1", choices=("none", "k1", "k3")),
        ParamSpec("dtype", "str", "float32", choices=DTYPES),
    ),
    phases=PHASES,
    impls=tuple(
        ImplSpec(name, phases=PHASES)
        for name in ("eager_loop", "eager", "eager_compiled", "recomputed", "triton_fused", "torchrl_gae")
    ),
)

TRAIN_STEP = OpSpec(
    name="train_step",
    version=1,
    doc="A step of training a decoder.",
    params=(
        ParamSpec("model", "str", "tiny", choices=("tiny", "10m", "125m", "350m", "1b", "3b", "llama3_8b")),
        *(ParamSpec(name, "int", 0, minimum=0) for name in ("layers", "num_heads", "num_kv_heads")),
        ParamSpec("seq_len", "int", minimum=3),
        *(ParamSpec(name, "int", 1, minimum=1) for name in ("micro_batch", "accumulation")),
        ParamSpec("attention", "str", "sdpa_flash"),
        ParamSpec("dtype", "str", "float32", choices=("float32", "bfloat16", "float64")),
        ParamSpec("autocast", "str", "none", choices=("none", "bfloat16", "float16")),
        ParamSpec("matmul", "str", "ieee", choices=("ieee", "tf32")),
        ParamSpec(
            "checkpointing",
            "str",
            "none",
            choices=("none", "full", "every_2", "every_3", "every_4", "every_8", "sqrt", "selective"),
        ),
        ParamSpec("early_stop", "bool", True),
        ParamSpec("optimizer", "str", "adamw_foreach"),
        ParamSpec("loss", "str", "sft", choices=("sft", "reward", "dpo", "orpo", "ppo")),
        ParamSpec("cross_entropy", "str", "eager"),
    ),
    phases=("step",),
    impls=tuple(ImplSpec(name, phases=("step",)) for name in ("eager", "compiled")),
    constraints=(
        Constraint(
            "multiple_of",
            "num_heads",
            "num_kv_heads",
            preset="model",
            own={
                "tiny": {"num_heads": 4, "num_kv_heads": 2},
                "125m": {"num_heads": 12, "num_kv_heads": 12},
            },
        ),
        Constraint("only_with", "cross_entropy", "loss", "sft"),
    ),
    isolation="case",
)

TOY = OpSpec(
    name="toy",
    version=1,
    doc="One parameter of each type.",
    params=(
        ParamSpec("rate", "float", 0.5, minimum=0),
        ParamSpec("size", "int", 4, minimum=0),
        ParamSpec("window", "int", 4),
        ParamSpec("exact", "bool", False),
        ParamSpec("note", "str", "x"),
    ),
    phases=("step", "infer"),
    impls=(ImplSpec("one"), ImplSpec("two")),
    constraints=(Constraint("at_most", "window", "size"),),
)

SIMULATED = OpSpec(
    name="simulated",
    version=1,
    doc="Calls whose time and failures the parameters say.",
    params=(
        *(ParamSpec(name, "float", 0.0) for name in (
            "level", "sigma", "process_sigma", "autocorrelation", "outliers", "outlier_size", "drift_per_s",
            "mode_distance", "throttled_after",
        )),
        ParamSpec("ratio", "float", 1.0),
        ParamSpec("failure", "str", "none", choices=("none", "oom")),
        ParamSpec("fails_after", "int", 0, minimum=0),
    ),
    phases=("infer",),
    impls=(ImplSpec("base"), ImplSpec("candidate")),
)  # fmt: skip

CPU = Catalog(DeviceSpec("cpu", "cpu", "a laptop"), (ATTENTION, TOY), {"torch": "2.9.0"})
H100 = replace(CPU, device=DeviceSpec("cuda:0", "sm90", "NVIDIA H100"))
SHIPPED = replace(
    CPU,
    ops=(
        ATTENTION, DECODE, CROSS_ENTROPY, PREFERENCE, REWARD, PPO, OPTIMIZER, SCHEDULE, GEMM, PRECISION, TRAIN_STEP,
        SIMULATED,
    ),
)  # fmt: skip
"""The ops of the suites that are shipped."""
A100 = replace(CPU, device=DeviceSpec("cuda:0", "sm80", "NVIDIA A100"))
