"""Bundled dashboards on runs that lack what they name."""

from pathlib import Path

import pytest
from example_runs import make_row, make_run, make_suite

from llmbench.errors import SuiteError
from llmbench.report.dashboard import load_dashboard
from llmbench.report.panels.data import page_data
from llmbench.report.panels.draw import draw
from llmbench.suite.bundled import find


def test_a_bundled_dashboard_goes_without_axes_that_the_runs_do_not_have_and_says_so(tmp_path: Path) -> None:
    run = make_run([make_row()], make_suite(axes=(make_suite().axes[0],)))
    found = load_dashboard("attention", [run])
    first, law = found.panels[0], found.panels[3]
    assert (first.x, first.facet, first.row, law.theory) == ("seq_len", None, "phase", {"naive": 2.0})
    told = "Without the dashboard's facet heads, which these runs do not have."
    assert draw(first, page_data([run])).caption.endswith(told)
    own = tmp_path / "attention.yaml"
    own.write_bytes(find("attention", kind="dashboards").read_bytes())
    with pytest.raises(SuiteError, match="facet is 'heads', which is not a parameter"):
        load_dashboard(own, [run])
