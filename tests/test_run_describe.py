"""The catalog is kept where there was no cache before, and only so many of them."""

import json
import os
from pathlib import Path

from suite_catalog import CPU

from llmbench.codec import from_plain
from llmbench.run import describe
from llmbench.suite.catalog import Catalog


def test_the_first_catalog_makes_the_folder(tmp_path: Path) -> None:
    cached = tmp_path / "never" / "seen" / "catalog-1.json"
    describe._keep(CPU, cached)
    assert from_plain(Catalog, json.loads(cached.read_text())) == CPU
    assert [p.name for p in cached.parent.iterdir()] == ["catalog-1.json"]


def test_old_catalogs_go(tmp_path: Path) -> None:
    for i in range(describe.KEPT + 3):
        describe._keep(CPU, tmp_path / f"catalog-{i}.json")
        os.utime(tmp_path / f"catalog-{i}.json", (i, i))
    describe._keep(CPU, tmp_path / "catalog-new.json")
    kept = {p.name for p in tmp_path.iterdir()}
    assert len(kept) == describe.KEPT and "catalog-new.json" in kept and "catalog-0.json" not in kept
