"""Benchmarks of reports: a run of 100,000 rows through the command line, as a table and as a page.

Only `make perf` runs them: tests/test_report_page.py makes the same page.
"""

import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.append(str(Path(__file__).parents[1]))
from command_line import llmbench_in
from large_run import large_run


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run lies, as `large`."""
    if request.config.getoption("--benchmark-disable"):
        pytest.skip("minutes for a figure that is not asked for")
    found = tmp_path_factory.mktemp("report")
    large_run(found / "large", rows=100_000)
    return found


@pytest.mark.parametrize("options", [(), ("--html", "page.html")], ids=["table", "page"])
def test_a_report_of_100_000_rows(benchmark: BenchmarkFixture, folder: Path, options: tuple[str, ...]) -> None:
    done = benchmark.pedantic(llmbench_in, args=(folder, "report", "large", *options), rounds=3)
    assert done.returncode == 0
