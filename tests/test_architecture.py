"""The rules that hold the house up: who imports whom, what parent and worker need, where printing is allowed."""

import ast
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    {"cli"},
    {"run", "report", "analyze"},
    {"store"},
    {"ops", "measure"},
    {"kernels", "machine", "suite"},
)
"""Top to bottom; every other module of the package is a base module, below them all."""
BASE = {"", "errors", "codec", "orderstat", "metrics", "files"}
LONGEST = 320  # lines
PARENT_ONLY = {
    "pydantic", "pandas", "pyarrow", "typer", "click", "rich", "scipy", "ruamel", "psutil", "filelock",
    "platformdirs", "plotly",
}  # fmt: skip
WORKER_NEEDS = {"torch", "numpy", "pynvml", "llmbench"} | set(sys.stdlib_module_names)
PROGRAMS = {"llmbench.run.serve", "llmbench.run.timers.child"}  # beside cli/, the only ones that print and exit


class Import(NamedTuple):
    """An import statement: what it names, and whether it runs when its module is imported."""

    module: str
    deferred: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted((ROOT / "llmbench").rglob("*.py")) if "_bundled" not in path.parts}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def imports_of(name: str) -> Iterator[Import]:
    """Every import of a module; `from package import module` as that module."""
    for node, deferred in _walk(TREES[name], False):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} line {node.lineno}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(inner if inner in TREES else str(node.module), deferred)


def _walk(node: ast.AST, deferred: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, deferred
        inside = deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, inside)


IMPORTS = {name: set(imports_of(name)) for name in TREES}


def ours(name: str) -> set[str]:
    """The modules of llmbench that a module imports, at once or deferred."""
    return {i.module for i in IMPORTS[name] if i.module.partition(".")[0] == "llmbench"} - {name}


def part(name: str) -> str:
    """`run` of `llmbench.run.worker`, `errors` of `llmbench.errors`."""
    return [*name.split("."), ""][1]


def level(name: str) -> int:
    """0 for the top layer; below all layers for a base module."""
    return next((i for i, layer in enumerate(LAYERS) if part(name) in layer), len(LAYERS))


def closure(*roots: str) -> set[str]:
    """What importing these modules imports, with the packages above each, and what is not ours by its top name."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in TREES:
            waiting += [name.rpartition(".")[0]] if "." in name else []
            waiting += [
                i.module if i.module in TREES else i.module.partition(".")[0] for i in IMPORTS[name] if not i.deferred
            ]
    return found


def test_every_module_is_in_a_layer_or_a_base_module() -> None:
    layered = set().union(*LAYERS)
    assert {part(name) for name in TREES} - layered - {"__main__"} == BASE


def test_imports_run_downwards_or_within_a_layer() -> None:
    upwards = [
        f"{name} -> {other}"
        for name in TREES
        for other in ours(name)
        if part(name) != "__main__" and level(other) < level(name)
    ]
    assert not upwards


def test_no_circle_of_imports_deferred_ones_included() -> None:
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(ours(name) & set(TREES)):
                visit(other, (*way, name))
            done.add(name)

    for name in TREES:
        visit(name, ())


def test_kernels_import_nothing_of_llmbench_outside_kernels() -> None:
    assert [(n, o) for n in TREES if part(n) == "kernels" for o in ours(n) if part(o) != "kernels"] == []


def test_ops_and_measure_meet_in_the_worker_alone() -> None:
    sides = {name: {part(other) for other in ours(name)} & {"ops", "measure"} for name in TREES}
    assert not [n for n, met in sides.items() if part(n) in ("ops", "measure") and met - {part(n)}]
    assert [name for name, met in sides.items() if met == {"ops", "measure"}] == ["llmbench.run.worker"]
    users = {name for name, met in sides.items() if met and part(name) not in ("ops", "measure", "run")}
    assert users <= {"llmbench.report.panels.timeline"}  # reads what a throttle reason means


@pytest.mark.parametrize("name", [n for n in TREES if part(n) in ("cli", "report", "analyze", "store")])
def test_the_parent_never_reaches_torch(name: str) -> None:
    deferred = {i.module for i in IMPORTS[name] if i.deferred and i.module in TREES}
    reached = closure(name, *deferred)
    assert "torch" not in reached
    assert not {m for m in reached if part(m) in ("ops", "kernels")}
    assert not reached & {"llmbench.run.worker", "llmbench.run.serve", "llmbench.run.telemetry", "llmbench.run.limits"}


def test_no_deferred_import_hides_torch_from_the_parent() -> None:
    reached = closure(*(n for n in TREES if part(n) == "cli"))
    hidden = [
        (name, i.module)
        for name in reached & set(TREES)
        for i in IMPORTS[name]
        if i.deferred and "torch" in closure(i.module if i.module in TREES else i.module.partition(".")[0])
    ]
    assert not hidden


def test_the_worker_needs_torch_numpy_and_the_standard_library_alone() -> None:
    reached = closure("llmbench.run.serve")
    assert {"torch", "llmbench.run.worker", "llmbench.ops.attention"} <= reached, "the closure is not followed"
    foreign = {m for m in reached if m not in TREES}
    assert foreign <= WORKER_NEEDS, foreign - WORKER_NEEDS
    deferred = {i.module.partition(".")[0] for n in reached & set(TREES) for i in IMPORTS[n] if i.deferred}
    assert not deferred & PARENT_ONLY


def test_the_path_to_a_worker_on_a_bare_machine_needs_no_typer() -> None:
    foreign = {m for m in closure("llmbench.__main__", "llmbench.cli.worker") if m not in TREES}
    assert foreign <= set(sys.stdlib_module_names), foreign


def test_printing_and_exiting_are_the_command_lines() -> None:
    found = []
    for name, tree in TREES.items():
        if part(name) == "cli" or name in PROGRAMS:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.exit", "exit", "quit"):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node.func)}")
    assert not found


def test_no_file_is_longer_than_a_noun() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_every_file_opens_with_a_sentence() -> None:
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_an_import_is_deferred_only_for_what_it_costs() -> None:
    stdlib = set(sys.stdlib_module_names)
    needless = [
        f"{name} -> {i.module}"
        for name in TREES
        for i in IMPORTS[name]
        if i.deferred and i.module in TREES and part(i.module) != "cli"  # a command waits until it is asked for
        and not {m for m in closure(i.module) if m not in TREES} - stdlib
    ]  # fmt: skip
    assert not needless


def test_no_file_keeps_both_sides_of_a_merge() -> None:
    kinds = {".py", ".md", ".yaml", ".yml", ".toml", ".json", ".sh"}
    folders = [ROOT / name for name in ("llmbench", "tests", "docs", "suites", "dashboards")]
    files = [
        path for path in (*ROOT.iterdir(), *chain.from_iterable(f.rglob("*") for f in folders)) if path.suffix in kinds
    ]
    assert len(files) > 400
    assert [f"{path}" for path in files if re.search(r"^(<{7} |>{7} |={7}$)", path.read_text(), re.MULTILINE)] == []
