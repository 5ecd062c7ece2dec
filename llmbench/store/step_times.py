"""Recorded step times: a parquet file with a series of times a row, as CI runs of training leave them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmbench.errors import RunError

COLUMN = "step_s"
WARM_UP = 10  # steps at the start of a run that compile, allocate and tune
LEAST = 80  # steps after these: two halves of a pair's 40


def read_step_times(path: Path) -> list[NDArray[np.float64]]:
    """The step times (s) of each run in measured order, without its first ten, of runs that have 80 more.

    Raises: RunError for a file that is none, has no list column `step_s`, or not two such runs.
    """
    try:
        column = pq.ParquetFile(path).read(columns=[COLUMN]).column(COLUMN)
    except (OSError, KeyError, pa.ArrowException) as e:
        raise RunError(f"{path}: no parquet file with a column {COLUMN!r}: {e}") from None
    if not pa.types.is_list(column.type) or not pa.types.is_floating(column.type.value_type):
        raise RunError(f"{path}: column {COLUMN!r} holds {column.type}; wanted: lists of floating-point seconds")
    series = [np.asarray(row[WARM_UP:], dtype=np.float64) for row in column.to_pylist() if row is not None]
    found = [s for s in series if len(s) >= LEAST and np.isfinite(s).all() and (s > 0).all()]
    if len(found) < 2:
        raise RunError(
            f"{path}: {len(found)} runs of {WARM_UP + LEAST} or more positive step times; wanted: at least 2"
        )
    return found
