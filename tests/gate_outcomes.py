"""Outcomes of gates made by hand, of any number of cases: for the tests of what a gate tells to a CI."""

from collections.abc import Sequence

from llmbench.analyze.change import Change
from llmbench.analyze.compare import Side
from llmbench.analyze.stored import Inconclusive, Outcome, exit_code
from llmbench.analyze.verdict import WORST_FIRST, Finding, Verdict, Word

RATIOS: dict[Word, float] = {"REGRESSED": 1.3, "INCONCLUSIVE": 1.04, "IMPROVED": 0.8, "PASS": 1.001, "ENV_ERROR": 1.2}
WORDS: tuple[Word, ...] = ("BROKEN", "REGRESSED", "MISSING", "INCONCLUSIVE", "IMPROVED", "NEW", "NO_RESULT", "PASS")
LONG = "a reason that goes on & on, <as> reasons of compilers do| "  # with what markdown must escape


def side(run_id: str = "run", **changes: object) -> Side:
    """A run of the suite `attention` on a made-up device."""
    given: dict[str, object] = {
        "run_id": run_id, "folder": f"results/{run_id}", "suite": "attention", "host": "box", "device_name": "One",
        "device_key": "one", "torch": "2.13.0", "triton": None, "commit": "aa3d2fa", "dirty": False, "quick": False,
        "complete": True, "started": "2026-05-09T12:33:05Z", "load": None,
    }  # fmt: skip
    return Side(**{**given, **changes})  # type: ignore[arg-type]


def verdict(number: int, word: Word, reason: str = "", **facts: str | int) -> Verdict:
    """A case of that word; with a ratio of its time where such a word rests on one."""
    told = {"impl": f"i{number % 10}", "seq_len": 16 * number, **facts}
    label = f"i{number % 10} fwd seq_len={16 * number}"
    ratio = RATIOS.get(word)
    reason = reason or f"time ratio {ratio}" if ratio else reason or f"{word.lower()} as made up"
    if ratio is None:
        return Verdict(f"{number:016x}", label, word, reason, (), {**told})
    change = Change("time", "s", 1e-3, ratio * 1e-3, 3, 3, ratio, ratio * 0.99, ratio * 1.01, "processes", 0.01, 4.0)
    finding = Finding("time", word, reason, 0.03, 0.05, change)
    return Verdict(f"{number:016x}", label, word, reason, (finding,), {**told})


def outcome(
    words: Sequence[Word], *, reason: str = "", inconclusive: Inconclusive = "fail", warnings: tuple[str, ...] = ()
) -> Outcome:
    """A case a word, worst first, as `gate` sorts them."""
    ordered = sorted(words, key=WORST_FIRST.index)
    verdicts = tuple(verdict(i, word, reason) for i, word in enumerate(ordered))
    code = exit_code({*words}, inconclusive=inconclusive)
    limits = {"time": 0.03, "peak_memory": 0.0}
    return Outcome(code, inconclusive, side("base"), side(), limits, verdicts, warnings)


def many(cases: int, *, reason: str = "", warnings: tuple[str, ...] = ()) -> Outcome:
    """That many cases, an equal number of each word."""
    return outcome([WORDS[i % len(WORDS)] for i in range(cases)], reason=reason, warnings=warnings)
