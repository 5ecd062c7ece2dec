"""What a case is said to be that fails now and then: other pairs decide, and no verdict is lost to a single process."""

from collections import Counter

import pytest
from example_runs import make_suite

from llmbench.analyze.pair_evidence import PairedWord
from llmbench.analyze.paired import Decision
from llmbench.analyze.verdict import Verdict
from llmbench.run.paired.outcome import paired_limits, verdict_on
from llmbench.run.paired.pair import Loss
from llmbench.run.paired.tier import Tier
from llmbench.run.paired.turns import SIDES
from llmbench.store.pairs import PairBlock
from llmbench.store.record import Record, SideName, Status
from llmbench.suite.case import Case

CASE = Case("c", "p", "simulated", 1, "mine", "infer", {}, "warm", "simulated")
PAIRS = 12
LIMITS = paired_limits(make_suite()).of({})


def judged(word: PairedWord, failed: dict[SideName, int], *, tier: dict[SideName, Status] | None = None) -> Verdict:
    """The verdict where pairs said `word`, and each side failed in so many of twelve others' places."""
    status: dict[SideName, Status] = {"base": "ok", "head": "ok", **(tier or {})}
    exact = Tier(
        {(side, "c"): [Record("c", n, status[side], why="so") for n in (0, 1)] for side in SIDES}, rounds=Counter(c=2)
    )
    lost: list[Loss] = []
    number = 2
    for side, n in failed.items():
        for _ in range(n):
            lost.append(Loss("c", side, "no kernel", Record("c", number, "error", why="no kernel")))
            number += 1
    blocks = [
        PairBlock(1, n, 0, 0, side, n, "c", alone=True, counts=True, dropped=1, calls=1, faults=0, switches=0,
                  cpu_s=0.1, time_s=[9.0, 1.0], t_ns=[1, 1], flags=["", ""])
        for n in range(number, PAIRS + 2) for side in SIDES
    ]  # fmt: skip
    decision = Decision("c", word, "ratio 1.5", 0.03, "confirm", 1.5, 1.4, 1.6)
    return verdict_on(CASE, exact, lost, decision, blocks, LIMITS)


def test_a_failure_of_the_base_does_not_erase_a_regression() -> None:
    verdict = judged("REGRESSED", {"base": 1})
    assert verdict.word == "REGRESSED"
    assert verdict.reason.endswith("failed in 1 of 12 processes of the base (no kernel): these pairs have no value")
    assert judged("REGRESSED", {"base": 1, "head": 1}).word == judged("REGRESSED", {"head": 1}).word == "REGRESSED"


def test_a_base_that_fails_now_and_then_leaves_the_decision_of_the_other_pairs() -> None:
    verdict = judged("PASS", {"base": 3})
    assert verdict.word == "PASS" and "failed in 3 of 12 processes of the base" in verdict.reason


def test_a_head_that_fails_in_two_processes_is_broken_where_the_base_never_does() -> None:
    words: tuple[PairedWord, ...] = ("PASS", "REGRESSED", "IMPROVED")
    for word in words:
        verdict = judged(word, {"head": 3})
        assert verdict.word == "BROKEN"
        assert verdict.reason == "failed in 3 of 12 processes of the head, in none of the base: no kernel"


@pytest.mark.parametrize("failed", [{"head": 1}, {"head": 3, "base": 1}, {"head": 1, "base": 3}])
@pytest.mark.parametrize("word", ["PASS", "IMPROVED", "INCONCLUSIVE"])
def test_a_head_that_fails_like_the_base_or_once_is_no_pass(failed: dict[SideName, int], word: PairedWord) -> None:
    verdict = judged(word, failed)
    assert verdict.word == "INCONCLUSIVE" and "processes of the head (no kernel)" in verdict.reason
    assert f"in the other pairs {word}: time ratio 1.5" in verdict.reason


@pytest.mark.parametrize(
    ("tier", "word"),
    [({"head": "error"}, "BROKEN"), ({"base": "error"}, "FIXED"), ({"base": "oom", "head": "error"}, "NO_RESULT")],
)
def test_the_exact_tier_alone_says_what_is_broken_fixed_or_without_a_result(
    tier: dict[SideName, Status], word: str
) -> None:
    assert judged("PASS", {}, tier=tier).word == word


def test_what_the_budget_did_not_reach_is_open_and_what_failed_until_then_is_told() -> None:
    verdict = verdict_on(CASE, Tier(), [], None, [], LIMITS)
    assert (verdict.word, verdict.reason) == ("INCONCLUSIVE", "the budget was spent before it was examined")
    once = Tier({(side, "c"): [Record("c", 0, "ok")] for side in SIDES}, rounds=Counter(c=1))
    verdict = verdict_on(CASE, once, [], None, [], LIMITS)
    assert (verdict.word, verdict.reason) == ("INCONCLUSIVE", "the budget was spent before it was examined twice")
    once.records["head", "c"] = [Record("c", 0, "error", why="no kernel")]
    assert verdict_on(CASE, once, [], None, [], LIMITS).word == "BROKEN" and not once.plans([CASE])
