"""What `compare` tells beside the ratios: code that changed, and that two runs have nothing in common."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from example_runs import STEADY, make_suite, stored_run
from rich.console import Console

from llmbench.analyze.compare import Comparison, compare
from llmbench.report import compare_table
from llmbench.store.origin import read_evidence

Command = Callable[..., "CompletedProcess[str]"]
CODE = {"naive": "one", "flash": "one", "flex": "two"}
SLOW = [1.3 * t for t in STEADY]
ALL = dict.fromkeys(CODE, STEADY)


def compared(folder: Path, a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    """Two stored runs, compared."""
    return compare(read_evidence(stored_run(folder / "a", **a)), read_evidence(stored_run(folder / "b", **b)))


def printed(comparison: Comparison, *, everything: bool = False) -> str:
    out = io.StringIO()
    compare_table.show(comparison, Console(file=out, width=100), everything=everything)
    return out.getvalue()


def test_runs_without_a_common_case_are_refused_in_one_message(llmbench: Command, tmp_path: Path) -> None:
    stored_run(tmp_path / "a", {"flash": STEADY, "naive": STEADY})
    stored_run(tmp_path / "b", {"flash": STEADY}, suite=make_suite(name="other", fixed={"batch": 2}))
    stored_run(tmp_path / "none", {})
    for form in ((), ("--json",), ("--html", "page.html")):
        done = llmbench("compare", "a", "b", *form, rc=2)
        assert done.stderr == (
            "llmbench: no case is in both runs: A a has 2 cases of suite attention, B b has 1 case of suite other; "
            "wanted: two runs that share op, implementations, phases and parameters, as two runs of one suite on the "
            "same kind of device do\n"
        )
        assert not done.stdout and not (tmp_path / "page.html").exists()
    assert "B none has 0 cases" in llmbench("compare", "a", "none", rc=2).stderr
    stored_run(tmp_path / "less", {"flash": STEADY})
    assert "only in A  naive fwd" in llmbench("compare", "a", "less").stdout


def test_changed_code_is_told_in_the_head_and_where_not_all_that_changed_share_it(tmp_path: Path) -> None:
    a = {"times": ALL, "hashes": CODE}
    b = {"times": {"naive": SLOW, "flash": STEADY, "flex": SLOW}, "hashes": {**CODE, "naive": "new", "flash": "new"}}
    found = compared(tmp_path, a, b)
    assert {p.facts["impl"]: p.code_changed for p in found.pairs} == {"naive": True, "flash": True, "flex": False}
    assert [p.notes for p in found.pairs if p.facts["impl"] == "naive"] == [("code of the implementation changed",)]
    text = printed(found)
    assert "code changed: flash, naive (the file that holds the implementation)" in text.splitlines()
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("naive fwd"))
    assert lines[at + 1].strip() == "code of the implementation changed"
    assert sum("of the implementation changed" in line for line in lines) == 1
    assert not any("code" in warning for warning in found.warnings)
    markdown = compare_table.render(found)
    assert "- **code changed**: flash, naive (" in markdown
    assert "| worse; code of the implementation changed |" in markdown
    document = json.loads(compare_table.document(found))
    assert document["code_changed"] == ["flash", "naive"]
    assert sum(c["code_changed"] for c in document["cases"]) == 2


def test_changed_code_that_all_that_changed_share_is_said_once(tmp_path: Path) -> None:
    failed = {"flex": ("error", "boom")}
    a = {"times": ALL, "hashes": CODE}
    b = {"times": {"naive": SLOW, "flash": STEADY}, "failed": failed,
         "hashes": {"naive": "new", "flash": "one", "flex": "new"}}  # fmt: skip
    for text in (
        printed(compared(tmp_path, a, b), everything=True),
        compare_table.render(compared(tmp_path / "x", a, b)),
    ):
        assert text.count("flex, naive (the file that holds") == 1
        assert "code of the implementation changed" not in text


def test_code_that_is_not_known_is_not_told_as_changed(tmp_path: Path) -> None:
    found = compared(tmp_path, {"times": {"flash": STEADY}, "hashes": CODE}, {"times": {"flash": STEADY}})
    assert [p.code_changed for p in found.pairs] == [None]
    assert "code changed" not in printed(found) and found.code_changed == ()
