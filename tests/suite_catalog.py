"""A catalog by hand, so that suites are tested without torch."""

from dataclasses import replace

from llmbench.suite.catalog import Catalog, Constraint, DeviceSpec, ImplSpec, OpSpec, ParamSpec, Phase

PHASES: tuple[Phase, ...] = ("infer", "fwd", "bwd", "fwd_bwd")
IMPLS = (
    "naive", "naive_compiled", "tiled", "sdpa_math", "sdpa_flash", "sdpa_efficient", "sdpa_cudnn", "flex", "flash_attn",
    "flash_attn4",
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
        ParamSpec("mask", "str", "full", choices=("full", "causal")),
        ParamSpec("dtype", "str", "float32", choices=("float32", "float16", "bfloat16")),
    ),
    phases=PHASES,
    impls=tuple(ImplSpec(name, phases=PHASES) for name in IMPLS),
    constraints=(Constraint("multiple_of", "num_heads", "num_kv_heads"),),
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
SHIPPED = replace(CPU, ops=(ATTENTION, SIMULATED))
"""The ops of the suites that are shipped."""
A100 = replace(CPU, device=DeviceSpec("cuda:0", "sm80", "NVIDIA A100"))
