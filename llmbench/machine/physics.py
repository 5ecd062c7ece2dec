"""What no device can do: a time that would need more arithmetic or memory traffic than there is."""

from collections.abc import Mapping

from llmbench.machine.fingerprint import Machine
from llmbench.machine.peaks import limit_bytes_per_s, limit_flop_per_s
from llmbench.suite.catalog import Scalar

IMPOSSIBLE = 1.02  # times the limit of the device at its highest clock
OUT_OF_CACHE = 2  # last-level caches of traffic, from which on all of it comes from memory


def impossible(
    time_s: float, *, flop: float | None, traffic_bytes: float | None, cold: bool, params: Mapping[str, Scalar],
    machine: Machine,
) -> str | None:  # fmt: skip
    """Why a call that must do so much cannot have taken `time_s`; None if it can, or if the device's peaks are unknown.

    Traffic is judged where the cache was cold and cannot have held it; a warm cache has no such limit.
    """
    clock_hz = machine.facts.get("max_sm_clock_hz")
    limit = limit_flop_per_s(
        machine.device_name, str(params.get("dtype")), "tf32" if params.get("matmul") == "tf32" else "ieee",
        max_sm_clock_hz=clock_hz if isinstance(clock_hz, int | float) else None,
    )  # fmt: skip
    if limit is not None and flop is not None and flop / time_s > IMPOSSIBLE * limit:
        return f"{flop / time_s / 1e12:.0f} TFLOP/s is more than the device can do ({limit / 1e12:.0f})"
    memory = limit_bytes_per_s(machine.device_name)
    if memory is None or traffic_bytes is None or not cold or traffic_bytes <= OUT_OF_CACHE * machine.llc_bytes:
        return None
    if not machine.llc_bytes or traffic_bytes / time_s <= IMPOSSIBLE * memory:
        return None
    return f"{traffic_bytes / time_s / 1e9:.0f} GB/s is more than the device's memory can do ({memory / 1e9:.0f})"
