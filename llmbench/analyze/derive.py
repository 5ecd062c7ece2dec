"""Metrics that follow from time, cost and the device's peaks: computed on read, never stored."""

from dataclasses import dataclass

from llmbench.analyze.stats import Estimate, Ratio
from llmbench.machine.peaks import peak_bytes_per_s, peak_flop_per_s
from llmbench.metrics import Metric
from llmbench.store.query import Row

DERIVED: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("flop_per_s", "FLOP/s", "higher", "FLOP of the call over its time"),
        Metric("bytes_per_s", "B/s", "higher", "least traffic of the call (each input and output once) over its time"),
        Metric("tokens_per_s", "1/s", "higher", "tokens of the call over its time"),
        Metric(
            "flop_peak_fraction", "1", "higher", "FLOP/s over the dense datasheet peak of the dtype that multiplies"
        ),
        Metric("hardware_flop_per_s", "FLOP/s", "higher", "FLOP/s with what checkpointing computes again"),
        Metric(
            "hardware_flop_peak_fraction", "1", "higher", "the same over the peak: HFU, where flop_peak_fraction is MFU"
        ),
        Metric("energy_per_token", "J", "lower", "energy of the call over its tokens, idle power included (CUDA)"),
        Metric("bytes_peak_fraction", "1", "higher", "B/s over the datasheet bandwidth; only with a cold cache"),
        Metric(
            "floor_time",
            "s",
            "none",
            "least traffic of the call at the rate of a large copy: measured, else the datasheet's",
        ),
        Metric("intensity", "FLOP/B", "none", "arithmetic intensity: FLOP over bytes of the call"),
        Metric("overhead", "1", "lower", "time of the case over that of the baseline of the point, less 1"),
        Metric("speedup", "1", "higher", "time of the baseline of the point over that of the case, paired by blocks"),
    )
}


@dataclass(frozen=True)
class Rates:
    """What a case achieves, each None where its cost, its time or the device's peak is unknown. SI units."""

    flop_per_s: Estimate | None = None
    bytes_per_s: Estimate | None = None
    tokens_per_s: Estimate | None = None
    flop_peak_fraction: float | None = None
    bytes_peak_fraction: float | None = None
    intensity: float | None = None
    floor_time: float | None = None
    hardware_flop_per_s: Estimate | None = None
    hardware_flop_peak_fraction: float | None = None
    energy_per_token: Estimate | None = None


def derive(
    row: Row, *, time_s: Estimate | None, copy_bytes_per_s: float | None = None, recomputed_flop: float | None = None,
    energy_j: Estimate | None = None,
) -> Rates:  # fmt: skip
    """The rates of the case that `row` is about (any row of it), given its time and the energy of a call.

    `copy_bytes_per_s` is what a large copy was measured to move on its device, reads and writes together;
    `recomputed_flop` the FLOP with what is computed again, over the FLOP that are asked.
    """
    bandwidth = peak_bytes_per_s(row.device_name)
    moved = copy_bytes_per_s or bandwidth
    flop_per_s, bytes_per_s = rate(row.flop, time_s), rate(row.bytes, time_s)
    hardware = rate(row.flop * recomputed_flop, time_s) if row.flop and recomputed_flop else None
    return Rates(
        flop_per_s=flop_per_s,
        bytes_per_s=bytes_per_s,
        tokens_per_s=rate(row.tokens, time_s),
        flop_peak_fraction=_fraction(flop_per_s, _peak_flop_per_s(row)),
        # a warm cache serves part of the traffic: the memory's bandwidth is no ceiling then
        bytes_peak_fraction=_fraction(bytes_per_s, bandwidth) if row.cache == "cold" else None,
        intensity=row.flop / row.bytes if row.flop and row.bytes else None,
        floor_time=row.bytes / moved if row.bytes and moved else None,
        hardware_flop_per_s=hardware,
        hardware_flop_peak_fraction=_fraction(hardware, _peak_flop_per_s(row)),
        energy_per_token=_over(energy_j, row.tokens),
    )


def overhead(speedup: Ratio) -> Estimate:
    """What the case takes more than its baseline, as a share of the baseline's time: 0.33 is a third more."""
    low, high = (None if end is None else 1 / end - 1 for end in (speedup.high, speedup.low))
    return Estimate(1 / speedup.value - 1, low, high)


def rate(amount: float | None, time_s: Estimate | None) -> Estimate | None:
    """`amount` a second; the interval of the time turned over: its lower bound gives the upper one."""
    if not amount or time_s is None or time_s.value <= 0:
        return None
    if not time_s.low or not time_s.high:
        return Estimate(amount / time_s.value)
    return Estimate(amount / time_s.value, amount / time_s.high, amount / time_s.low, time_s.basis)


def _over(amount: Estimate | None, count: float | None) -> Estimate | None:
    """The amount for each of so many."""
    if amount is None or not count:
        return None
    low, high = (None if end is None else end / count for end in (amount.low, amount.high))
    return Estimate(amount.value / count, low, high, amount.basis)


def multiplies_in(row: Row) -> str | None:
    """The dtype that matrix products run in: what autocast casts to, else the storage dtype; None if it has neither."""
    autocast, dtype = row.params.get("autocast", "none"), row.params.get("dtype")
    chosen = dtype if autocast == "none" else autocast
    return None if chosen is None else str(chosen)


def _peak_flop_per_s(row: Row) -> float | None:
    dtype = multiplies_in(row)
    if dtype is None:
        return None
    return peak_flop_per_s(row.device_name, dtype, "tf32" if row.params.get("matmul") == "tf32" else "ieee")


def _fraction(achieved: Estimate | None, peak: float | None) -> float | None:
    return achieved.value / peak if achieved is not None and peak else None
