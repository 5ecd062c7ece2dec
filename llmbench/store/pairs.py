"""Blocks of a paired gate on disk: `pairs.parquet`, a row a block with its samples in measured order, none left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.errors import RunError
from llmbench.files import write_whole
from llmbench.store.record import SideName

PAIRS, GATE = "pairs.parquet", "gate.json"
SCHEMA = "llmbench.pairs/1"
_METADATA_KEY = b"llmbench.schema"


@dataclass(frozen=True)
class PairBlock:
    """Samples of one case in one process, taken without a pause.

    `look`: which question of the judge it answers, from 1; below 0, which one about a case that is measured again,
    alone. `pair`: its number in the whole gate. The first `dropped` samples
    came right after a switch. `counts`: its pair was finished and the case failed on neither side.
    """

    look: int
    pair: int
    order: int  # of the pair's blocks, as measured
    quad: int
    side: SideName
    process: int
    case_id: str
    alone: bool  # no other case was in its processes
    counts: bool
    dropped: int
    calls: int  # in a sample
    faults: int  # minor page faults, over the whole block
    switches: int  # involuntary ones
    cpu_s: float
    time_s: list[float] = field(default_factory=list)  # of a call
    t_ns: list[int] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    @property
    def kept_s(self) -> list[float]:
        """The samples that count."""
        return self.time_s[self.dropped :]


_TYPES: dict[str, pa.DataType] = {
    "look": pa.int32(), "pair": pa.int32(), "order": pa.int32(), "quad": pa.int32(), "side": pa.string(),
    "process": pa.int32(), "case_id": pa.string(), "alone": pa.bool_(), "counts": pa.bool_(), "dropped": pa.int32(),
    "calls": pa.int32(), "faults": pa.int64(), "switches": pa.int64(), "cpu_s": pa.float64(),
    "time_s": pa.list_(pa.float64()), "t_ns": pa.list_(pa.int64()), "flags": pa.list_(pa.string()),
}  # fmt: skip


def seconds_by_case(blocks: Iterable[PairBlock]) -> dict[str, float]:
    """Case -> the seconds that its samples took, of both sides together, dropped ones included."""
    found: dict[str, float] = {}
    for block in blocks:
        found[block.case_id] = found.get(block.case_id, 0.0) + sum(block.time_s) * block.calls
    return found


def write_pairs(folder: Path, blocks: Sequence[PairBlock]) -> None:
    """Writes `pairs.parquet`, whole or not at all."""
    columns = {name: pa.array([getattr(b, name) for b in blocks], kind) for name, kind in _TYPES.items()}
    schema = pa.schema(list(_TYPES.items()), metadata={_METADATA_KEY: SCHEMA.encode()})
    whole = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), whole, use_dictionary=False, compression="zstd")
    write_whole(folder / PAIRS, whole.getvalue().to_pybytes())


def read_pairs(folder: Path) -> list[PairBlock]:
    """The blocks in measured order. Raises: RunError saying what the file is instead."""
    path = folder / PAIRS
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as e:
        raise RunError(f"{path}: not readable as pairs: {e}") from e
    said = (table.schema.metadata or {}).get(_METADATA_KEY, b"").decode("utf-8", "replace")
    if said != SCHEMA:
        raise RunError(f"{path}: schema {said!r}, wanted {SCHEMA!r}")
    names = [f.name for f in fields(PairBlock)]
    columns: list[list[Any]] = [table.column(name).to_pylist() for name in names]
    return [PairBlock(*values) for values in zip(*columns, strict=True)]
