"""What a paired gate leaves behind: every block in `pairs.parquet`, and all the rest in `gate.json`, written last."""

import json
import shutil
from pathlib import Path
from typing import Any

from llmbench.codec import to_plain
from llmbench.files import write_whole
from llmbench.report.document import finite
from llmbench.report.verdict_table import body
from llmbench.run.paired.seen import Seen
from llmbench.run.paired.turns import SIDES
from llmbench.run.paired.verdicts import Found
from llmbench.run.paired.witness import fingerprint
from llmbench.store.pairs import GATE, write_pairs

SCHEMA = "llmbench.gate.paired/1"


def keep_rest(seen: Seen) -> None:
    """Writes the blocks of a gate that did not come to its end; a folder without any is taken away."""
    if seen.blocks:
        write_pairs(seen.folder, seen.blocks)
    else:
        shutil.rmtree(seen.folder, ignore_errors=True)


def keep(found: Found) -> Found:
    """Writes the blocks, then `gate.json`; gives back what it was given."""
    seen = found.seen
    write_pairs(seen.folder, seen.blocks)
    tier = seen.tier
    kept = {
        **document(found),
        "suite_resolved": to_plain(seen.suite),
        "cases": to_plain(seen.cases),
        "records": {f"{side} {key}": to_plain(own) for (side, key), own in (tier.records if tier else {}).items()},
        "losses": to_plain(seen.losses),
    }
    text = json.dumps(finite(kept), indent=1, allow_nan=False)
    write_whole(seen.folder / GATE, text + "\n", sync=True)
    return found


def document(found: Found) -> dict[str, Any]:
    """What `--json` prints: the document of the stored gate, and under `paired` what pairs alone can say. SI units."""
    seen, judged = found.seen, found.seen.judged
    components, shift = (judged.components, judged.systemic) if judged else (None, None)
    paired: dict[str, Any] = {
        "folder": str(seen.folder), "pairs": seen.pairs, "pairs_s": seen.pairs_s, "wall_s": seen.wall_s,
        "max_minutes": seen.max_minutes, "budget_spent": seen.spent, "layout": seen.layout, "seed": seen.seed,
        "cores": to_plain(seen.cores), "same_code": seen.same_code, "self_test": seen.asked.itself,
        "sides": {side: _side(seen, i) for i, side in enumerate(SIDES)},
        "rule": to_plain(judged.evidence.rule) if judged else None,
        "components": to_plain(components), "systemic": to_plain(shift),
        "decisions": {key: to_plain(decision) for key, decision in seen.decisions.items()},
    }  # fmt: skip
    whole = {**body(found.outcome), "schema": SCHEMA, "paired": paired}
    return {key: finite(value) for key, value in whole.items()}


def _side(seen: Seen, i: int) -> dict[str, Any]:
    side = SIDES[i]
    own, sources = seen.sides.of(side), seen.sources(side)
    hello = seen.hellos.get(side)
    return {
        "revision": own.revision, "commit": own.commit, "dirty": own.dirty, "python": own.python,
        "sources_hash": fingerprint(sources) if sources else None,
        "sources": [{"module": s.module, "file": _shown(s.file, own.path), "sha256": s.digest} for s in sources],
        "versions": hello.versions if hello else {},
    }  # fmt: skip


def _shown(file: str, tree: Path | None) -> str:
    """Relative to the side's tree, which is gone when this is read."""
    path = Path(file)
    if tree is None or not path.is_relative_to(tree.resolve()):
        return file
    return str(path.relative_to(tree.resolve()))
