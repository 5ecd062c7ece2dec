"""Hand-made ceilings for the tests of doctor and of the roofline."""

from typing import Any

from llmbench.machine.ceilings import CacheCheck, Ceilings, Rate

EPYC = "AMD EPYC, 2 cores"


def rate(value: float, *, spread: float = 0.01, size: str = "256 MiB") -> Rate:
    """A rate whose quartiles are `spread` away and whose best sample is twice as far."""
    return Rate(value, value * (1 - spread), value * (1 + spread), value * (1 + 2 * spread), 12, size)


def check(*, warm: float = 80e9, flushed: float = 20e9, rotated: float | None = 18e9) -> CacheCheck:
    """A cache check of a CPU, whose memory streams 22 GB/s; cold as it should be unless told."""
    return CacheCheck(
        rate(warm), rate(flushed), None if rotated is None else rate(rotated), rate(22e9), llc_bytes=32 << 20
    )


def ceilings(**changes: Any) -> Ceilings:
    """Ceilings of a quiet CPU with two cores."""
    given: dict[str, Any] = {
        "device": "cpu", "device_name": EPYC, "device_key": "0123456789ab", "host": "vm", "threads": 2,
        "measured": "2026-11-24T09:25:40Z", "torch": "2.13.0", "flop_per_s": {"float32": rate(90e9)},
        "copy": rate(15e9), "read": rate(22e9), "cache": check(), "wall_s": 8.0,
    }  # fmt: skip
    return Ceilings(**{**given, **changes})
