"""Rates and shares of peak: what follows from time and cost, and what stays unknown."""

import pytest
from example_runs import H100, make_row

from llmbench.analyze.derive import DERIVED, Rates, derive, multiplies_in, overhead, rate
from llmbench.analyze.stats import Estimate, Ratio
from llmbench.machine.peaks import peak_bytes_per_s, peak_flop_per_s

TIME = Estimate(2e-3, 1e-3, 4e-3, "samples")


def test_a_rate_turns_the_interval_over():
    assert rate(8.0, TIME) == Estimate(4e3, 2e3, 8e3, "samples")


@pytest.mark.parametrize(("amount", "time_s"), [(None, TIME), (0.0, TIME), (1.0, None), (1.0, Estimate(0.0))])
def test_no_cost_or_no_time_is_no_rate(amount, time_s):
    assert rate(amount, time_s) is None


def test_shares_of_peak_are_those_of_the_device():
    rates = derive(make_row(flop=1e12, bytes=4e9, tokens=512.0), time_s=TIME)
    assert rates.flop_peak_fraction == pytest.approx(5e14 / peak_flop_per_s(H100, "bfloat16"))
    assert rates.bytes_peak_fraction == pytest.approx(2e12 / peak_bytes_per_s(H100))
    assert rates.tokens_per_s == Estimate(256e3, 128e3, 512e3, "samples")
    assert rates.intensity == 250.0


def test_what_checkpointing_computes_again_is_in_the_hardware_rate_alone():
    rates = derive(make_row(flop=1e12, tokens=512.0), time_s=TIME, recomputed_flop=1.25)
    assert rates.hardware_flop_per_s == Estimate(6.25e14, 3.125e14, 1.25e15, "samples")
    assert rates.hardware_flop_peak_fraction == pytest.approx(1.25 * rates.flop_peak_fraction)
    assert derive(make_row(flop=1e12), time_s=TIME).hardware_flop_per_s is None


def test_the_energy_of_a_token_is_that_of_the_call_over_its_tokens():
    row = make_row(tokens=512.0)
    assert derive(row, time_s=TIME, energy_j=Estimate(1024.0, 512.0, None)).energy_per_token == Estimate(2.0, 1.0)
    assert derive(row, time_s=TIME).energy_per_token is None


def test_an_overhead_is_what_is_slower_than_the_baseline():
    found = overhead(Ratio(0.8, 0.75, 1.0, paired=True, pairs=8))
    assert found == Estimate(pytest.approx(0.25), pytest.approx(0.0), pytest.approx(1 / 3))


def test_an_unknown_device_has_no_share_of_peak():
    rates = derive(make_row(device_name="NVIDIA H100 look-alike"), time_s=TIME)
    assert (rates.flop_peak_fraction, rates.bytes_peak_fraction) == (None, None)
    assert rates.flop_per_s is not None


def test_a_warm_cache_has_no_share_of_bandwidth():
    assert derive(make_row(cache="warm"), time_s=TIME).bytes_peak_fraction is None


def test_no_time_leaves_the_intensity_alone():
    row = make_row(device_name="a laptop")
    assert derive(row, time_s=None) == Rates(intensity=1e3)


def test_the_least_time_of_bytes_is_that_of_a_measured_copy_else_of_the_datasheet():
    row = make_row(bytes=4e9)
    assert derive(row, time_s=None).floor_time == pytest.approx(4e9 / peak_bytes_per_s(H100))
    assert derive(row, time_s=None, copy_bytes_per_s=2e12).floor_time == pytest.approx(2e-3)
    assert derive(make_row(device_name="a laptop"), time_s=None).floor_time is None


@pytest.mark.parametrize(
    ("params", "dtype"),
    [
        ({"dtype": "float32"}, "float32"),
        ({"dtype": "float32", "autocast": "none"}, "float32"),
        ({"dtype": "float32", "autocast": "bfloat16"}, "bfloat16"),
        ({}, None),
    ],
)
def test_the_peak_is_that_of_the_dtype_that_multiplies(params, dtype):
    assert multiplies_in(make_row(params=params)) == dtype


def test_tf32_has_a_peak_of_its_own():
    shares = [
        derive(make_row(params={"dtype": "float32", "matmul": m}), time_s=TIME).flop_peak_fraction
        for m in ("ieee", "tf32")
    ]
    assert None not in shares
    assert shares[0] > shares[1]


def test_every_derived_metric_says_its_unit():
    assert all(m.unit and m.doc for m in DERIVED.values())
    assert set(Rates.__dataclass_fields__) <= set(DERIVED)
