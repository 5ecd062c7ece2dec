"""The gate by its situations: what differs between base and head, then verdict, exit code and words of the reason.

This is the specification of the gate. `test_gate_situations.py` carries out every row through the command line, and
`python tests/gate_situations.py` writes the table for readers, `docs/gate-situations.md`.
"""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from paired_repository import OWN, OWN_SUITE, SIMULATED, SIMULATED_SUITE, plugin, suite_of
from situation import PAIRED, Beside, Commits, Kernel, Situation
from stored_situations import HISTORIES, STORED

PAGE = Path(__file__).parent.parent / "docs" / "gate-situations.md"
SELF_TEST = "gate self-test suite.yaml"
REVISED = f"{PAIRED} --head feature"


SAME = "SimulatedKernel(p)"
MORE_MEMORY = "SimulatedKernel(p, more_bytes=2**20)"
SLOWER = "SimulatedKernel(p, times=1.1)"
FAILS = "fails(RuntimeError('no kernel today'))"
OUT = "fails(torch.OutOfMemoryError('out of memory: 80 GiB'))"
LATE = "candidate(replace(p, failure='oom', fails_after=60))"
HOT = "SimulatedKernel(replace(p, throttled_after=1e-6))"
DRIFTS = "SimulatedKernel(replace(p, drift_per_s=0.05))"
UNSTEADY = "SimulatedKernel(p, more_bytes=2**20 + 512 * choice(range(8)))"
NOISY = "SimulatedKernel(replace(p, level=1.0, process_sigma=0.3))"
BIMODAL = "SimulatedKernel(p, times=choice([1, 1, 1.02]))"


KERNELS: dict[str, Situation] = {
    "same": Situation("Nothing changed", Kernel(SAME, SAME), "PASS", 0, "below the limit 1.03"),
    "faster": Situation(
        "10 % faster", Kernel(SAME, "SimulatedKernel(p, times=0.9)"), "IMPROVED", 0, "faster by more than 0.5 %",
    ),
    "within": Situation(
        "2 % slower, where the suite allows 3 %", Kernel(SAME, "SimulatedKernel(p, times=1.02)"), "PASS", 0,
        "slower by more than 0.5 %, but within the limit",
    ),
    "leaner": Situation("Needs less memory", Kernel(MORE_MEMORY, SAME), "IMPROVED", 0, "-1048320 B"),
    "fixed": Situation(
        "Failed, and does no more", Kernel(FAILS, SAME), "FIXED", 0,
        "ok in the run, in the baseline error: RuntimeError: no kernel today",
    ),
    "relieved": Situation(
        "Ran out of memory, and does no more", Kernel(OUT, SAME), "FIXED", 0,
        "ok in the run, in the baseline oom: OutOfMemoryError: out of memory: 80 GiB",
    ),
    "fails_always": Situation("Fails on both sides", Kernel(FAILS, FAILS), "NO_RESULT", 0, "in the baseline error too"),
    "out_always": Situation(
        "Runs out of memory on both sides", Kernel(OUT, OUT), "NO_RESULT", 0, "in the baseline oom too",
    ),
    "out_later": Situation(
        "Runs out of memory after some calls, on both sides", Kernel(LATE, LATE), "NO_RESULT", 0,
        "simulated: out of memory): in the baseline too",
    ),
    "fresh": Situation(
        "A case is new", Kernel(None, SAME), "NEW", 0,
        "ok in the run, in the baseline unavailable: op 'simulated' has no implementation",
    ),
    "drifting": Situation(
        "The device becomes slower while both sides are measured", Kernel(DRIFTS, DRIFTS), "PASS", 0,
        "below the limit 1.03",
    ),
    "hot": Situation("The device is throttled on both sides", Kernel(HOT, HOT), "PASS", 0, "below the limit 1.03"),
    "bimodal": Situation(
        "One process in three is 2 % slower, on both sides", Kernel(BIMODAL, BIMODAL), "PASS", 0,
        "below the limit 1.03",
    ),
    "unsteady": Situation(
        "Memory differs between processes of the same code", Kernel(UNSTEADY, UNSTEADY), "PASS", 0,
        "peak_memory differs between processes of one side in 1 case: judged like a time there, not exactly",
    ),
    "noisy": Situation(
        "Slower by the limit, but processes of one side differ by more",
        Kernel(NOISY, "SimulatedKernel(replace(p, level=1.0, process_sigma=0.3), times=1.03)"), "INCONCLUSIVE", 5,
        "minimum detectable effect",
    ),
    "gone": Situation(
        "A case is gone", Kernel(SAME, None), "MISSING", 4, "in the suite of main, not in that of the head",
    ),
    "slower": Situation("10 % slower", Kernel(SAME, SLOWER), "REGRESSED", 1, "slower by more than 0.5 %"),
    "fatter": Situation(
        "Needs a MiB more", Kernel(SAME, MORE_MEMORY), "REGRESSED", 1,
        "peak_memory 1048576 B against 256 B in the baseline: +1048320 B",
    ),
    "launching": Situation(
        "Launches a kernel more", Kernel(SAME, "lambda x: SimulatedKernel(p)(x.neg()).neg()"), "REGRESSED", 1,
        "launches 3 against 1",
    ),
    "failing": Situation(
        "Fails", Kernel(SAME, FAILS), "BROKEN", 1, "ok in the baseline, error: RuntimeError: no kernel today",
    ),
    "wrong": Situation(
        "Computes something else", Kernel(SAME, "lambda x: SimulatedKernel(p)(x) + 1"), "BROKEN", 1,
        "ok in the baseline, wrong: ",
    ),
    "hungry": Situation(
        "Runs out of memory", Kernel(SAME, OUT), "BROKEN", 1, "oom: OutOfMemoryError: out of memory: 80 GiB",
    ),
    "crashing": Situation(
        "Crashes", Kernel(SAME, "lambda x: ctypes.string_at(0)"), "BROKEN", 1,
        "crashed: build: worker killed by SIGSEGV",
    ),
    "hanging": Situation(
        "Hangs in one of two processes", Kernel(SAME, "once(lambda x: time.sleep(1e6), SimulatedKernel(p))"), "BROKEN",
        1, "timeout: build took longer than 15 s (measure.timeout_s)",
    ),
    "hotter": Situation(
        "The device is throttled while the head is measured", Kernel(SAME, HOT), "ENV_ERROR", 3,
        "the device was throttled in 100% of the run's samples and 0% of the baseline's",
    ),
    "cooler": Situation(
        "The device is throttled while the base is measured", Kernel(HOT, SAME), "ENV_ERROR", 3,
        "the device was throttled in 0% of the run's samples and 100% of the baseline's",
    ),
    "edited": Situation(
        "A file of the head is edited while it is measured", Kernel(SAME, "edits(SimulatedKernel(p))"), "ENV_ERROR", 3,
        "sim_kernels.py changed while it was measured", "code",
    ),
}  # fmt: skip


def _beside(tells: str, *names: str, code: int, says: str) -> Situation:
    """The worst first."""
    both = " and ".join(f"“{KERNELS[name].tells}”" for name in names)
    return Situation(tells, Beside(f"{both} in one suite", names), KERNELS[names[0]].word, code, says)


MIXED: list[Situation] = [
    _beside("3 goes before 1", "hotter", "slower", code=3, says="exit 3, another device, or a disturbed one"),
    _beside("1 goes before 4", "slower", "gone", code=1, says="exit 1, regression, or a case broken"),
    _beside("4 goes before 5", "gone", "noisy", code=4, says="exit 4, a case or the baseline is missing"),
    _beside("5 goes before 0", "noisy", "faster", code=5, says="exit 5, inconclusive"),
    _beside(
        "What has no result on either side takes nothing away",
        "faster",
        "fails_always",
        code=0,
        says="exit 0, pass",
    ),
]

MISTAKE = {"suite.yaml": SIMULATED_SUITE.replace("level:", "levle:")}
TYPO = {"suite.yaml": SIMULATED_SUITE.replace("axes:", "axess:")}
EIGHT = [f"k{i}" for i in range(8)]
SLOWER_FILE = {"sim_kernels.py": SIMULATED.replace('"mine": 1.0', '"mine": 1.1')}
BY_SIDE = {"sim_kernels.py": SIMULATED.replace('"mine": 1.0', '"mine": 0.9 if "/head/" in __file__ else 1.0')}
SECONDS = {"suite.yaml": suite_of(["mine", "other"]).replace("[0.001]", "[10.0]")}
WAVE = {"wave.py": OWN, "suite.yaml": OWN_SUITE}
LABELLED = {
    "suite.yaml": SIMULATED_SUITE.replace("{level: [0.001, 0.002]}", "{long: {a: {level: 0.001}, b: {level: 0.002}}}")
}
NO_PAIR = (
    "the budget was spent after 0 pairs: fewer than asked; none was finished: give more minutes, fewer cases (--only)"
)
SKIPPING = {"suite.yaml": SIMULATED_SUITE + "skip: [{match: {impl: mine}, why: flaky}]\n"}
LOOSE = suite_of(EIGHT).replace("sigma: 0.005, process_sigma: 0.002", "sigma: 0.002, process_sigma: 0.001")
LOOSE += "gate: {time: 0.10}\n"
SYSTEMIC = Commits(
    "head: all of 8 kernels 10 % slower",
    {"sim_kernels.py": plugin(dict.fromkeys(EIGHT, SAME)), "suite.yaml": suite_of(EIGHT)},
    {"sim_kernels.py": plugin(dict.fromkeys(EIGHT, SLOWER)), "suite.yaml": suite_of(EIGHT)},
)
RENAMED = Commits(
    "head: `yours` for `mine`",
    {"sim_kernels.py": plugin({"mine": SAME, "other": SAME}), "suite.yaml": suite_of(["mine", "other"])},
    {"sim_kernels.py": plugin({"yours": SAME, "other": SAME}), "suite.yaml": suite_of(["yours", "other"])},
)
NOTHING_DONE = Commits("no difference", args=f"{PAIRED} --max-minutes 0 --inconclusive pass")
EXACT = Commits(
    "head: `mine` needs a MiB more, the graph of `other` has a break; a call takes 10 s",
    SECONDS | {"sim_kernels.py": plugin({"mine": SAME, "other": "compiled(p, breaks=0)"})},
    SECONDS | {"sim_kernels.py": plugin({"mine": MORE_MEMORY, "other": "compiled(p, breaks=1)"})},
    f"{PAIRED} --max-minutes 10",
)


def _slow_calls(args: str, told: str = "head: `mine` 10 % slower", head: Mapping[str, str] = SLOWER_FILE) -> Commits:
    """A pair takes 3,610 s on the simulated device: 16 blocks of 11 calls a case; one of `mine` alone 1,850 s."""
    return Commits(f"{told}; a call takes 10 s", SECONDS, {**SECONDS, **head}, f"{PAIRED} {args}")


BOTH_SLOWER = _slow_calls(
    "--max-minutes 800", "head: `mine` 10 % slower, `other` 5 %",
    {"sim_kernels.py": SIMULATED.replace('"mine": 1.0, "other": 1.0', '"mine": 1.1, "other": 1.05')},
)  # fmt: skip


COMMITS: list[Situation] = [
    Situation(
        "The head is a commit", Commits("head: `mine` 10 % slower", head=SLOWER_FILE, args=REVISED), "REGRESSED", 1,
        "time ratio 1.1",
    ),
    Situation(
        "The suite as a whole is slower", SYSTEMIC, "REGRESSED", 1,
        "all of it is slower and reaches the limit 1.03, so look at what all cases share", "the whole suite (SYSTEMIC)",
    ),
    Situation(
        "Its kernels do not stand out of it", SYSTEMIC, "INCONCLUSIVE", 1,
        "slower as the suite is, and does not stand out of it", "k0 ",
    ),
    Situation(
        "The head is a working tree with changes that are in no commit", SYSTEMIC, "REGRESSED", 1,
        "head had uncommitted changes: its commit does not name its code",
    ),
    Situation(
        "The suite as a whole is slower, within its limit",
        Commits(
            "head: all of 8 kernels 1 % slower, where the suite allows 10 %",
            {"sim_kernels.py": plugin(dict.fromkeys(EIGHT, SAME)), "suite.yaml": LOOSE},
            {"sim_kernels.py": plugin(dict.fromkeys(EIGHT, "SimulatedKernel(p, times=1.01)")), "suite.yaml": LOOSE},
        ),
        "PASS", 0, "all of it is slower, but does not reach the limit 1.1",
    ),
    Situation(
        "The head skips a case", Commits("head: `skip: [{match: {impl: mine}, why: flaky}]`", head=SKIPPING), "MISSING",
        4, "skipped by the head: flaky", "mine ",
    ),
    Situation(
        "Both sides skip it", Commits("both: `skip: [{match: {impl: mine}, why: flaky}]`", SKIPPING), "NO_RESULT", 0,
        "skipped: flaky", "mine ",
    ),
    Situation(
        "An implementation gets another name: the old one is gone", RENAMED, "MISSING", 4, "not in that of the head",
        "mine ",
    ),
    Situation("And another one is new", RENAMED, "NEW", 4, "ok in the run, in the baseline unavailable", "yours "),
    Situation(
        "An axis gets another name for its value: cases are known by their parameters",
        Commits("head: `{long: {a: {level: 0.001}, ...}}` for `{level: [0.001, ...]}`", head=LABELLED), "PASS", 0,
        "below the limit 1.03",
    ),
    Situation(
        "A parameter of the op gets another name",
        Commits(
            "head: `duration` for `length`, in op and suite", WAVE,
            {name: text.replace("length", "duration") for name, text in WAVE.items()}, f"{PAIRED} --device simulated",
        ),
        "MISSING", 4, "in the suite of main, not in that of the head",
    ),
    Situation(
        "The head's op is of another version: what it measures is not the same",
        Commits(
            "head: `version=2` for `version=1`", WAVE, {"wave.py": OWN.replace("version=1", "version=2")},
            f"{PAIRED} --device simulated",
        ),
        "NEW", 4, "op wave is of version 2 in the head and 1 in the base: what they measure is not the same",
    ),
    Situation(
        "The base does not have the suite",
        Commits("base: no `suite.yaml`", {"suite.yaml": None}, {"suite.yaml": SIMULATED_SUITE}), "PASS", 0,
        "below the limit 1.03",
    ),
    Situation(
        "The base's suite has a mistake",
        Commits("base: `levle:` in `suite.yaml`", MISTAKE, {"suite.yaml": SIMULATED_SUITE}), "PASS", 0,
        "the suite of main does not resolve, so no case of it is missed: suite.yaml:6:",
    ),
    Situation(
        "The head does not import", Commits("head: `import nothing`", head={"sim_kernels.py": "import nothing\n"}),
        "BROKEN", 1, "does not import: plugin 'sim_kernels' cannot be loaded: ModuleNotFoundError",
    ),
    Situation(
        "The base does not import",
        Commits("base: `1 / 0`", {"sim_kernels.py": "1 / 0\n"}, {"sim_kernels.py": SIMULATED}), "MISSING", 4,
        "does not import: plugin 'sim_kernels' cannot be loaded: ZeroDiv",
    ),
    Situation(
        "Neither side imports",
        Commits(
            "base: `1 / 0`; head: `import nothing`", {"sim_kernels.py": "1 / 0\n"},
            {"sim_kernels.py": "import nothing\n"},
        ),
        "MISSING", 4, "nor does the head: plugin 'sim_kernels' cannot be loaded",
    ),
]  # fmt: skip

BUDGETS: list[Situation] = [
    Situation(
        "The budget is spent before anything was done", NOTHING_DONE, "INCONCLUSIVE", 5,
        "the budget was spent before it was examined",
    ),
    Situation(
        "That does not pass, even where what is open may", NOTHING_DONE, "INCONCLUSIVE", 5,
        "nothing was timed, so nothing passes, whatever --inconclusive says",
    ),
    Situation("The budget is spent in the first pair", EXACT, "REGRESSED", 1, NO_PAIR, "mine "),
    Situation(
        "Memory is exact: it is judged without a pair", EXACT, "REGRESSED", 1, "peak_memory 1048576 B against 256 B",
        "mine ",
    ),
    Situation("So are the breaks of a graph", EXACT, "REGRESSED", 1, "graph_breaks 1 against 0", "other "),
    Situation(
        "The budget is spent after 6 of the 8 first pairs: enough for what did not change",
        _slow_calls("--max-minutes 380 --inconclusive pass"), "PASS", 5, "over 6 pairs", "other ",
    ),
    Situation(
        "The same for what did: nothing is left to confirm it. That may not pass, even where what is open may",
        _slow_calls("--max-minutes 380 --inconclusive pass"), "INCONCLUSIVE", 5,
        "slower by more than the limit, but over too few pairs to call it a regression", "mine ",
    ),
    Situation(
        "The budget is spent after 3 of the 8 first pairs: what is open for want of pairs may pass",
        _slow_calls("--max-minutes 200 --inconclusive pass", "no difference", {}), "INCONCLUSIVE", 0,
        "over 3 pairs: a verdict needs at least 5", "mine ",
    ),
    Situation(
        "Two are slower, and the budget suffices to confirm one: the surer", BOTH_SLOWER, "REGRESSED", 1,
        "slower by more than 0.5 %", "mine ",
    ),
    Situation(
        "The other is left open", BOTH_SLOWER, "INCONCLUSIVE", 1, "but 0 of 24 fresh pairs came to confirm it",
        "other ",
    ),
    Situation(
        "The budget is spent after 4 of the 24 pairs that confirm", _slow_calls("--max-minutes 620"), "INCONCLUSIVE", 5,
        "but 4 of 24 fresh pairs came to confirm it", "mine ",
    ),
]  # fmt: skip

SELF_TESTS: list[Situation] = [
    Situation(
        "The code that is checked out against itself", Commits("no difference", args=SELF_TEST), "PASS", 0,
        "below the limit 1.03",
    ),
    Situation(
        "An improvement of code over itself is a false alarm too: what no commit can do, but a bias can",
        Commits("`mine` 10 % faster wherever it is the head", head=BY_SIDE, args=SELF_TEST), "IMPROVED", 1,
        "faster by more than 0.5 %",
    ),
]  # fmt: skip

REFUSED: list[Situation] = [
    Situation(
        "The base is no revision", Commits("", args="gate paired suite.yaml --base mian"), None, 2,
        "--base mian: no revision of",
    ),
    Situation(
        "The head is no revision", Commits("", args=f"{PAIRED} --head featrue"), None, 2, "; did you mean 'feature'?",
    ),
    Situation(
        "There is no base", Commits("", args="gate paired suite.yaml"), None, 2, "give --base REV, or --base-python",
    ),
    Situation(
        "There is no repository", Commits("a folder without git", is_repository=False), None, 2,
        "not in a git repository, so there are no revisions",
    ),
    Situation(
        "The head does not have the suite", Commits("head: no `suite.yaml`", head={"suite.yaml": None}, args=REVISED),
        None, 2, "suite.yaml: not in feature; the suite is taken from the head",
    ),
    Situation(
        "The head's suite has a mistake", Commits("head: `axess:`", head=TYPO), None, 2,
        "suite.yaml:6:1: axess is not a key of a suite; did you mean 'axes'?",
    ),
    Situation(
        "The suite's gate names no metric",
        Commits("head: `gate: {tiem: 0.03}`", head={"suite.yaml": SIMULATED_SUITE + "gate: {tiem: 0.03}\n"}), None, 2,
        "gate.tiem is not a metric; did you mean 'time'?",
    ),
    Situation(
        "--only names what the suite does not have", Commits("", args=f"{PAIRED} --only impl=mien"), None, 2,
        "suite 'suite' has no impl 'mien'; did you mean 'mine'?",
    ),
    Situation(
        "--only leaves no case",
        Commits("head: `long` is `a` or `b`", head=LABELLED, args=f"{PAIRED} --only long=a --only level=0.002"), None,
        2, "--only leaves no case",
    ),
    Situation(
        "Two forms at once", Commits("", args=f"{PAIRED} --json --markdown"), None, 2,
        "--markdown and --json: choose one",
    ),
    Situation(
        "The device is not there", Commits("", args=f"{PAIRED} --device cuda:9"), None, 3,
        "device 'cuda:9' is not on this machine",
    ),
    Situation(
        "Another gate has the device", Commits("the device is locked", device_taken=True), None, 3,
        "device simulated is in use by the run",
    ),
    Situation(
        "2 goes before 3", Commits("head: `axess:`", head=TYPO, args=f"{PAIRED} --device cuda:9"), None, 2,
        "axess is not a key of a suite; did you mean 'axes'?",
    ),
]  # fmt: skip

SECTIONS: dict[str, tuple[str, list[Situation]]] = {
    "A kernel of the head": (
        f"`llmbench {PAIRED}`, on the simulated device: fresh processes of both sides in turns. "
        "Kernels that end alike are in one suite; where no case is judged on both sides, the gate ends with 4.",
        [*KERNELS.values()],
    ),
    "One exit code for all": ("The first that applies of 2, 3, 1, 4, 5, 0.", MIXED),
    "Base and head": ("What differs is more than one kernel.", COMMITS),
    "A budget": ("`--max-minutes`; on the simulated device its own seconds count as well.", BUDGETS),
    "Code against itself": (f"`llmbench {SELF_TEST}`", SELF_TESTS),
    "Nothing is judged": (
        "The last line on stderr says why, nothing is on stdout, no tree and no folder of results are left behind.",
        REFUSED,
    ),
    "Against a stored run": ("`llmbench gate stored RUN --baseline RUN`; 3 implementations, 3 processes each.", STORED),
    "Against a store of runs": ("`llmbench gate stored RUN --baseline STORE`", HISTORIES),
}
LEAD = """Each with the verdict, the exit code and words of the reason that is given.

Exit codes: 0 pass, 1 regression or a case broken by the head, 2 usage, 3 environment, 4 missing case or baseline, or
nothing to judge by, 5 inconclusive. Every row is carried out by `tests/test_gate_situations.py` through the command
line; this page is written by `python tests/gate_situations.py`. In kernels `p` are the parameters of the op
`simulated`. Suites allow 3 % of time."""
ALL = [*chain.from_iterable(rows for _, rows in SECTIONS.values())]


def page() -> str:
    """The table for readers."""
    parts = [f"# What the gate says, and when\n\n{len(ALL)} situations. {LEAD}\n"]
    for title, (lead, rows) in SECTIONS.items():
        parts += [
            f"\n## {title}\n\n{lead}\n\n| situation | what differs | verdict | exit | told |\n",
            "|---|---|---|---:|---|\n",
        ]
        parts += [_line(row) for row in rows]
    return "".join(parts)


def _line(row: Situation) -> str:
    cells = (row.tells, row.differs.text, row.word or "—", str(row.code), row.says)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
