"""The statistic of a pair: the log of the 25 % quantile of the head's samples over that of the base's.

Not the median or the mean: what disturbs a sample makes it longer. On two CPU cores under foreign load, 12 cases of 0.3
to 2.3 ms, one pair had a sigma of 0.76 to 1.0 % with it, 1.0 to 1.8 % with the median and 8 % with the mean.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from llmbench.run.paired.turns import SIDES
from llmbench.store.pairs import PairBlock
from llmbench.store.record import SideName

QUANTILE = 0.25


def logs_of(blocks: Iterable[PairBlock]) -> dict[str, dict[SideName, float]]:
    """Case -> side -> log of the quantile, in log seconds, of the blocks of one pair that count.

    All samples of a process together; where a side has several processes, the mean of theirs.
    """
    samples: dict[tuple[str, SideName], dict[int, list[float]]] = {}
    for block in blocks:
        if block.counts:
            samples.setdefault((block.case_id, block.side), {}).setdefault(block.process, []).extend(block.kept_s)
    found: dict[str, dict[SideName, float]] = {}
    for (case, side), processes in samples.items():
        found.setdefault(case, {})[side] = float(np.mean([_log(times) for times in processes.values()]))
    return found


def ratio_of(logs: Mapping[SideName, float] | None) -> float:
    """D of a case: head less base; NaN where a side has no value."""
    if logs is None or any(side not in logs for side in SIDES):
        return math.nan
    return logs["head"] - logs["base"]


def _log(times_s: list[float]) -> float:
    found = float(np.quantile(times_s, QUANTILE)) if times_s else 0.0
    return math.log(found) if found > 0 else math.nan
