"""The order of blocks and their size: balanced, drawn anew, the same for the same seed."""

from collections import Counter
from itertools import groupby
from random import Random

import pytest

from llmbench.run.paired.turns import (
    BLOCK_S,
    DROPPED,
    KEPT,
    LEAST_KEPT,
    QUADS,
    SAMPLE_S,
    Size,
    order_apart,
    order_of,
    size_of,
    starts,
)

KEYS = [f"case {i}" for i in range(6)]
QUAD_ORDERS = {("base", "head", "head", "base"), ("head", "base", "base", "head")}


def test_each_quad_of_a_case_is_abba_or_baab_without_another_case_between() -> None:
    turns = order_of(KEYS, Random(1)).turns
    quads = [list(run) for _, run in groupby(turns, lambda turn: (turn.quad, turn.key))]
    assert len(quads) == QUADS * len(KEYS)
    assert {tuple(turn.side for turn in quad) for quad in quads} == QUAD_ORDERS


def test_both_sides_have_as_many_blocks_of_each_case() -> None:
    counts = Counter((turn.key, turn.side) for turn in order_of(KEYS, Random(2)).turns)
    assert set(counts.values()) == {2 * QUADS} and len(counts) == 2 * len(KEYS)


def test_cases_are_reshuffled_every_quad_and_quads_come_one_after_the_other() -> None:
    turns = order_of(KEYS, Random(3)).turns
    assert [turn.quad for turn in turns] == sorted(turn.quad for turn in turns)
    orders = [tuple(dict.fromkeys(t.key for t in turns if t.quad == quad)) for quad in range(QUADS)]
    assert len(set(orders)) == QUADS and all(sorted(order) == KEYS for order in orders)


def test_the_order_is_drawn_from_the_seed_and_from_nothing_else() -> None:
    assert order_of(KEYS, Random(4)) == order_of(KEYS, Random(4)) != order_of(KEYS, Random(5))


def test_which_side_begins_is_left_to_chance() -> None:
    dice = Random(6)
    orders = [order_of(KEYS[:1], dice) for _ in range(400)]
    for told in (Counter(o.first for o in orders), Counter(o.turns[0].side for o in orders)):
        assert 160 < told["base"] < 240


def test_each_side_begins_two_of_four_pairs_and_not_always_the_same_ones() -> None:
    orders = set()
    for seed in range(40):
        firsts = starts(Random(seed))
        fours = [tuple(next(firsts) for _ in range(4)) for _ in range(6)]
        assert set(fours) <= QUAD_ORDERS
        orders.add(tuple(fours))
    assert len(orders) > 20
    assert order_of(KEYS, Random(1), first="head").first == "head" != order_of(KEYS, Random(1), first="base").first
    assert order_apart(KEYS, Random(1), first="head").turns[0].side == "head"


def test_sides_that_are_never_up_together_are_four_processes_with_half_of_the_blocks_each() -> None:
    for seed in range(10):
        order = order_apart(KEYS, Random(seed))
        processes = [list(run) for _, run in groupby(order.turns, lambda turn: turn.quad)]
        assert tuple(run[0].side for run in processes) in QUAD_ORDERS and order.first == processes[0][0].side
        for run in processes:
            assert {turn.side for turn in run} == {run[0].side}
            cases = [list(own) for _, own in groupby(run, lambda turn: turn.key)]
            assert len(cases) == len(KEYS) and {len(own) for own in cases} == {QUADS}


@pytest.mark.parametrize(
    ("call_s", "most_calls", "size"),
    [
        (1e-3, 1024, Size(1, KEPT, DROPPED)),
        (1e-5, 1024, Size(50, KEPT, DROPPED)),
        (1e-5, 8, Size(8, KEPT, DROPPED)),  # no more than there are cold inputs
        (1e-9, 1024, Size(1024, KEPT, DROPPED)),
        (0.0, 1024, Size(1024, KEPT, DROPPED)),
        (4e-3, 1024, Size(1, 12, 3)),
        (1.0, 1024, Size(1, LEAST_KEPT, 1)),
    ],
)
def test_a_block_is_as_long_as_its_samples_need(call_s: float, most_calls: int, size: Size) -> None:
    assert size_of(call_s, most_calls=most_calls) == size


def test_samples_last_half_a_millisecond_and_blocks_are_no_longer_than_they_must() -> None:
    for call_s in (3e-6, 7e-5, 4e-4, 2e-3, 6e-3):
        size = size_of(call_s)
        assert size.calls * call_s >= SAMPLE_S * 0.999
        assert size.kept * size.calls * call_s <= BLOCK_S or size.kept == LEAST_KEPT
        assert size.samples == size.kept + size.dropped


def test_what_waits_for_a_flush_has_fewer_samples() -> None:
    assert size_of(1e-3, before_s=0.1, most_calls=1) == Size(1, LEAST_KEPT, 1)
    assert size_of(1e-3, before_s=0.1, most_calls=64) == Size(1, 19, 4)
    assert size_of(1e-4, before_s=0.1, most_calls=64).calls == size_of(1e-4).calls == 5
