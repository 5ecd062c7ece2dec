"""Numbers for people: units, significant digits, edges."""

import pytest

from llmbench.report.scale import (
    BYTE_RATES,
    FLOP_RATES,
    bytes_text,
    digits,
    percent_text,
    scale_of,
    scaled,
    spread_text,
    time_text,
)


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (1.2345e-3, "1.234 ms"),
        (981.24e-6, "981.2 µs"),
        (999.96e-6, "1.000 ms"),
        (999.94e-6, "999.9 µs"),
        (12.0, "12.00 s"),
        (12345.0, "12345 s"),
        (0.5e-9, "0.5000 ns"),
        (1e-9, "1.000 ns"),
        (0.0, "0 ns"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_times(time_s, text):
    assert time_text(time_s) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (13 << 20, "13.0 MiB"), (5 << 40, "5.00 TiB"), (None, "–")],
)
def test_bytes(size_bytes, text):
    assert bytes_text(size_bytes) == text


def test_flop_rates_take_the_prefix_of_their_size():
    assert scaled(412.34e12, scale_of(412.34e12, FLOP_RATES), 3) == "412 TFLOP/s"
    assert scaled(41.2e9, scale_of(41.2e9, FLOP_RATES), 3) == "41.2 GFLOP/s"


def test_byte_rates_stay_in_gigabytes():
    assert scaled(3.35e12, scale_of(3.35e12, BYTE_RATES)) == "3350 GB/s"
    assert scaled(2.5e7, scale_of(2.5e7, BYTE_RATES)) == "0.02500 GB/s"


@pytest.mark.parametrize(
    ("fraction", "decimals", "text"),
    [
        (0.1234, 0, "12%"),
        (0.1234, 1, "12.3%"),
        (0.00001, 2, "<0.01%"),
        (0.0004, 0, "<1%"),
        (0.0, 2, "0.00%"),
        (None, 0, "–"),
    ],
)
def test_percent(fraction, decimals, text):
    assert percent_text(fraction, decimals) == text


def test_digits_go_to_an_exponent_only_far_out():
    assert [digits(v, 3) for v in (1.005e-6, 1e-7, 1e15, 123456.0, -2.5)] == [
        "0.00000100", "1.00e-07", "1.00e+15", "123456", "-2.50",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.99, 1.02, "±1.50%"),
        (0.9, 1.0998, "±9.99%"),
        (0.95, 1.4, "-5/+40%"),
        (1.0, 1.2, "-0/+20%"),
        (0.2, 13.0, "-80/+1200%"),
    ],
)
def test_a_wide_spread_has_two_sides(low, high, text):
    assert spread_text(1.0, low, high) == text
