"""From what a paired gate has seen to its exit code, where no process is needed for it."""

from pathlib import Path

import pytest

from llmbench.analyze.stored import Inconclusive
from llmbench.analyze.verdict import Verdict, Word
from llmbench.report.verdict_table import meaning
from llmbench.run.paired.seen import Seen
from llmbench.run.paired.subject import Asked, Side, Sides
from llmbench.run.paired.turns import SIDES
from llmbench.run.paired.verdicts import found_of


def seen(*words: Word, itself: bool, inconclusive: Inconclusive = "fail") -> Seen:
    """A gate that has these verdicts already."""
    here = Path("suite.yaml")
    base, head = (Side(name, "main", None, False, None, "python", here, None, here) for name in SIDES)
    sides = Sides(base, head, here, None, ())
    found = Seen(Asked("suite.yaml", base="main", itself=itself), sides, Path("results"), "suite", inconclusive)
    found.refused = [Verdict(str(i), word.lower(), word, "as made up") for i, word in enumerate(words)]
    return found


@pytest.mark.parametrize("alarm", ["REGRESSED", "IMPROVED", "BROKEN", "FIXED"])
@pytest.mark.parametrize("other", ["PASS", "INCONCLUSIVE", "MISSING"])
def test_nothing_that_is_left_open_hides_a_false_alarm(alarm: Word, other: Word) -> None:
    outcome = found_of(seen(alarm, other, itself=True)).outcome
    assert (outcome.exit_code, meaning(outcome)) == (1, "a false alarm")


@pytest.mark.parametrize("inconclusive", ["fail", "pass"])
def test_an_environment_that_disturbs_comes_before_a_false_alarm(inconclusive: Inconclusive) -> None:
    outcome = found_of(seen("IMPROVED", "INCONCLUSIVE", "ENV_ERROR", itself=True, inconclusive=inconclusive)).outcome
    assert (outcome.exit_code, meaning(outcome).partition(",")[0]) == (3, "another device")


def test_an_improvement_of_other_code_is_no_alarm() -> None:
    outcome = found_of(seen("IMPROVED", "INCONCLUSIVE", itself=False)).outcome
    assert outcome.exit_code != 1 and "alarm" not in meaning(outcome)
    regressed = found_of(seen("REGRESSED", itself=False)).outcome
    assert meaning(regressed) == "regression, or a case broken"
