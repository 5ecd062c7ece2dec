"""Ceilings of a real GPU: plausible against its datasheet, and a flush that makes the cache cold."""

from functools import lru_cache

import pytest
import torch

from llmbench.machine.ceilings import Ceilings, coldness
from llmbench.machine.peaks import PEAKS, limit_bytes_per_s, limit_flop_per_s
from llmbench.machine.probe import probe
from llmbench.run.ceiling_worker import reached

IMPOSSIBLE = 1.02  # times the limit, as in run/worker.py


@lru_cache(maxsize=1)
def found() -> Ceilings:
    return reached("cuda")


def test_it_takes_less_than_half_a_minute_and_every_dtype_is_measured() -> None:
    assert found().wall_s < 30
    assert {"float16", "float32"} <= set(found().flop_per_s), found().notes
    assert found().copy is not None and found().read is not None and found().cache is not None


def test_what_is_reached_is_most_of_the_datasheet_and_no_more_than_possible() -> None:
    name = torch.cuda.get_device_name()
    if name not in PEAKS:
        pytest.skip(f"the datasheet of {name} is not in the table")
    clock_hz = probe("cuda").facts.get("max_sm_clock_hz")
    for dtype, rate in found().flop_per_s.items():
        limit = limit_flop_per_s(name, dtype, max_sm_clock_hz=clock_hz if isinstance(clock_hz, float) else None)
        if limit is not None:
            assert rate.best <= IMPOSSIBLE * limit, dtype
            assert rate.value >= 0.4 * PEAKS[name].flop_per_s[dtype], dtype
    most = limit_bytes_per_s(name)
    assert most is not None
    for traffic in (found().copy, found().read):
        assert traffic is not None and 0.6 * most < traffic.value <= IMPOSSIBLE * most


def test_tf32_is_faster_than_ieee_where_the_device_has_it() -> None:
    rates = found().flop_per_s
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("tf32 came with sm80")
    assert rates["tf32"].value > 1.5 * rates["float32"].value


def test_a_cold_cache_is_cold() -> None:
    verdict, why = coldness(found())
    assert verdict == "verified", why
