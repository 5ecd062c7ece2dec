"""The columns of `records.parquet`: a fixed part, `p_<name>` for every parameter, `axis_<name>` for bundle labels.

Every file of one installation has the same columns in the same order, so that DuckDB, polars and pandas read a folder
of runs with one plain glob.

A file says its version in its metadata. A column more needs no new version, since readers let columns be that they do
not know; a new version is for what an older reader would take for something else.

History: 1 (0.1.0) the first.
"""

from collections.abc import Iterable, Mapping

import pyarrow as pa

VERSION = 1
NAMED = "llmbench.records/"  # before the version, as in the schemas of all documents
METADATA_KEY = "llmbench.schema"

AXIS_NAMES = (
    "batch", "heads", "lengths", "model", "optimizer", "precision", "schedule", "shape", "way", "window",
)  # fmt: skip
"""Names of bundles whose `axis_` column every file has; a bundle of another name adds a column to its own runs."""

_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

FIXED: dict[str, pa.DataType] = {
    # what was measured
    "run_id": _TEXT, "case_id": _TEXT, "point_id": _TEXT, "suite": _TEXT, "op": _TEXT, "op_version": _INT,
    "impl": _TEXT, "phase": _TEXT, "is_baseline": _FLAG, "cache": _TEXT, "process": _INT,
    # what was found
    "metric": _TEXT, "part": _TEXT, "status": _TEXT, "why": _TEXT, "value": _REAL, "low": _REAL, "high": _REAL,
    "unit": _TEXT, "better": _TEXT, "n": _INT, "samples": pa.list_(_REAL), "sample_t_ns": pa.list_(_INT),
    "sample_block": pa.list_(pa.int32()), "sample_calls": pa.list_(pa.int32()), "sample_flags": pa.list_(_TEXT),
    "stop_reason": _TEXT, "timer": _TEXT,
    # evidence beside it
    "order": _TEXT, "grad": _TEXT, "cold_by": _TEXT, "config": _TEXT,
    "check_kind": _TEXT, "check_why": _TEXT, "check_allowed": _REAL,
    "impl_hash": _TEXT, "flop": _REAL, "bytes": _REAL, "tokens": _REAL,
    # where and when
    "device": _TEXT, "device_name": _TEXT, "device_key": _TEXT, "arch": _TEXT, "host": _TEXT, "torch": _TEXT,
    "triton": _TEXT, "driver": _TEXT, "commit": _TEXT, "started": _TEXT, "quick": _FLAG, "campaign_id": _TEXT,
    "world_size": _INT, "rank": _INT,
}  # fmt: skip

NEVER_NULL = (
    "run_id", "case_id", "point_id", "suite", "op", "impl", "phase", "is_baseline", "cache", "process", "status",
    "device", "device_name", "quick",
)  # fmt: skip
"""What every row says: which case of which run it is, and how it fared."""

KEY = ("case_id", "process", "metric", "part")
"""What no two rows share."""

OF_THE_CASE = ("point_id", "op", "impl", "phase", "is_baseline", "cache")
"""What all rows of a case share."""

OPTIONAL = frozenset({
    "order", "grad", "cold_by", "config", "check_kind", "check_why", "check_allowed", "impl_hash", "flop", "bytes",
    "tokens", "arch", "host", "torch", "triton", "driver", "commit", "started", "campaign_id", "world_size", "rank",
})  # fmt: skip
"""Evidence that a file of another version may lack; all other columns of `FIXED` it must have."""

TELEMETRY = pa.schema(
    {
        "run_id": _TEXT,
        "process": _INT,
        "t_ns": _INT,
        "power_w": _REAL,
        "energy_j": _REAL,
        "sm_clock_hz": _REAL,
        "memory_clock_hz": _REAL,
        "temperature_degc": _REAL,
        "utilisation": _REAL,
        "memory_utilisation": _REAL,
        "throttle_reasons": _INT,
        "throttle_names": _TEXT,
        "other_processes": _INT,
    }
)

PARAM_TYPES = {"int": _INT, "float": _REAL, "str": _TEXT, "bool": _FLAG}


def records_schema(param_types: Mapping[str, str], axes: Iterable[str]) -> pa.Schema:
    """The schema of a run's records: `param_types` of every op in the catalog, `axes` of its own suite."""
    columns = dict(FIXED)
    columns |= {f"p_{name}": PARAM_TYPES[param_types[name]] for name in sorted(param_types)}
    columns |= {f"axis_{name}": _TEXT for name in [*AXIS_NAMES, *sorted(set(axes) - set(AXIS_NAMES))]}
    return pa.schema(columns)
