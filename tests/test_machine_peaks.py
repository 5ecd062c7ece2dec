import pytest

from llmbench.machine.peaks import PEAKS, limit_bytes_per_s, limit_flop_per_s, peak_bytes_per_s, peak_flop_per_s


@pytest.mark.parametrize(
    ("name", "dtype", "matmul", "tflop_per_s"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", "ieee", 989),
        ("NVIDIA H100 80GB HBM3", "float32", "tf32", 494),
        ("NVIDIA H100 80GB HBM3", "float32", "ieee", 67),
        ("NVIDIA H100 80GB HBM3", "bfloat16", "tf32", 989),  # tf32 is about float32
        ("NVIDIA H100 PCIe", "bfloat16", "ieee", 756),
        ("NVIDIA H200", "float16", "ieee", 989),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", "ieee", 312),
        ("NVIDIA A100-SXM4-40GB", "float32", "tf32", 156),
        ("NVIDIA A100 80GB PCIe", "float32", "ieee", 19.5),
        ("NVIDIA B200", "bfloat16", "ieee", 2250),
        ("NVIDIA L40S", "bfloat16", "ieee", 362),
        ("NVIDIA L4", "bfloat16", "ieee", 121),
        ("NVIDIA GeForce RTX 4090", "float16", "ieee", 165.2),
        ("Tesla T4", "float16", "ieee", 65),
    ],
)
def test_a_known_device_has_its_dense_peak(name: str, dtype: str, matmul: str, tflop_per_s: float) -> None:
    assert peak_flop_per_s(name, dtype, matmul) == pytest.approx(tflop_per_s * 1e12)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "gbyte_per_s"),
    [
        ("NVIDIA H100 80GB HBM3", 3350),
        ("NVIDIA H200", 4800),
        ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA A100-SXM4-40GB", 1555),
        ("NVIDIA B200", 8000),
        ("NVIDIA L40S", 864),
        ("NVIDIA L4", 300),
        ("NVIDIA GeForce RTX 4090", 1008),
        ("Tesla T4", 320),
    ],
)
def test_a_known_device_has_its_bandwidth(name: str, gbyte_per_s: float) -> None:
    assert peak_bytes_per_s(name) == pytest.approx(gbyte_per_s * 1e9)


@pytest.mark.parametrize("name", ["NVIDIA H100", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "AMD EPYC, 2 cores", ""])
def test_an_unknown_device_has_no_peak(name: str) -> None:
    assert peak_flop_per_s(name, "bfloat16") is None
    assert peak_bytes_per_s(name) is None
    assert limit_flop_per_s(name, "bfloat16", max_sm_clock_hz=2e9) is None


def test_a_unit_that_the_device_lacks_has_no_peak() -> None:
    assert peak_flop_per_s("Tesla T4", "bfloat16") is None
    assert peak_flop_per_s("Tesla T4", "float32", "tf32") is None
    assert peak_flop_per_s("NVIDIA A100-SXM4-80GB", "float8_e4m3fn") is None


def test_the_limit_follows_the_clock_up_and_not_down() -> None:
    h100 = "NVIDIA H100 80GB HBM3"
    assert limit_flop_per_s(h100, "bfloat16", max_sm_clock_hz=1980e6) == pytest.approx(989e12 * 1980 / 1830)
    assert limit_flop_per_s(h100, "bfloat16", max_sm_clock_hz=1410e6) == 989e12
    assert limit_flop_per_s(h100, "bfloat16") == 989e12


def test_the_limit_of_the_memory_is_the_datasheets_and_unknown_stays_unknown() -> None:
    assert limit_bytes_per_s("NVIDIA H100 80GB HBM3") == 3350e9
    assert limit_bytes_per_s("AMD EPYC, 2 cores") is None


SM_AND_FLOP_A_CYCLE = {
    "NVIDIA H100 80GB HBM3": (132, 4096),
    "NVIDIA H100 PCIe": (114, 4096),
    "NVIDIA H100 NVL": (132, 4096),
    "NVIDIA H200": (132, 4096),
    "NVIDIA B200": (148, 8192),
    "NVIDIA A100-SXM4-80GB": (108, 2048),
    "NVIDIA A100-SXM4-40GB": (108, 2048),
    "NVIDIA A100 80GB PCIe": (108, 2048),
    "NVIDIA A100-PCIE-40GB": (108, 2048),
    "NVIDIA L40S": (142, 1024),
    "NVIDIA L40": (142, 512),
    "NVIDIA L4": (58, 1024),
    "NVIDIA GeForce RTX 4090": (128, 512),
    "NVIDIA GeForce RTX 3090": (82, 512),
    "NVIDIA RTX A6000": (84, 1024),
    "NVIDIA A10": (72, 1024),
    "Tesla V100-SXM2-16GB": (80, 1024),
    "Tesla V100-SXM2-32GB": (80, 1024),
    "Tesla T4": (40, 1024),
}
"""Source: the architecture whitepapers; FLOP of a 16-bit tensor product, dense, FP32 accumulation."""


def test_every_peak_is_the_product_of_its_units_and_its_clock() -> None:
    assert set(SM_AND_FLOP_A_CYCLE) == set(PEAKS)
    for name, row in PEAKS.items():
        sm, flop = SM_AND_FLOP_A_CYCLE[name]
        assert row.flop_per_s["float16"] == pytest.approx(sm * flop * row.tensor_clock_hz, rel=0.006), name


def test_every_row_is_named_by_its_source_and_sound() -> None:
    for name, row in PEAKS.items():
        rates = row.flop_per_s
        assert row.name == name
        assert row.source.startswith("NVIDIA") and ("datasheet" in row.source or "architecture" in row.source)
        assert 1e11 < row.bytes_per_s < 1e13
        assert rates["float32"] <= rates.get("tf32", rates["float32"]) < rates["float16"]


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PEAKS["NVIDIA H100 80GB HBM3"].flop_per_s["bfloat16"] = 1.0  # type: ignore[index]
