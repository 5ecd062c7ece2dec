"""The paired gate's statistics against known numbers, and its procedure against suites made for one situation each."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from llmbench.analyze import pair_stats
from llmbench.analyze.pair_evidence import WORDS
from llmbench.analyze.pair_stats import Moments, components, holm, moderated, moments, pairs_for, plain
from llmbench.analyze.paired import Decision, Judged, PairedRule, judge_pairs
from llmbench.codec import to_plain

Floats = NDArray[np.float64]
MARGIN = math.log1p(0.005)


class Pairs:
    """A `take` of normal D: effects and sigmas of each case, a budget of requests, and a note of what was asked."""

    def __init__(
        self, effects: Sequence[float], sigma: float | Sequence[float] = 0.01, *, shared: float = 0.0,
        columns: Sequence[int] = (), seed: int = 0,
    ) -> None:  # fmt: skip
        self.effects, self.shared, self.columns = np.log1p(np.asarray(effects, dtype=np.float64)), shared, list(columns)
        self.sigma = np.broadcast_to(np.asarray(sigma, np.float64), len(effects))
        self.rng = np.random.default_rng(seed)
        self.asked: list[tuple[tuple[str, ...], int]] = []
        self.given: list[dict[str, Floats]] = []

    def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
        self.asked.append((tuple(cases), pairs))
        if self.columns:
            pairs = min(pairs, self.columns.pop(0))
        rows = [int(case[1:]) for case in cases]
        own = self.rng.standard_normal((len(rows), pairs)) * self.sigma[rows][:, None]
        d_CP = self.effects[rows][:, None] + own + self.shared * self.rng.standard_normal(pairs)
        self.given.append(dict(zip(cases, d_CP, strict=True)))
        return np.asarray(d_CP)


def judged(take: Pairs, limit: float = 0.03, **rule: float) -> Judged:
    return judge_pairs({f"c{i}": limit for i in range(len(take.effects))}, take, rule=PairedRule(**rule))  # type: ignore[arg-type]


def only(found: Judged) -> Decision:
    (decision,) = found.decisions.values()
    return decision


# what the numbers should be


@pytest.mark.parametrize(
    ("sigma", "wanted"), [(0.005, (10, 7, 5)), (0.01, (21, 11, 7)), (0.02, (65, 28, 13))]
)  # fmt: skip
def test_the_pairs_for_99_percent_power_are_those_of_the_design(sigma: float, wanted: tuple[int, ...]) -> None:
    found = pairs_for(np.log1p([0.02, 0.03, 0.05]), np.array(sigma), margin=MARGIN, level=0.01 / 25, power=0.99)
    assert tuple(found.astype(int)) == wanted


def test_no_number_of_pairs_tells_an_effect_from_a_margin_that_it_does_not_pass() -> None:
    assert np.isnan(pairs_for(np.array([0.004, 0.005]), np.array(0.01), margin=0.005, level=0.01, power=0.99)).all()


def test_a_t_test_is_that_of_scipy() -> None:
    d_CP = np.random.default_rng(1).normal(0.01, 0.02, (30, 9))
    m = moments(d_CP)
    above = stats.ttest_1samp(d_CP, MARGIN, axis=1, alternative="greater").pvalue
    below = stats.ttest_1samp(d_CP, -MARGIN, axis=1, alternative="less").pvalue
    assert np.allclose(pair_stats.p_above(m, plain(m), MARGIN), above)
    assert np.allclose(pair_stats.p_below(m, plain(m), -MARGIN), below)
    interval = stats.ttest_1samp(d_CP, 0, axis=1).confidence_interval(0.95)
    assert np.allclose(m.mean + pair_stats.half_width(m, plain(m), 0.025), interval.high)


def test_moments_leave_out_what_is_missing() -> None:
    m = moments(np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan], [2.0, np.nan, np.nan]]))
    assert m.n.tolist() == [2, 0, 1] and m.mean[[0, 2]].tolist() == [2.0, 2.0] and m.variance[0] == 2.0
    assert np.isnan(m.mean[1]) and np.isnan(m.variance[1:]).all()


def test_holm_steps_down() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005]), 0.05).tolist() == [True, False, False, True]
    assert holm(np.array([0.01, 0.04, 0.03, 0.005]), 0.05, 6).tolist() == [True, False, False, True]
    assert holm(np.array([0.01, 0.04, 0.03, 0.005]), 0.05, 11).tolist() == [False] * 4
    assert holm(np.array([]), 0.05).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_rejects_all_that_bonferroni_does_and_never_a_larger_p_before_a_smaller(p: list[float]) -> None:
    values = np.array(p)
    rejected = holm(values, 0.05)
    assert (rejected | (values > 0.05 / len(p))).all()
    if rejected.any() and not rejected.all():
        assert values[rejected].max() <= values[~rejected].min()


def test_equal_variances_are_pooled_and_one_case_keeps_its_own() -> None:
    rng = np.random.default_rng(4)
    m = Moments(np.full(2000, 8), np.zeros(2000), 1e-4 * rng.chisquare(7, 2000) / 7)
    spread = moderated(m)
    assert np.ptp(spread.variance) < 0.1e-4 < np.ptp(m.variance) / 10 and spread.df.min() > 100
    alone = m.of(np.array([0]))
    assert moderated(alone).variance[0] == alone.variance[0] and moderated(alone).df[0] == 7


def test_a_case_without_any_variance_does_not_hide_what_the_others_have() -> None:
    d_CP = np.random.default_rng(5).normal(0, 0.01, (50, 8))
    d_CP[7] = 0.0
    spread = moderated(moments(d_CP))
    assert np.isfinite(spread.variance).all() and 0 < spread.variance[7] < np.median(spread.variance)


def test_the_detectable_effect_is_detected_in_four_of_five_cases() -> None:
    n = np.array([8, 24, 48])
    sigma = np.full(3, 0.01)
    found = pair_stats.detectable(sigma, n, n - 1.0, above=0.005, level=0.001, power=0.8)
    power = pair_stats.power_of(found, sigma, n, margin=0.005, level=0.001)
    assert np.allclose(power, 0.8, atol=0.06)


def test_what_pairs_share_is_told_from_what_is_a_cases_own() -> None:
    rng = np.random.default_rng(6)
    found = [components(rng.normal(0, 0.006, 8) + rng.normal(0, 0.01, (60, 8))) for _ in range(300)]
    inside = [c.shared_low <= 0.006 <= c.shared_high for c in found if c]
    assert np.mean(inside) > 0.9 and np.median([c.shared for c in found if c]) == pytest.approx(0.006, rel=0.1)
    assert np.median([c.own for c in found if c]) == pytest.approx(np.hypot(0.01, 0.006), rel=0.05)
    assert components(np.zeros((1, 8))) is None and components(np.zeros((5, 1))) is None


# what is said of a case


def test_each_case_gets_the_word_that_its_effect_deserves() -> None:
    found = judged(Pairs([0.0, 0.06, -0.06, 0.015]))
    assert found.words == ("PASS", "REGRESSED", "IMPROVED", "PASS") and found.red
    regressed = found.decisions["c1"]
    assert regressed.look == "confirm" and regressed.pairs.screen == 8 and regressed.pairs.confirm == 24
    assert regressed.low is not None and regressed.high is not None and regressed.low < 1.06 < regressed.high
    assert "slower by more than 0.5 % (p = " in regressed.reason and "and reaches the limit 1.03" in regressed.reason
    assert "Holm at 0.005 over 3 cases" in regressed.reason or "Holm at 0.005 over 2 cases" in regressed.reason
    passed = found.decisions["c0"]
    assert passed.upper is not None and passed.upper < 1.03 and f"upper limit {passed.upper:.4g} below" in passed.reason


def test_a_change_that_is_certain_but_within_the_limit_passes_and_says_so() -> None:
    found = only(judged(Pairs([0.015], 0.003)))
    assert found.word == "PASS" and found.reason.endswith("; slower by more than 0.5 %, but within the limit")


def test_a_change_at_the_limit_is_neither_regressed_nor_passed() -> None:
    found = only(judged(Pairs([0.0295], 0.01, seed=2)))
    assert (
        found.word == "INCONCLUSIVE"
        and found.pairs.extension == 24
        and "the estimate does not reach it" in found.reason
    )


@given(st.integers(0, 10_000), st.floats(-0.08, 0.08), st.floats(0.002, 0.05), st.floats(0.0, 0.05))
@settings(max_examples=150, deadline=None)
def test_words_keep_their_promise_whatever_the_data(seed: int, effect: float, sigma: float, limit: float) -> None:
    found = judged(Pairs([effect, 0.0, 0.0], sigma, seed=seed), limit)
    for d in found.decisions.values():
        if d.word == "REGRESSED":
            assert d.ratio is not None and d.ratio >= 1 + limit and d.pairs.confirm + d.pairs.spare >= 7
        if d.word == "PASS":
            assert d.upper is not None and d.upper < 1 + max(limit, 0.005)
    json.dumps(to_plain(dict(found.decisions)), allow_nan=False)


@given(st.integers(0, 10_000), st.floats(-0.06, 0.06))
@settings(max_examples=60, deadline=None)
def test_base_and_head_exchanged_exchanges_regressed_and_improved(seed: int, effect: float) -> None:
    class Turned(Pairs):
        def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
            return -super().__call__(cases, pairs)

    effects = [effect, 0.0, 0.04]
    one = judged(Pairs(effects, 0.01, seed=seed), spare_pairs=0, extend_pairs=0)
    other = judged(Turned(effects, 0.01, seed=seed), spare_pairs=0, extend_pairs=0)
    for before, after in zip(one.words, other.words, strict=True):
        assert (before == "REGRESSED") == (after == "IMPROVED") and (before == "IMPROVED") == (after == "REGRESSED")


def test_a_limit_below_the_margin_is_read_as_the_margin() -> None:
    found = only(judged(Pairs([0.0], 0.002), 0.0))
    assert found.word == "PASS" and found.limit == 0.0 and "below the limit 1.005" in found.reason


@pytest.mark.parametrize(("effect", "word"), [(0.0, "PASS"), (0.05, "REGRESSED"), (-0.05, "IMPROVED")])
@pytest.mark.parametrize("cases", [1, 4])
def test_cases_without_any_variance_are_judged_by_what_they_show(effect: float, word: str, cases: int) -> None:
    found = judged(Pairs([effect] * cases, 0.0), systemic_least=100)
    assert set(found.words) == {word}
    first = found.decisions["c0"]
    assert first.ratio == pytest.approx(1 + effect) and first.low == pytest.approx(first.high)


# what is missing


def test_a_case_whose_pairs_all_failed_is_inconclusive_and_its_neighbours_are_judged() -> None:
    class Failing(Pairs):
        def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
            d_CP = super().__call__(cases, pairs)
            for row, case in enumerate(cases):
                if case == "c1":
                    d_CP[row] = np.nan
                if case == "c2":
                    d_CP[row, ::3] = np.inf
            return d_CP

    found = judged(Failing([0.0, 0.0, 0.06, 0.0]))
    assert found.words == ("PASS", "INCONCLUSIVE", "REGRESSED", "PASS")
    assert found.decisions["c1"].reason == "no pair gave a value" and found.decisions["c1"].look is None
    assert found.decisions["c2"].pairs.screen == 5 and found.decisions["c2"].pairs.confirm == 16


def test_a_suite_whose_pairs_all_failed_is_inconclusive() -> None:
    found = judge_pairs({"a": 0.03, "b": 0.03}, lambda cases, pairs: np.full((len(cases), pairs), np.nan))
    assert found.words == ("INCONCLUSIVE", "INCONCLUSIVE") and not found.red and found.components is None
    assert {d.reason for d in found.decisions.values()} == {"no pair gave a value"}


@pytest.mark.parametrize("pairs", [0, 1, 4])
def test_too_few_pairs_decide_nothing(pairs: int) -> None:
    found = judged(Pairs([0.3, 0.0, 0.0], columns=[pairs, 0, 0, 0]))
    assert set(found.words) == {"INCONCLUSIVE"}
    wanted = "no pair: the budget was spent" if pairs == 0 else f"over {pairs} pairs: a verdict needs at least 5"
    assert all(wanted in d.reason for d in found.decisions.values())


def test_a_flagged_case_that_the_budget_did_not_confirm_is_inconclusive() -> None:
    found = judged(Pairs([0.3, 0.0, 0.0], columns=[8, 6, 0]))
    assert found.words == ("INCONCLUSIVE", "PASS", "PASS") and not found.red
    reason = found.decisions["c0"].reason
    assert "flagged as slower (p = " in reason and "but 6 of 24 fresh pairs came to confirm it" in reason


class Budgeted(Pairs):
    """A `take` that ends after so many pairs of one case."""

    budget = 0.0

    def room(self, cases: Sequence[str]) -> float:
        return self.budget / len(cases)

    def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
        pairs = min(pairs, int(self.room(cases)))
        self.budget -= pairs * len(cases)
        return super().__call__(cases, pairs)


def judged_within(budget: float, effects: Sequence[float], **more: Any) -> tuple[Judged, Budgeted]:
    take = Budgeted(effects, **more)
    take.budget = budget
    return judge_pairs({f"c{i}": 0.03 for i in range(len(effects))}, take, room=take.room), take


def test_where_the_budget_confirms_not_all_that_is_flagged_it_confirms_the_surest() -> None:
    effects = [0.0, 0.06, -0.2, 0.3, 0.0, 0.12, 0.0, 0.0]
    found, take = judged_within(8 * 8 + 20, effects)
    assert take.asked[1][0] == ("c3", "c5"), "2 x 7 pairs fit, 3 x 7 do not, and slower goes before faster"
    assert found.words[3] == found.words[5] == "REGRESSED" and found.evidence.short == ("confirm",)
    assert found.words[1] == "INCONCLUSIVE" and found.words[2] == "PASS", "faster by 20 % is not slower, at least"
    assert "but 0 of 24 fresh pairs came to confirm it: give more minutes" in found.decisions["c1"].reason
    found, take = judged_within(8 * 8 + 4 * 7, effects)
    assert found.words[1] == found.words[3] == found.words[5] == "REGRESSED" and found.words[2] == "IMPROVED"


def test_a_budget_that_confirms_nothing_tries_the_surest_case() -> None:
    found, take = judged_within(8 * 3 + 2, [0.0, 0.3, 0.1])
    assert take.asked[1][0] == ("c1",) and found.words == ("PASS", "INCONCLUSIVE", "INCONCLUSIVE")


def test_a_tight_budget_makes_no_unchanged_suite_red() -> None:
    reds = sum(judged_within(8 * 20 + 9, [0.0] * 20, sigma=0.02, seed=i)[0].red for i in range(400))
    assert reds <= 4


def test_what_is_open_is_suspect_where_its_interval_lies_beyond_its_limit() -> None:
    found = judged(Pairs([0.3, 0.0, 0.032], columns=[8, 6, 0]))
    assert found.words == ("INCONCLUSIVE", "PASS", "INCONCLUSIVE")
    assert [d.is_suspect for d in found.decisions.values()] == [True, False, False]
    assert not any(d.is_suspect for d in judged(Pairs([0.3, 0.0, -0.3])).decisions.values()), "what is decided"


def test_fewer_fresh_pairs_than_asked_still_decide_and_are_not_extended() -> None:
    take = Pairs([0.3, 0.0, 0.0], columns=[8, 9])
    found = judged(take)
    assert found.words[0] == "REGRESSED" and found.decisions["c0"].pairs.confirm == 9 and len(take.asked) == 2


def test_a_suite_without_cases_is_judged_without_asking_for_pairs() -> None:
    take = Pairs([])
    found = judged(take)
    assert found.words == () and found.decisions == {} and not take.asked


def test_five_thousand_cases_are_judged_and_told() -> None:
    effects = np.zeros(5000)
    effects[:3] = 0.1
    found = judged(Pairs(list(effects), 0.01))
    assert [d.case for d in found.decisions.values() if d.word == "REGRESSED"] == ["c0", "c1", "c2"]
    assert found.words.count("PASS") >= 4990


@pytest.mark.parametrize(
    "answer", [np.zeros(3), np.zeros((2, 8)), np.zeros((3, 9))], ids=["one axis", "a case too few", "a pair too many"]
)
def test_an_answer_of_another_shape_is_refused(answer: Floats) -> None:
    with pytest.raises(ValueError, match="screen: asked for 3 cases x 8 pairs, got an array of"):
        judge_pairs(dict.fromkeys("abc", 0.03), lambda cases, pairs: answer)


def test_limits_and_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"c0: limit -0.1; wanted: a fraction"):
        judged(Pairs([0.0]), -0.1)
    with pytest.raises(ValueError, match=r"PairedRule.margin is 2; wanted"):
        PairedRule(margin=2.0)
    with pytest.raises(ValueError, match=r"add up to 1.4; wanted: no more than 1"):
        PairedRule(confirm_level_share=0.9)


# the looks


def test_only_flagged_cases_are_measured_again_and_extended_once() -> None:
    class Close(Pairs):
        def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
            d_CP = super().__call__(cases, pairs)
            d_CP[[case == "c20" for case in cases]] = math.log1p(0.0285) + 0.012 * (-1.0) ** np.arange(pairs)
            return d_CP

    take = Close([0.0] * 21, 0.005)
    found = judged(take)
    assert found.words[-1] == "INCONCLUSIVE"
    assert [(len(cases), pairs) for cases, pairs in take.asked[:1]] == [(21, 8)]
    assert take.asked[1:] == [(("c20",), 24), (("c20",), 24)]


def test_what_the_screen_saw_is_no_part_of_the_confirmation() -> None:
    class Unlucky(Pairs):
        def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
            return super().__call__(cases, pairs) + (0.1 if len(self.asked) == 1 else 0.0) * np.array(
                [[case == "c0"] for case in cases]
            )

    found = judged(Unlucky([0.0] * 10))
    assert found.decisions["c0"].word == "PASS" and found.decisions["c0"].look == "confirm"
    assert found.decisions["c0"].ratio == pytest.approx(1.0, abs=0.01)


def test_left_over_budget_goes_where_least_is_certain_first() -> None:
    sigmas = [0.005] * 10 + [0.03] * 5 + [0.06] * 5
    take = Pairs([0.0] * 20, sigmas, seed=4)
    found = judged(take)
    spent = [asked for asked in take.asked[1:] if asked[1] == 8]
    noisy = [found.decisions[f"c{i}"] for i in range(10, 20)]
    assert set(spent[0][0]) == {d.case for d in noisy if d.pairs.spare}, "each open case gets a round"
    assert set(spent[1][0]) <= {f"c{i}" for i in range(15, 20)} and {len(cases) for cases, _ in spent} > {1}
    assert all(d.pairs.spare <= 96 for d in noisy) and all(
        d.pairs.spare == 0 for d in list(found.decisions.values())[:10]
    )
    assert sum(d.word == "PASS" for d in noisy) >= 7 and "REGRESSED" not in found.words
    more = [d.pairs.spare for d in noisy]
    assert np.mean(more[5:]) > np.mean(more[:5]) > 0


def test_each_case_is_judged_by_its_own_limit() -> None:
    limits = {**{f"c{i}": 0.03 for i in range(8)}, "c8": 0.1, "c9": 0.03}
    found = judge_pairs(limits, Pairs([0.0] * 8 + [0.05, 0.05], 0.005, seed=3))
    loose, strict = (found.decisions[key] for key in ("c8", "c9"))
    assert (loose.word, loose.limit) == ("PASS", 0.1) and (strict.word, strict.limit) == ("REGRESSED", 0.03)
    assert "below the limit 1.1; slower by more than 0.5 %, but within the limit" in loose.reason
    assert "reaches the limit 1.03" in strict.reason


def test_the_pairs_that_are_needed_and_the_effect_that_is_seen_are_those_of_each_limit() -> None:
    limits = {**{f"c{i}": 0.03 for i in range(8)}, "c8": 0.2}
    found = judge_pairs(limits, Pairs([0.0] * 9, 0.03, seed=3), rule=PairedRule(spare_pairs=0)).decisions
    loose, strict = found["c8"], found["c0"]
    assert loose.pairs_needed and strict.pairs_needed and loose.pairs_needed * 4 < strict.pairs_needed
    assert loose.detectable and strict.detectable and loose.detectable > 0.2 > strict.detectable


def test_left_over_budget_goes_to_the_case_that_is_the_furthest_from_its_own_limit() -> None:
    """Not to the noisiest one, which is asked for ten times the change."""
    limits = {**{f"c{i}": 0.5 for i in range(8)}, "c8": 0.01, "c9": 0.1}
    take = Pairs([0.0] * 10, [0.005] * 8 + [0.02, 0.1], seed=0)
    judge_pairs(limits, take)
    spent = [cases for cases, _ in take.asked[1:]]
    assert spent[:2] == [("c8", "c9"), ("c8",)]


def test_no_case_is_left_open_without_fresh_pairs() -> None:
    for seed in range(20):
        found = judged(Pairs([0.0] * 12, 0.024, seed=seed))
        still = [d for d in found.decisions.values() if d.word == "INCONCLUSIVE"]
        assert all(d.pairs.spare >= 8 or d.pairs.confirm >= 24 for d in still) and len(still) <= 1


def test_what_left_over_budget_is_spent_on_does_not_depend_on_the_effect() -> None:
    class Later(Pairs):
        later = 0.0

        def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
            return super().__call__(cases, pairs) + (self.later if len(self.asked) > 1 else 0.0)

    sigmas = [0.02, 0.03, 0.04, 0.05, 0.06, 0.08]
    takes = [Later([0.0] * 6, sigmas, seed=8) for _ in range(3)]
    words = []
    for take, take.later in zip(takes, (0.0, 0.02, -0.3), strict=True):
        words.append(judged(take, spare_pairs=384).words)
    assert takes[0].asked == takes[1].asked == takes[2].asked and len(takes[0].asked) > 6
    assert len({*words}) == 3


def test_left_over_budget_finds_what_the_screen_was_too_coarse_for() -> None:
    missed = 0
    for seed in range(40):
        found = judged(Pairs([0.0] * 9 + [0.12], [0.005] * 9 + [0.10], seed=seed), screen_level=0.001)
        missed += found.words[-1] not in ("REGRESSED", "INCONCLUSIVE")
    assert missed <= 1
    assert any(
        judged(Pairs([0.0] * 9 + [0.12], [0.005] * 9 + [0.10], seed=s), screen_level=0.001).decisions["c9"].look
        == "spare"
        for s in range(5)
    )


def test_a_spent_budget_ends_the_spending() -> None:
    take = Pairs([0.0] * 6, 0.08, columns=[8, 8, 3], seed=5)
    found = judged(take)
    assert len(take.asked) <= 4 and "spare" in found.evidence.short


@pytest.mark.parametrize(
    ("take", "looks"),
    [
        (Pairs([0.0, 0.06, 0.029, 0.0], [0.01, 0.01, 0.01, 0.05], seed=2), {"screen", "confirm", "extension", "spare"}),
        (Pairs([0.0, 0.06, 0.06], columns=[8, 9]), {"screen", "confirm"}),
        (Pairs([0.3, 0.0, 0.0], columns=[8, 6, 0]), {"screen"}),
        (Pairs([0.05] * 40 + [0.12] * 3), {"screen", "confirm"}),
        (Pairs([0.012] * 40 + [0.06] * 3, 0.006), {"screen", "confirm"}),  # a shift within the limit, with a panel
    ],
)
def test_a_decision_names_the_questions_whose_pairs_its_numbers_are_of(take: Pairs, looks: set[str]) -> None:
    found = judged(take).decisions
    assert {d.look for d in found.values()} == looks
    for case, d in found.items():
        values = np.concatenate([take.given[number - 1][case] for number in d.questions])
        assert d.ratio == pytest.approx(math.exp(values.mean()), rel=1e-12)
        counts = {"screen": d.pairs.screen, "confirm": d.pairs.confirm, "spare": d.pairs.spare}
        assert len(values) == counts.get(str(d.look), d.pairs.confirm + d.pairs.extension)


# the suite as a whole


def test_a_suite_that_is_slower_as_a_whole_is_one_finding() -> None:
    found = judged(Pairs([0.05] * 100, 0.01))
    assert found.systemic is not None and found.systemic.confirmed and found.systemic.slower and found.red
    assert found.systemic.ratio == pytest.approx(1.05, abs=0.003) and found.systemic.flagged == 100
    assert "REGRESSED" not in found.words and set(found.words) == {"INCONCLUSIVE"}
    assert "as the suite is, and does not stand out of it" in found.decisions["c7"].reason
    assert "look at what all cases share" in found.systemic.reason


def test_a_suite_that_is_slower_within_its_limit_is_told_and_its_cases_are_judged_one_by_one() -> None:
    found = judged(Pairs([0.01] * 20 + [0.15], 0.003), 0.1)
    assert found.systemic is not None and found.systemic.confirmed and not found.systemic.found
    assert "all of it is slower, but does not reach the limit 1.1, so cases are judged" in found.systemic.reason
    assert found.words == ("PASS",) * 20 + ("REGRESSED",) and found.decisions["c20"].beyond_suite is None
    assert not judged(Pairs([0.01] * 21, 0.003), 0.1).red and judged(Pairs([0.11] * 21, 0.003), 0.1).red


def test_the_limit_of_a_suite_is_the_median_of_those_of_its_cases() -> None:
    keys = [f"c{i}" for i in range(15)]
    for small, found in ((8, True), (7, False)):
        limits = {key: 0.005 if i < small else 0.5 for i, key in enumerate(keys)}
        systemic = judge_pairs(limits, Pairs([0.05] * 15, 0.003)).systemic
        assert systemic is not None and systemic.confirmed and systemic.found == found
        assert systemic.limit == pytest.approx(0.005 if found else 0.5)


def test_a_suite_that_is_faster_within_its_limit_is_told_too() -> None:
    found = judged(Pairs([-0.02] * 20, 0.003))
    assert found.systemic is not None and found.systemic.confirmed and not found.systemic.found
    assert "all of it is faster, but does not reach the limit 0.9709" in found.systemic.reason
    assert judged(Pairs([-0.04] * 20, 0.003)).systemic.found  # type: ignore[union-attr]


def test_cases_that_stand_out_of_a_slower_suite_are_still_found() -> None:
    take = Pairs([0.05] * 97 + [0.12] * 3, 0.01)
    found = judged(take)
    assert [c for c, w in zip(found.cases, found.words, strict=True) if w == "REGRESSED"] == ["c97", "c98", "c99"]
    assert found.systemic is not None and found.systemic.confirmed
    assert found.decisions["c97"].beyond_suite == pytest.approx(1.12 / 1.05, abs=0.01)
    assert len(take.asked[1][0]) < 40, "the suite was measured again, not a panel of it"


def test_a_case_that_gets_slower_in_a_faster_suite_is_found_and_one_that_merely_gains_less_is_not() -> None:
    found = judged(Pairs([-0.1] * 48 + [0.06, -0.04], 0.005))
    assert found.systemic is not None and found.systemic.confirmed and not found.systemic.slower
    assert found.words[48] == "REGRESSED" and found.words[49] != "REGRESSED"


def test_many_slower_cases_are_no_slower_suite() -> None:
    found = judged(Pairs([0.1] * 20 + [0.0] * 80, 0.01))
    assert found.systemic is None and found.words.count("REGRESSED") == 20 and found.words[20:].count("PASS") == 80


def test_a_shift_that_fresh_pairs_do_not_show_blames_nobody() -> None:
    class Once(Pairs):
        def __call__(self, cases: Sequence[str], pairs: int) -> Floats:
            return super().__call__(cases, pairs) + (0.04 if len(self.asked) == 1 else 0.0)

    found = judged(Once([0.0] * 50))
    assert found.systemic is not None and not found.systemic.confirmed and not found.red
    assert "not confirmed, so cases are judged one by one" in found.systemic.reason and set(found.words) == {"PASS"}


def test_a_systemic_finding_ends_the_spending() -> None:
    take = Pairs([0.05] * 90 + [0.0] * 10, [0.005] * 90 + [0.15] * 10, seed=1)
    found = judged(take)
    assert found.systemic is not None and found.systemic.confirmed and found.words[90:].count("INCONCLUSIVE") >= 8
    assert {pairs for _, pairs in take.asked} <= {8, 24} and sum(pairs == 8 for _, pairs in take.asked) == 1


def test_a_suspected_shift_without_budget_is_said_and_blames_nobody() -> None:
    found = judged(Pairs([0.05] * 50, columns=[8, 0]))
    assert found.systemic is not None and not found.systemic.confirmed and not found.red
    assert "0 fresh pairs are fewer than 7" in found.systemic.reason


def test_a_small_suite_has_no_whole_to_speak_of() -> None:
    found = judged(Pairs([0.05] * 3))
    assert found.systemic is None and set(found.words) == {"REGRESSED"}


def test_noise_that_all_cases_of_a_pair_share_is_not_taken_for_a_change() -> None:
    reds = [judged(Pairs([0.0] * 60, 0.005, shared=0.01, seed=seed)).red for seed in range(150)]
    assert sum(reds) <= 2


def test_every_word_has_its_place() -> None:
    assert WORDS == ("REGRESSED", "IMPROVED", "PASS", "INCONCLUSIVE")
