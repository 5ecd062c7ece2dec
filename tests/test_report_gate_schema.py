"""The JSON Schema of gates: real documents of each gate fit it, and one with a key less or misspelled does not."""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from example_runs import STEADY, stored_run
from paired_repository import SIMULATED, simulated_repository, write

from llmbench.report.gate_schema import gate_schema

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]
Path_ = tuple[str | int, ...]
jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
SCHEMA = gate_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FREE = {"facts", "not_gated", "limits", "versions", "counts", "decisions"}  # whose keys are data
KEPT = {"suite_resolved", "cases", "records", "losses"}


def mistakes(document: dict[str, Any]) -> list[str]:
    return [f"{list(e.path)}: {e.message[:200]}" for e in VALIDATOR.iter_errors(document)]


def keys_of(node: Any, at: Path_ = ()) -> Iterator[Path_]:
    """The place of every key that the schema names."""
    if isinstance(node, list):
        for i, item in enumerate(node[:1]):
            yield from keys_of(item, (*at, i))
    if isinstance(node, dict):
        for name, value in node.items():
            if at and at[-1] in FREE:
                yield from keys_of(value, (*at, name))
            elif name not in KEPT or at:
                yield (*at, name)
                yield from keys_of(value, (*at, name))


def without(document: dict[str, Any], place: Path_, *, instead: str | None = None) -> dict[str, Any]:
    """A copy in which that key is missing, or has another name."""
    changed = copy.deepcopy(document)
    node: Any = changed
    for step in place[:-1]:
        node = node[step]
    value = node.pop(place[-1])
    if instead is not None:
        node[instead] = value
    return changed


def holds(document: dict[str, Any]) -> int:
    """Asserts that it fits, and no copy with a key less or a misspelled one does; gives back how many keys it has."""
    assert mistakes(document) == []
    places = [*keys_of(document)]
    for place in places:
        assert mistakes(without(document, place)), place
        assert mistakes(without(document, place, instead=f"{place[-1]}_")), place
    return len(places)


def test_it_is_a_schema_in_which_every_key_is_described_and_every_mapping_closed() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    closed = [SCHEMA["$defs"][name] for name in SCHEMA["$defs"]]
    closed += [SCHEMA["$defs"]["paired"]["properties"]["paired"]]
    for part in closed:
        assert part["additionalProperties"] is False
        assert [name for name, own in part["properties"].items() if not own.get("description")] == []
    assert {"Side", "Verdict", "Finding", "Decision", "PairedRule", "stored", "paired"} <= set(SCHEMA["$defs"])


def test_the_command_prints_it(llmbench: Llmbench) -> None:
    assert json.loads(llmbench("schema", "gate").stdout) == SCHEMA


def test_documents_of_the_stored_gate_fit_and_broken_ones_do_not(llmbench: Llmbench, tmp_path: Path) -> None:
    stored_run(tmp_path / "base", {"naive": STEADY, "flash": STEADY})
    slow = tuple(1.3 * t for t in STEADY)
    stored_run(tmp_path / "run", {"naive": STEADY, "flash": slow}, memory={"naive": [(1 << 20) + 512] * 3})
    document = json.loads(llmbench("gate", "stored", "run", "--baseline", "base", "--json", rc=1).stdout)
    assert holds(document) > 50
    assert mistakes({**document, "schema": "llmbench.gate/2"}) and mistakes({**document, "exit_code": 2})
    document["verdicts"][0]["verdict"] = "REGRESED"
    assert mistakes(document)
    missing = json.loads(llmbench("gate", "stored", "run", "--baseline", "nowhere", "--json", rc=4).stdout)
    assert mistakes(missing) == [] and missing["baseline"] is None


def test_documents_of_the_paired_gate_fit_and_broken_ones_do_not(llmbench: Llmbench, tmp_path: Path) -> None:
    simulated_repository(tmp_path)
    write(tmp_path, {"sim_kernels.py": SIMULATED.replace('"mine": 1.0', '"mine": 1.1')})
    document = json.loads(llmbench("gate", "paired", "suite.yaml", "--base", "main", "--json", rc=1).stdout)
    assert holds(document) > 120
    kept = json.loads((tmp_path / document["paired"]["folder"] / "gate.json").read_text())
    assert mistakes(kept) == [] and set(kept) - set(document) == KEPT
    assert mistakes(without(kept, ("losses",))), "all that gate.json has, or none of it"


def test_a_self_test_and_a_head_that_does_not_import_fit_and_know_their_limits(
    llmbench: Llmbench, tmp_path: Path
) -> None:
    simulated_repository(tmp_path)
    itself = json.loads(llmbench("gate", "self-test", "suite.yaml", "--pairs", "5", "--json").stdout)
    assert mistakes(itself) == [] and itself["paired"]["self_test"]
    write(tmp_path, {"sim_kernels.py": "import nothing_there\n"})
    args = ("gate", "paired", "suite.yaml", "--base", "main", "--json", "--junit", "out.xml")
    broken = json.loads(llmbench(*args, rc=1).stdout)
    assert mistakes(broken) == [] and broken["counts"] == {"BROKEN": 1}
    assert broken["limits"] == itself["limits"] and broken["limits"]["time"] == 0.03
    assert "None" not in (tmp_path / "out.xml").read_text()
