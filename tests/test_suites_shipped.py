"""The suites that come with llmbench do what their first line promises, and their dashboards draw it."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from llmbench.report.dashboard import dashboard_for, load_dashboard
from llmbench.report.panels.data import page_data
from llmbench.report.panels.draw import draw_all
from llmbench.store.query import Run, read_run
from llmbench.suite.bundled import bundled_suites

Llmbench = Callable[..., "subprocess.CompletedProcess[str]"]
S = (256, 512, 1024, 2048, 4096)


NARROWER = {  # where even the ends of the axes are many slow steps
    "checkpointing": ["layers=4"], "train_step": ["attention=sdpa_flash", "batch=accumulated"],
    "cross_entropy": ["vocab=4096"], "optimizers": ["num_params=65536"],
}  # fmt: skip
OVERFLOWS = "attention_precision"  # shows where float16 does: that case is wrong, and the run says so


def measured(llmbench: Llmbench, tmp_path: Path, *args: str) -> Run:
    """The run of these arguments."""
    done = llmbench("run", *args, "--json", rc=6 if args[0] == OVERFLOWS else 0)
    return read_run(tmp_path / json.loads(done.stdout)["folder"])


def peaks(run: Run) -> dict[tuple[str, int], float]:
    """`peak_memory` by case and process."""
    return {(r.case_id, r.process): r.value or 0.0 for r in run.rows if r.metric == "peak_memory"}


def fit(values: Mapping[int, float], degree: int) -> tuple[float, float]:
    """R² of a polynomial in S, and the share of its highest term at the largest S."""
    x, y = np.array(list(values), float), np.array(list(values.values()))
    coefficients = np.polyfit(x, y, degree)
    residual, total = ((y - np.polyval(coefficients, x)) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return 1 - residual / total, coefficients[0] * x[-1] ** degree / y[-1]


@pytest.mark.slow
def test_memory_grows_with_the_square_of_s_in_naive_and_with_s_in_tiled(llmbench: Llmbench, tmp_path: Path) -> None:
    run = measured(llmbench, tmp_path, "memory")
    for impl in ("naive", "tiled"):
        for phase in ("fwd", "fwd_bwd"):
            rows = [r for r in run.rows if (r.impl, r.phase, r.metric) == (impl, phase, "peak_memory")]
            values = {int(r.params["seq_len"]): float(r.value or 0) for r in rows}
            assert tuple(values) == S
            r2, share = fit(values, 2)
            if impl == "naive":
                assert r2 > 0.999 and share > 0.8
            else:
                assert abs(share) < 0.02
                assert fit(values, 1)[0] > 0.999
    again = peaks(measured(llmbench, tmp_path, "memory", "--only", "seq_len=256,1024"))
    assert len(again) == 8
    assert again == {key: value for key, value in peaks(run).items() if key in again}


@pytest.mark.slow
@pytest.mark.parametrize("suite", [s.name for s in bundled_suites()])
def test_a_shipped_suite_has_a_dashboard_that_draws_its_quick_run(
    suite: str, llmbench: Llmbench, tmp_path: Path
) -> None:
    only = [word for text in NARROWER.get(suite, []) for word in ("--only", text)]
    run = measured(llmbench, tmp_path, suite, "--quick", *only)
    assert dashboard_for([run]).stem in (suite, run.manifest.header.suite.op.name)
    panels = draw_all(load_dashboard(None, [run]), page_data([run]))
    assert len(panels) >= 3
    assert all(panel.traces or panel.rows or panel.why_empty for panel in panels)
    assert sum(bool(panel.traces) for panel in panels) >= 2
    wrong = {(r.impl, r.params["dtype"], r.params["logit_scale"]) for r in run.rows if r.status == "wrong"}
    assert wrong == ({("naive", "float16", 12288.0)} if suite == OVERFLOWS else set())
    llmbench("report", "latest", "--html", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert all(f'id="{panel.anchor}"' in page for panel in panels)
