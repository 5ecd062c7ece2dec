"""The situations of the stored gate: a run against one that was stored, and against the history in a store."""

import math
from dataclasses import replace

from example_histories import IMPLS
from example_runs import OP, make_suite
from situation import Run, Situation

from llmbench.store.record import Status

RUN = "a run"
STORE, YOUNG, EMPTY = "a store of 12 runs", "a store of 4 runs", "a store of no run"
SPOILT, CLEANED = (
    "a store of 11 runs and a wrong one, three times as slow",
    "that store with the wrong run in quarantine",
)
CREEPING, ACCEPTED = "a store of 30 runs that become 8 % slower", "that store with the last of them accepted"
NOWHERE, ITSELF = "a run that is not there", "the very run that is judged"
UNDONE = "a store of 12 runs and a slow one that was accepted, then put in quarantine"
SLOW = {"flash": 1.3}
LIMP = (1, 1.4, 1)  # 12 % more on average, by one process alone
OFF: tuple[Status, str] = ("wrong", "off by 2")
ALL_SLOW = dict.fromkeys(IMPLS, 1.075)
WINDOW, NO_MEMORY = make_suite(name="window"), make_suite(name="no_memory", gate={"peak_memory": None})

STORED: list[Situation] = [
    Situation(
        "Nothing changed", Run(RUN), "PASS", 0,
        "time ratio 1, 95 % CI [0.9776, 1.023] over 3 and 3 processes, below the",
    ),
    Situation("30 % slower", Run(RUN, SLOW), "REGRESSED", 1, "excludes 1 and reaches the limit 1.03"),
    Situation(
        "Slower by one process alone", Run(RUN, {"flash": LIMP}), "INCONCLUSIVE", 5,
        "reaches the limit 1.03 but does not exclude 1; minimum detectable effect",
    ),
    Situation("Faster", Run(RUN, {"flash": 1 / 1.3}), "IMPROVED", 0, "time ratio 0.7692"),
    Situation("A case was not run", Run(RUN, {"flash": None}), "MISSING", 4, "in the baseline (ok), not in the run"),
    Situation(
        "A case is skipped", Run(RUN, failed={"flash": ("skipped", "too big")}), "MISSING", 4,
        "ok in the baseline, skipped: too big",
    ),
    Situation(
        "A case has no time", Run(RUN, {"flash": math.nan}), "MISSING", 4,
        "time was measured in the baseline but not in the run",
    ),
    Situation("A case is wrong", Run(RUN, failed={"flash": OFF}), "BROKEN", 1, "ok in the baseline, wrong: off by 2"),
    Situation(
        "A case runs out of memory", Run(RUN, failed={"flash": ("oom", "80 GiB")}), "BROKEN", 1,
        "ok in the baseline, oom: 80 GiB",
    ),
    Situation(
        "Needs 512 B more", Run(RUN, more_bytes={"flash": [512] * 3}), "REGRESSED", 1,
        "peak_memory 1049088 B against 1048576 B in the baseline: +512 B (+0.0488 %), more than the limit of 0 %",
    ),
    Situation(
        "Needs 512 B less", Run(RUN, more_bytes={"flash": [-512] * 3}), "IMPROVED", 0,
        "in the baseline: -512 B (-0.0488 %)",
    ),
    Situation(
        "Memory differs between processes", Run(RUN, more_bytes={"flash": [0, 0, 512]}), "PASS", 0,
        "judged like a time, as processes of one side disagree on it",
    ),
    Situation(
        "One process", Run(RUN, processes=1), "INCONCLUSIVE", 5,
        "from 3 and 1 processes: a verdict needs at least 3 a side",
    ),
    Situation(
        "Two processes, 30 % slower", Run(RUN, {"flash": (1.3, 1.3)}), "INCONCLUSIVE", 5, "from 3 and 2 processes",
    ),
    Situation(
        "One process, where what is open may pass", Run(RUN, processes=1, args="--inconclusive pass"), "INCONCLUSIVE",
        0, "at least 3 a side",
    ),
    Situation(
        "Throttled", Run(RUN, SLOW, throttled={"flash": 11}), "ENV_ERROR", 3,
        "the device was throttled in 100% of the run's samples and 0% of the baseline's",
    ),
    Situation("On another device", Run(RUN, whole={"key": "two"}), "ENV_ERROR", 3, "name two against one", "device"),
    Situation(
        "With another torch", Run(RUN, whole={"versions": {"torch": "2.14.0"}}), "PASS", 0,
        "different torch: baseline 2.13.0, run 2.14.0; a change may be its doing",
    ),
    Situation(
        "The run stopped before its last case", Run(RUN, {"flex": None, "flash": None}, whole={"complete": False}),
        "MISSING", 4, "run is incomplete: it stopped before its last case",
    ),
    Situation(
        "A quick run", Run(RUN, whole={"quick": True}), None, 2,
        "a quick run, too short to decide anything; measure it in full with: llmbench run attention",
    ),
    Situation(
        "The run was never closed, its journal ends within a line", Run(RUN, whole={"journal": "half written"}), None,
        2, "the run was not closed; close it with: llmbench run --resume",
    ),
    Situation(
        "The baseline is not there", Run(NOWHERE), "MISSING", 4,
        "neither a run nor a store of baselines is there; give a run's folder, latest or latest:SUITE, or a store,",
        "baseline",
    ),
    Situation(
        "The baseline is the run itself", Run(ITSELF), None, 2,
        "the very run that is judged, so nothing could be found; wanted: a run that was measured before it, or a store",
    ),
    Situation(
        "The suite leaves memory out", Run(RUN, more_bytes={"flash": [512] * 3}, whole={"suite": NO_MEMORY}), "PASS", 0,
        "below the limit 1.03", "flash ",
    ),
    Situation(
        "1 goes before 4", Run(RUN, {"flex": None}, failed={"flash": ("crashed", "signal 11")}), "BROKEN", 1,
        "signal 11",
    ),
    Situation("4 goes before 5", Run(RUN, {"flash": None}, processes=1), "MISSING", 4, "not in the run"),
    Situation(
        "4 goes before 5 that may pass", Run(RUN, {"flash": None}, processes=1, args="--inconclusive pass"), "MISSING",
        4, "not in the run",
    ),
    Situation(
        "3 goes before 1", Run(RUN, SLOW, whole={"key": "two"}), "ENV_ERROR", 3, "the run was measured on", "device",
    ),
    Situation("2 goes before 3", Run(RUN, whole={"quick": True, "key": "two"}), None, 2, "a quick run"),
    Situation("1 goes before 5", Run(RUN, {"naive": LIMP, **SLOW}), "INCONCLUSIVE", 1, "does not exclude 1", "naive "),
]  # fmt: skip

HISTORIES: list[Situation] = [
    Situation(
        "Nothing changed", Run(STORE), "PASS", 0,
        "to the baseline's 12 runs, below the limit 1.03; minimum detectable effect",
    ),
    Situation("30 % slower", Run(STORE, SLOW), "REGRESSED", 1, "the baseline's 12 runs, beyond what unchanged runs do"),
    Situation("10 % slower", Run(STORE, {"flash": 1.1}), "REGRESSED", 1, "and the limit 1.03"),
    Situation(
        "A little slower than the limit", Run(STORE, {"naive": 1.033}), "PASS", 0,
        "above 1.03 but within the prediction limit 1.0", "naive ",
    ),
    Situation(
        "As slow as one in twenty unchanged runs", Run(STORE, {"flash": 1.037}), "INCONCLUSIVE", 5,
        "reaches the limit 1.03, but on too little evidence",
    ),
    Situation("20 % faster", Run(STORE, {"flash": 0.8}), "IMPROVED", 0, "less than unchanged runs take"),
    Situation("One process: a run is what counts", Run(STORE, processes=1), "PASS", 0, "below the limit 1.03"),
    Situation("A case is wrong", Run(STORE, failed={"flash": OFF}), "BROKEN", 1, "ok in the baseline, wrong: off by 2"),
    Situation("A case was not run", Run(STORE, {"flash": None}), "MISSING", 4, "not in the run"),
    Situation(
        "Needs 512 B more", Run(STORE, more_bytes={"flash": [512] * 3}), "REGRESSED", 1,
        "+512 B (+0.0488 %), more than",
    ),
    Situation("Throttled", Run(STORE, SLOW, throttled={"flash": 11}), "ENV_ERROR", 3, "the device was throttled"),
    Situation(
        "With another torch: a history of its own", Run(STORE, whole={"versions": {"torch": "2.14.0"}}), "MISSING", 4,
        "beside this one with op attention 1, torch 2.14.0; there is: 12 of op attention 1, torch 2.13.0; add",
    ),
    Situation(
        "The op is of another version: a history of its own",
        Run(STORE, whole={"suite": make_suite(op=replace(OP, version=2))}), "MISSING", 4,
        "beside this one with op attention 2",
    ),
    Situation(
        "On another device: a history of its own", Run(STORE, whole={"key": "two"}), "MISSING", 4,
        "there is: attention on NVIDIA H100 80GB HBM3; add the first",
    ),
    Situation(
        "Of another suite", Run(STORE, whole={"suite": WINDOW}), "MISSING", 4,
        "has no run of suite window on NVIDIA H100 80GB HBM3",
    ),
    Situation("The store has no run", Run(EMPTY), "MISSING", 4, "there is: nothing yet; add the first with"),
    Situation(
        "The history is too young for times", Run(YOUNG, SLOW), "INCONCLUSIVE", 5,
        "baseline too young: 4 of 10 runs, 6 missing",
    ),
    Situation(
        "It is old enough for what is exact", Run(YOUNG, more_bytes={"flash": [512] * 3}), "REGRESSED", 1, "+512 B",
    ),
    Situation(
        "A wrong run is in the history: 30 % is within what its runs do", Run(SPOILT, SLOW), "PASS", 0,
        "within the prediction limit", "flash ",
    ),
    Situation(
        "The wrong run is in quarantine", Run(CLEANED, SLOW), "REGRESSED", 1, "beyond what unchanged runs do", "flash ",
    ),
    Situation(
        "Runs became slower little by little", Run(CREEPING, ALL_SLOW), "REGRESSED", 1,
        "since acceptance, in the latest 5 with this one", "flash ",
    ),
    Situation(
        "Slower was accepted: a new history starts", Run(ACCEPTED, ALL_SLOW), "INCONCLUSIVE", 5,
        "baseline too young: 1 of 10 runs, 9 missing",
    ),
    Situation(
        "Slower was accepted by mistake: the history before goes on", Run(UNDONE, {"flash": 1.1}), "REGRESSED", 1,
        "time ratio 1.099 to the baseline's 12 runs, beyond",
    ),
]  # fmt: skip
