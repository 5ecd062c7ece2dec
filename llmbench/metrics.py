"""The metrics that a run stores, with their SI units: the same names in suites, columns and reports."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A stored metric: its SI unit and which direction is better."""

    name: str
    unit: str
    better: Literal["lower", "higher", "none"]
    doc: str


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("time", "s", "lower", "one call of the phase, median of the samples"),
        Metric("compile_time", "s", "lower", "first call of a compiled implementation, disk caches included"),
        Metric("peak_memory", "B", "lower", "peak allocated above what was held before the call"),
        Metric("peak_reserved", "B", "lower", "peak of the allocator's reserved memory above the base (CUDA)"),
        Metric("peak_rss", "B", "lower", "peak resident memory of the process above the base (CPU)"),
        Metric("max_error", "1", "lower", "largest absolute error against the oracle, over every output"),
        Metric("rel_error", "1", "lower", "Frobenius norm of the error over that of the oracle, worst output"),
        Metric("energy", "J", "lower", "drawn by the device in a call, idle power included (CUDA)"),
        Metric("launches", "1", "lower", "kernels that one call launches; part: by name (CPU: operators of torch)"),
        Metric("counted_flop", "FLOP", "lower", "products, convolutions and attention of a call, by torch's counter"),
        Metric("graphs", "1", "none", "graphs that torch.compile made of the implementation"),
        Metric("graph_breaks", "1", "lower", "places where torch.compile fell back to Python"),
        Metric("recompiles", "1", "lower", "times that torch.compile compiled anew for the same case"),
        Metric("registers", "1", "lower", "registers of a thread, in the Triton kernel (part) with the most"),
        Metric("spills", "1", "lower", "registers of a thread that spill, in the Triton kernel (part) with the most"),
        Metric("shared_memory", "B", "lower", "shared memory of a block, in the Triton kernel (part) with the most"),
        Metric("ideal_speedup", "1", "none", "least work of the plain shape over the least work of the case"),
        Metric("kv_cache", "B", "none", "keys and values of the whole batch, for one layer"),
        Metric("kv_cache_reduction", "1", "none", "kv cache with as many kv heads as query heads, over the case's"),
        Metric("logits_memory", "B", "none", "logits of all tokens in the dtype of the inputs"),
        Metric("state_memory", "B", "lower", "what an optimizer keeps between steps, step counts included"),
        Metric("moments_per_param", "B", "lower", "moments that an optimizer keeps, bytes for each parameter"),
        Metric("learning_rate", "1", "none", "learning rate after the step, as a share of its peak"),
        Metric("flushed_share", "1", "lower", "gradients that were not 0 and arrive as 0, of all"),
        Metric("overflowed_share", "1", "lower", "gradients above the largest number of the format, of all"),
        Metric("stalled_share", "1", "lower", "weights that an update does not move in the format, of all"),
        Metric("format_largest", "1", "none", "largest number of the format, measured on the device"),
        Metric("format_smallest_normal", "1", "none", "smallest normal number of the format, measured on the device"),
        Metric(
            "format_smallest_subnormal", "1", "none", "smallest number above 0 of the format, measured on the device"
        ),
        Metric("format_epsilon", "1", "none", "step from 1 to the next number of the format, measured on the device"),
        Metric("predicted_peak_memory", "B", "none", "peak memory as predicted without running the case"),
        Metric("activation_memory", "B", "lower", "most that activations and temporaries take before the optimizer"),
        Metric("loss_after", "1", "lower", "loss of the 20th step of training"),
        Metric("skipped_steps", "1", "lower", "updates that loss scaling skipped until the 20th step, for an overflow"),
        Metric("loss_scale_after", "1", "none", "scale of the loss after the 20th step"),
        Metric("parts_over_step", "1", "none", "parts of a step together, over steps in turn with them"),
        Metric("model_params", "1", "none", "parameters of the model"),
        Metric("recomputed_flop", "1", "none", "FLOP with what checkpointing computes again, over FLOP without"),
        Metric("power", "W", "lower", "power drawn while the case was timed, median of the telemetry"),
        Metric("sm_clock", "Hz", "none", "SM clock while the case was timed, median of the telemetry"),
        Metric("memory_clock", "Hz", "none", "memory clock while the case was timed, median of the telemetry"),
        Metric("temperature", "degC", "none", "temperature while the case was timed, highest of the telemetry"),
    )
}

DETERMINISTIC = frozenset(
    {"peak_memory", "launches", "counted_flop", "graph_breaks", "recompiles", "registers", "spills", "shared_memory"}
)
"""Metrics that do not change unless the code does (or torch, or Triton), compared to the last byte, launch and FLOP.

Not `peak_rss` (the kernel's pages), not `peak_reserved` (the allocator's segments depend on what else the process
holds), not the errors (a backward pass with atomic adds differs from call to call).
"""
