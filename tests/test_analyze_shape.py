"""What is told of the shape of a stream: found where it is, of the right size, and not where it is not."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm, t

from llmbench.analyze import shape
from llmbench.analyze.shape import Shape, shape_of

SIGMA = 0.01
RUNS = 500

Reals = npt.NDArray[np.float64]
Stream = Callable[[np.random.Generator, int], Reals]


def noise(dice: np.random.Generator, n: int) -> Reals:
    return SIGMA * dice.standard_normal(n)


def line(n: int) -> Reals:
    """From -1/2 to 1/2."""
    return np.linspace(-0.5, 0.5, n)


def follows(dice: np.random.Generator, n: int, r: float) -> Reals:
    """AR(1) of standard deviation SIGMA."""
    found = [float(dice.standard_normal())]
    for step in dice.standard_normal(n - 1):
        found.append(r * found[-1] + (1 - r * r) ** 0.5 * float(step))
    return SIGMA * np.array(found)


def outliers(dice: np.random.Generator, n: int) -> Reals:
    """5 % of the samples are 3 to 20 sigma too slow."""
    return np.where(dice.random(n) < 0.05, SIGMA * dice.uniform(3, 20, n), noise(dice, n))


def two(dice: np.random.Generator, n: int, share: float = 0.3, apart: float = 0.05) -> Reals:
    return np.where(dice.random(n) < share, apart, 0) + noise(dice, n)


def found(stream: Stream, n: int = 200, runs: int = RUNS, blocks: list[int] | None = None) -> Iterator[Shape]:
    for seed in range(runs):
        yield shape_of((1 + stream(np.random.default_rng(seed), n)).tolist(), blocks)


def rates(shapes: Iterator[Shape]) -> Shape:
    """The share of streams in which each was found."""
    rows = list(shapes)
    return Shape(*(sum(value is not None for value in column) / len(rows) for column in zip(*rows, strict=True)))


@pytest.mark.parametrize(
    ("name", "stream", "size", "within"),
    [
        ("drift", lambda d, n: noise(d, n) + 0.03 * line(n), 0.03, 0.003),
        ("drift", lambda d, n: outliers(d, n) - 0.03 * line(n), -0.03, 0.003),
        ("autocorrelation", lambda d, n: follows(d, n, 0.5), 0.48, 0.03),
        ("modes", lambda d, n: two(d, n), 0.05, 0.003),
        ("modes", lambda d, n: two(d, n, 0.5), 0.05, 0.003),
    ],
)
def test_what_is_there_is_found_and_of_its_size(name, stream, size, within):
    shapes = list(found(stream))
    sizes = [value for s in shapes if (value := getattr(s, name)) is not None]
    assert len(sizes) >= 0.95 * RUNS
    assert np.median(sizes) == pytest.approx(size, abs=within)
    others = [s._replace(**{name: None}) for s in shapes]
    assert sum(other != Shape() for other in others) <= 0.01 * RUNS


@pytest.mark.parametrize("n", [20, 50, 200, 1000])
@pytest.mark.parametrize(
    "stream",
    [
        noise,
        outliers,
        lambda d, n: d.lognormal(0, 0.3, n),
        lambda d, n: d.lognormal(0, 1, n),
        lambda d, n: SIGMA * d.exponential(size=n),
        lambda d, n: SIGMA * d.standard_t(3, n),
        lambda d, n: SIGMA * d.uniform(-2, 2, n),
        lambda d, n: SIGMA * np.round(d.standard_normal(n)),
    ],
    ids=["normal", "outliers", "lognormal", "wide", "exponential", "t", "uniform", "clock"],
)
def test_independent_samples_of_one_thing_have_no_shape(stream, n):
    assert sum(s != Shape() for s in found(stream, n, 1000)) <= 25  # 5 % are allowed


@pytest.mark.parametrize("r", [0.5, 0.8, 0.9])
def test_what_follows_itself_neither_drifts_nor_has_modes(r):
    seen = rates(found(lambda d, n: follows(d, n, r)))
    assert seen.autocorrelation >= 0.99 and seen.drift <= 0.01 and seen.modes <= 0.01


def test_drift_and_correlation_are_told_apart_in_one_stream():
    seen = rates(found(lambda d, n: follows(d, n, 0.5) + 0.05 * line(n)))
    assert seen.drift >= 0.95 and seen.autocorrelation >= 0.95 and seen.modes <= 0.01


def test_modes_are_found_beneath_a_drift():
    shapes = list(found(lambda d, n: two(d, n) + 0.05 * line(n), n=1000, runs=100))
    assert all(s.drift == pytest.approx(0.05, abs=0.02) and s.modes == pytest.approx(0.05, abs=0.01) for s in shapes)


def test_a_step_and_a_warming_up_are_drift_and_no_modes():
    for stream in (lambda d, n: noise(d, n) - 0.05 * (line(n) > 0), lambda d, n: noise(d, n) - 0.08 * np.tanh(line(n))):
        seen = rates(found(stream, runs=200))
        assert seen.drift >= 0.95 and seen.modes <= 0.01
        assert all(s.drift is None or s.drift < 0 for s in found(stream, runs=20))


def test_what_differs_between_blocks_is_correlation_and_no_drift():
    blocks = [i // 32 for i in range(192)]
    seen = rates(found(lambda d, n: noise(d, n) + np.repeat(noise(d, n // 32), 32), 192, blocks=blocks))
    assert seen.autocorrelation >= 0.8 and seen.drift <= 0.01


def test_neighbours_are_those_of_a_block_where_blocks_have_any():
    def pairs(dice: np.random.Generator, n: int) -> Reals:
        return np.repeat(noise(dice, n // 2), 2) + noise(dice, n) / 4

    dice = np.random.default_rng(0)
    samples = (1 + pairs(dice, 400)).tolist()
    twos = shape_of(samples, [i // 2 for i in range(400)]).autocorrelation
    assert twos == pytest.approx(0.94, abs=0.04)
    for blocks in (None, list(range(400)), [0] * 400):
        assert shape_of(samples, blocks).autocorrelation == pytest.approx(0.47, abs=0.06)


def test_samples_that_alternate_mislead_nobody():
    assert rates(found(lambda d, n: follows(d, n, -0.5), runs=100)) == Shape(0, 0, 0)


def test_a_small_drift_is_not_worth_a_word_however_sure():
    samples = (1 + noise(np.random.default_rng(0), 10_000) + 0.005 * line(10_000)).tolist()
    assert shape_of(samples) == Shape()
    assert shape_of(samples, least=0.001).drift == pytest.approx(0.005, abs=0.001)


def test_small_modes_and_a_shallow_valley_are_not_worth_a_word_however_sure():
    dice = np.random.default_rng(0)
    close = (1 + two(dice, 10_000, 0.5, 0.05) / 10).tolist()
    assert shape_of(close) == Shape()
    assert shape_of(close, least=0.001).modes == pytest.approx(0.005, abs=0.0005)
    assert shape_of((1 + two(dice, 10_000, 0.5, 0.08) / 10).tolist()) == Shape()
    assert shape_of((1 + two(dice, 10_000, 0.5, 0.03)).tolist()) == Shape()


def test_a_small_correlation_is_not_worth_a_word_however_sure():
    assert shape_of((1 + follows(np.random.default_rng(0), 10_000, 0.1)).tolist()) == Shape()


def test_what_hardly_spreads_has_no_shape():
    dice = np.random.default_rng(0)
    assert shape_of((1 + follows(dice, 200, 0.8) / 10).tolist()) == Shape()
    assert shape_of([1.0] * 200) == Shape()


def test_a_line_without_noise_drifts_and_nothing_else():
    assert shape_of((1 + 0.04 * line(100)).tolist()) == (pytest.approx(0.04, abs=1e-4), None, None)


def test_steps_of_a_coarse_clock_are_no_modes_but_modes_are():
    dice = np.random.default_rng(0)
    coarse = np.round((1 + 0.004 * dice.standard_normal(400)) / 0.01) * 0.01  # three readings, one per cent apart
    assert len(set(coarse)) <= 5 and shape_of(coarse.tolist()) == Shape()
    slow = np.round((1 + two(dice, 400, 0.3, 0.06)) / 0.01) * 0.01
    assert shape_of(slow.tolist()).modes == pytest.approx(0.06, abs=0.005)
    hazy = coarse * np.where(dice.random(400) < 0.5, 1, 1 + 1e-9)
    assert shape_of(hazy.tolist()) == Shape()
    assert shape_of([1.0, 1.1] * 10 + [1.1, 1.0] * 10) == Shape(), "two readings: the clock may know no others"


def test_nothing_is_claimed_of_few_samples_or_of_no_times():
    assert shape_of((1 + line(19)).tolist()) == Shape()
    assert shape_of((1 + line(20)).tolist()).drift == pytest.approx(1, abs=0.05)
    assert shape_of([]) == Shape()
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        assert shape_of([*(1 + line(100)).tolist(), bad]) == Shape()


def test_blocks_that_do_not_fit_are_left_out_of_account():
    samples = (1 + 0.04 * line(100)).tolist()
    assert shape_of(samples, [1, 2, 3]) == shape_of(samples)


def test_the_limits_are_those_of_the_tables():
    assert {k: round(float(t.ppf(0.9995, k)), 3) for k in shape.T} == shape.T
    assert round(float(norm.ppf(0.999)), 3) == shape.Z
    assert set(shape.T) == {k - 2 for k in range(shape.STRETCHES[0], shape.STRETCHES[1] + 1)}
