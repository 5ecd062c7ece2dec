"""How well runs of one suite agree: `python tests/perf/repeatability.py RUN RUN ...`.

Each speed-up, and each time, is held against the median of its case over the runs.
"""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np

from llmbench.analyze.summary import summarise
from llmbench.store.query import read_run

QUANTILES = (0.5, 0.9, 0.99, 1.0)


def deviations(values: list[list[float]]) -> np.ndarray:
    """Of each value from the median of its case, as a share."""
    return np.array([abs(v / median(case) - 1) for case in values if len(case) > 1 for v in case])


def main(folders: list[str]) -> None:
    speedups, times = defaultdict(list), defaultdict(list)
    for folder in folders:
        for line in summarise(read_run(Path(folder))).lines:
            if line.speedup is not None:
                speedups[line.case_id].append(line.speedup.value)
            if line.time is not None:
                times[line.case_id].append(line.time.value)
    for name, found in (("speed-up", speedups), ("time", times)):
        away = deviations(list(found.values()))
        shares = ", ".join(f"{q:.0%} within {np.quantile(away, q):.2%}" for q in QUANTILES)
        print(f"{name}: {len(found)} cases in {len(folders)} runs: {shares}; {np.mean(away <= 0.02):.1%} within 2 %")


if __name__ == "__main__":
    main(sys.argv[1:])
