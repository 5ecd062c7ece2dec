"""What a device can do at most: the dense peaks of its datasheet, for devices that are known by their exact name.

A device that is not in the table has no peak, and so no MFU: there is no default. Never add one from a look-alike: a
PCIe card, an NVL card and a MIG slice are other devices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Matmul = Literal["ieee", "tf32"]


@dataclass(frozen=True)
class Peaks:
    """The datasheet of one device, without sparsity; FP32 accumulation where the two differ."""

    name: str  # as torch.cuda.get_device_name and NVML write it
    source: str
    bytes_per_s: float
    flop_per_s: Mapping[str, float]  # torch's name of a dtype, or tf32
    tensor_clock_hz: float  # at which the 16-bit peak is stated: peak / (SMs x FLOP a cycle and SM)


def ceiling_name(dtype: str, matmul: Matmul = "ieee") -> str:
    """What a ceiling of FLOP/s goes by: `tf32` for float32 that tensor cores multiply so, else torch's dtype."""
    return "tf32" if (dtype, matmul) == ("float32", "tf32") else dtype


def peak_flop_per_s(device_name: str, dtype: str, matmul: Matmul = "ieee") -> float | None:
    """Dense peak in FLOP/s for matrix products of that dtype; None if it is not known.

    `matmul` matters for float32 alone: tf32 counts as the tensor cores do.
    """
    row = PEAKS.get(device_name)
    return None if row is None else row.flop_per_s.get(ceiling_name(dtype, matmul))


def peak_bytes_per_s(device_name: str) -> float | None:
    """Peak of the device's memory in B/s; None if it is not known."""
    row = PEAKS.get(device_name)
    return None if row is None else row.bytes_per_s


def limit_flop_per_s(
    device_name: str, dtype: str, matmul: Matmul = "ieee", *, max_sm_clock_hz: float | None = None
) -> float | None:
    """FLOP/s that the device cannot pass: the peak, scaled up to its maximum clock where that is above the datasheet's.

    An H100 is stated at 1830 MHz and may run at 1980.
    """
    peak = peak_flop_per_s(device_name, dtype, matmul)
    if peak is None or max_sm_clock_hz is None:
        return peak
    return peak * max(1.0, max_sm_clock_hz / PEAKS[device_name].tensor_clock_hz)


def limit_bytes_per_s(device_name: str) -> float | None:
    """B/s that the device's memory cannot pass: the datasheet's, which is stated at the highest memory clock.

    It bounds what misses the last-level cache, and nothing else. None if it is not known.
    """
    return peak_bytes_per_s(device_name)


def _row(
    name: str,
    source: str,
    *,
    gbytes_per_s: float,
    clock_mhz: float,
    fp16: float,
    bf16: float | None = None,
    tf32: float | None = None,
    fp32: float,
    fp64: float | None = None,
    fp8: float | None = None,
    int8: float | None = None,
) -> Peaks:
    """A row as datasheets print it: TFLOP/s, GB/s, MHz."""
    tflop_per_s = {
        "float16": fp16,
        "bfloat16": bf16,
        "tf32": tf32,
        "float32": fp32,
        "float64": fp64,
        "float8_e4m3fn": fp8,
        "float8_e5m2": fp8,
        "int8": int8,
    }
    known = {dtype: rate * 1e12 for dtype, rate in tflop_per_s.items() if rate is not None}
    return Peaks(name, source, gbytes_per_s * 1e9, MappingProxyType(known), clock_mhz * 1e6)


_A100 = {"clock_mhz": 1410, "fp16": 312, "bf16": 312, "tf32": 156, "fp32": 19.5, "fp64": 19.5, "int8": 624}
_H100 = {"clock_mhz": 1830, "fp16": 989, "bf16": 989, "tf32": 494, "fp32": 67, "fp64": 67, "fp8": 1979, "int8": 1979}
_V100 = {"clock_mhz": 1530, "fp16": 125, "fp32": 15.7, "fp64": 7.8, "gbytes_per_s": 900}
_A100_SHEET, _H100_SHEET = "NVIDIA A100 Tensor Core GPU datasheet", "NVIDIA H100 Tensor Core GPU datasheet"
_V100_SHEET, _ADA = "NVIDIA V100 datasheet", "NVIDIA Ada GPU architecture whitepaper, appendix A"
_GA102 = "NVIDIA Ampere GA102 GPU architecture whitepaper, appendix A"

_ROWS = (
    _row("NVIDIA H100 80GB HBM3", _H100_SHEET, gbytes_per_s=3350, **_H100),
    _row(
        "NVIDIA H100 PCIe", _H100_SHEET, gbytes_per_s=2000, clock_mhz=1620,
        fp16=756, bf16=756, tf32=378, fp32=51, fp64=51, fp8=1513, int8=1513,
    ),
    _row(
        "NVIDIA H100 NVL", _H100_SHEET, gbytes_per_s=3900, clock_mhz=1545,
        fp16=835, bf16=835, tf32=417, fp32=60, fp64=60, fp8=1670, int8=1670,
    ),
    _row("NVIDIA H200", "NVIDIA H200 Tensor Core GPU datasheet", gbytes_per_s=4800, **_H100),
    _row(
        "NVIDIA B200", "NVIDIA Blackwell architecture technical brief, HGX B200; tf32 is half of bf16",
        gbytes_per_s=8000, clock_mhz=1856, fp16=2250, bf16=2250, tf32=1125, fp32=80, fp64=40, fp8=4500, int8=4500,
    ),
    _row("NVIDIA A100-SXM4-80GB", _A100_SHEET, gbytes_per_s=2039, **_A100),
    _row("NVIDIA A100-SXM4-40GB", _A100_SHEET, gbytes_per_s=1555, **_A100),
    _row("NVIDIA A100 80GB PCIe", _A100_SHEET, gbytes_per_s=1935, **_A100),
    _row("NVIDIA A100-PCIE-40GB", _A100_SHEET, gbytes_per_s=1555, **_A100),
    _row(
        "NVIDIA L40S", "NVIDIA L40S GPU datasheet", gbytes_per_s=864, clock_mhz=2490,
        fp16=362, bf16=362, tf32=183, fp32=91.6, fp8=733, int8=733,
    ),
    _row(
        "NVIDIA L40", "NVIDIA L40 GPU datasheet", gbytes_per_s=864, clock_mhz=2490,
        fp16=181, bf16=181, tf32=90.5, fp32=90.5, fp8=362, int8=362,
    ),
    _row(
        "NVIDIA L4", "NVIDIA L4 Tensor Core GPU datasheet", gbytes_per_s=300, clock_mhz=2040,
        fp16=121, bf16=121, tf32=60, fp32=30.3, fp8=242, int8=242,
    ),
    _row(
        "NVIDIA GeForce RTX 4090", _ADA, gbytes_per_s=1008, clock_mhz=2520,
        fp16=165.2, bf16=165.2, tf32=82.6, fp32=82.6, fp8=330.3, int8=660.6,
    ),
    _row(
        "NVIDIA GeForce RTX 3090", _GA102, gbytes_per_s=936, clock_mhz=1695,
        fp16=71, bf16=71, tf32=35.6, fp32=35.6, int8=284,
    ),
    _row(
        "NVIDIA RTX A6000", _GA102, gbytes_per_s=768, clock_mhz=1800,
        fp16=154.8, bf16=154.8, tf32=77.4, fp32=38.7, int8=309.7,
    ),
    _row(
        "NVIDIA A10", "NVIDIA A10 Tensor Core GPU datasheet", gbytes_per_s=600, clock_mhz=1695,
        fp16=125, bf16=125, tf32=62.5, fp32=31.2, int8=250,
    ),
    _row("Tesla V100-SXM2-16GB", _V100_SHEET, **_V100),
    _row("Tesla V100-SXM2-32GB", _V100_SHEET, **_V100),
    _row(
        "Tesla T4", "NVIDIA T4 Tensor Core GPU datasheet", gbytes_per_s=320, clock_mhz=1590,
        fp16=65, fp32=8.1, int8=130,
    ),
)  # fmt: skip

PEAKS: Mapping[str, Peaks] = MappingProxyType({row.name: row for row in _ROWS})
"""Device name -> datasheet."""
