"""Dashboards: their form, the names that runs know, the whole message for each way to get one wrong, and the choice."""

from dataclasses import replace
from pathlib import Path

import pytest
from example_runs import OP, make_row, make_run, make_suite

from llmbench.errors import SuiteError, UsageError
from llmbench.metrics import METRICS
from llmbench.report.dashboard import check, dashboard_for, load_dashboard, parse_dashboard, read_dashboard
from llmbench.report.dashboard_form import KINDS
from llmbench.report.dashboard_names import ALL_METRICS, FACTS
from llmbench.report.dashboard_schema import dashboard_schema
from llmbench.report.panels.data import page_data
from llmbench.report.panels.draw import draw
from llmbench.suite.bundled import bundled, find, names
from llmbench.suite.catalog import OpSpec, ParamSpec
from llmbench.suite.document import parse_document

TOP = "title: T\npanels:\n"
ALL_KINDS = ", ".join(KINDS)

MALFORMED = {
    "wrong_kind": (TOP + "  - {kind: swep, y: time}\n", "d.yaml:3:12: panels[0].kind is 'swep'; did you mean 'sweep'?"),
    "far_kind": (TOP + "  - {kind: qqqq}\n", f"d.yaml:3:12: panels[0].kind is 'qqqq'; known: {ALL_KINDS}"),
    "kind_of_another_type": (TOP + "  - {kind: 3}\n", f"d.yaml:3:12: panels[0].kind is 3; known: {ALL_KINDS}"),
    "kind_missing": (
        TOP + "  - {y: time}\n", f"d.yaml:3:5: panels[0] has no key 'kind', which it needs; known: {ALL_KINDS}",
    ),
    "unknown_metric": (
        TOP + "  - {kind: sweep, y: flops_per_s}\n",
        "d.yaml:3:22: panels[0].y is 'flops_per_s', which is not a metric, parameter or axis of op 'attention'; "
        "did you mean 'flop_per_s'?",
    ),
    "unknown_axis": (
        TOP + "  - {kind: sweep, x: seqlen, y: time}\n",
        "d.yaml:3:22: panels[0].x is 'seqlen', which is not a metric, parameter or axis of op 'attention'; "
        "did you mean 'seq_len'?",
    ),
    "unknown_color": (
        TOP + "  - {kind: sweep, y: time, color: imp}\n",
        "d.yaml:3:35: panels[0].color is 'imp', which is not a parameter or axis of op 'attention'; "
        "did you mean 'impl'?",
    ),
    "metric_as_facet": (
        TOP + "  - {kind: sweep, y: time, facet: time}\n",
        "d.yaml:3:35: panels[0].facet is 'time', which is a metric; wanted a parameter or axis of op 'attention'",
    ),
    "parameter_as_metric": (
        TOP + "  - {kind: heatmap, z: tim}\n",
        "d.yaml:3:24: panels[0].z is 'tim', which is not a metric; did you mean 'time'?",
    ),
    "unsampled_metric": (
        TOP + "  - {kind: distribution, metric: flop_per_s}\n",
        "d.yaml:3:34: panels[0].metric is 'flop_per_s', which is not a metric that is sampled; known: "
        + ", ".join(METRICS),
    ),
    "option_of_another_kind": (
        TOP + "  - {kind: bars, y: time, band: ci}\n",
        "d.yaml:3:27: panels[0].band is not an option of kind 'bars'; known: kind, title, note, where, facet, row, y, "
        "x, color, log",
    ),
    "near_option": (
        TOP + "  - {kind: sweep, y: time, facets: heads}\n",
        "d.yaml:3:28: panels[0].facets is not an option of kind 'sweep'; did you mean 'facet'?",
    ),
    "wrong_type": (
        TOP + "  - {kind: sweep, y: 3}\n", "d.yaml:3:22: panels[0].y is 3; wanted a name of letters, digits, _ . and -",
    ),
    "needed_option": (TOP + "  - {kind: sweep, x: seq_len}\n", "d.yaml:3:5: panels[0] has no key 'y', which it needs"),
    "wrong_band": (
        TOP + "  - {kind: sweep, y: time, band: iq}\n", "d.yaml:3:34: panels[0].band is 'iq'; wanted ci or none",
    ),
    "wrong_log": (
        TOP + "  - {kind: sweep, y: time, log: [z]}\n", "d.yaml:3:34: panels[0].log[0] is 'z'; wanted x or y",
    ),
    "repeated_log": (TOP + "  - {kind: sweep, y: time, log: [x, x]}\n", "d.yaml:3:37: panels[0].log[1] repeats 'x'"),
    "too_many_logs": (
        TOP + "  - {kind: sweep, y: time, log: [x, y, x]}\n",
        "d.yaml:3:33: panels[0].log has too many entries; wanted at most 2",
    ),
    "log_is_no_list": (
        TOP + "  - {kind: sweep, y: time, log: x}\n", "d.yaml:3:33: panels[0].log is 'x'; wanted a list",
    ),
    "wrong_exponent": (
        TOP + "  - {kind: complexity, theory: {naive: two}}\n",
        "d.yaml:3:40: panels[0].theory.naive is 'two'; wanted an exponent, a number between -10 and 10",
    ),
    "theory_of_a_stranger": (
        TOP + "  - {kind: complexity, theory: {naiv: 2}}\n",
        "d.yaml:3:33: panels[0].theory.naiv is not an implementation of op 'attention'; did you mean 'naive'?",
    ),
    "too_many_cases": (
        TOP + "  - {kind: distribution, cases: 99}\n",
        "d.yaml:3:33: panels[0].cases is 99; wanted an integer from 1 to 12",
    ),
    "where_of_a_stranger": (
        TOP + "  - {kind: table, where: {seqlen: 3}}\n",
        "d.yaml:3:27: panels[0].where.seqlen is not a parameter or axis of op 'attention'; did you mean 'seq_len'?",
    ),
    "where_of_another_type": (
        TOP + "  - {kind: table, where: {seq_len: long}}\n",
        "d.yaml:3:36: panels[0].where.seq_len is 'long'; wanted an integer",
    ),
    "where_of_an_unknown_impl": (
        TOP + "  - {kind: table, where: {impl: [naive, flashy]}}\n",
        "d.yaml:3:41: panels[0].where.impl[1] is 'flashy', which is not an implementation of op 'attention'; "
        "did you mean 'flash'?",
    ),
    "where_of_an_unknown_bundle": (
        TOP + "  - {kind: table, where: {heads: mga}}\n",
        "d.yaml:3:34: panels[0].where.heads is 'mga', which is not a value of heads of op 'attention'; "
        "did you mean 'mha'?",
    ),
    "where_of_an_unknown_status": (
        TOP + "  - {kind: table, where: {status: [ok, oomm]}}\n",
        "d.yaml:3:40: panels[0].where.status[1] is 'oomm', which is not a status; did you mean 'oom'?",
    ),
    "unknown_part": (
        TOP + "  - {kind: stacked, part: [forwrd]}\n",
        "d.yaml:3:28: panels[0].part[0] is 'forwrd', which is not a part of time; did you mean 'forward'?",
    ),
    "facet_is_row": (
        TOP + "  - {kind: sweep, y: time, facet: heads, row: heads}\n",
        "d.yaml:3:47: panels[0].row is 'heads', as facet is",
    ),
    "unknown_column": (
        TOP + "  - {kind: table, columns: [impl, tme]}\n",
        "d.yaml:3:35: panels[0].columns[1] is 'tme', which is not a metric, parameter or axis of op 'attention'; "
        "did you mean 'time'?",
    ),
    "empty_panels": ("title: T\npanels: []\n", "d.yaml:2:9: panels is empty; wanted at least one"),
    "panels_missing": ("title: T\n", "d.yaml:1:1: the dashboard has no key 'panels', which it needs"),
    "panels_is_no_list": ("title: T\npanels: {}\n", "d.yaml:2:9: panels is a mapping; wanted a list"),
    "panel_is_a_name": (TOP + "  - sweep\n", "d.yaml:3:5: panels[0] is 'sweep'; wanted a mapping with a kind"),
    "title_of_another_type": (
        "title: 3\npanels: [{kind: table}]\n", "d.yaml:1:8: title is 3; wanted a text of 1 to 300 characters",
    ),
    "unknown_key": (
        "title: T\npanel: []\npanels: [{kind: table}]\n",
        "d.yaml:2:1: panel is not a key of a dashboard; did you mean 'panels'?",
    ),
    "key_twice": (
        TOP + "  - {kind: table, kind: status}\n", "d.yaml:3:19: the key 'kind' is given twice; the first is in line 3",
    ),
    "panel_twice": (
        TOP + "  - {kind: table}\n  - {kind: status}\n  - {kind: table}\n", "d.yaml:5:5: panels[2] repeats panels[0]",
    ),
}  # fmt: skip


NEEDS_A_RUN = {
    "unknown_axis", "unknown_color", "unknown_metric", "metric_as_facet", "theory_of_a_stranger", "where_of_a_stranger",
    "where_of_another_type", "where_of_an_unknown_impl", "where_of_an_unknown_bundle", "where_of_an_unknown_status",
    "unknown_part", "unknown_column", "facet_is_row",
}  # fmt: skip
"""Mistakes that a schema cannot see: whether a parameter has that name."""


@pytest.mark.parametrize("name", MALFORMED)
def test_a_mistake_is_told_with_its_place_and_the_nearest_name(name: str) -> None:
    text, message = MALFORMED[name]
    with pytest.raises(SuiteError) as caught:
        check(parse_dashboard(text, path="d.yaml"), [make_run([make_row(metric="time", part="forward", value=1e-3)])])
    assert str(caught.value) == message


def test_the_first_mistake_in_the_text_is_the_one_that_is_told() -> None:
    text = TOP + "  - {kind: sweep, y: tme}\n  - {kind: sweep, y: tim}\n"
    with pytest.raises(SuiteError, match=r"d\.yaml:3:22: .*'tme'"):
        check(parse_dashboard(text, path="d.yaml"), [make_run([])])


def test_every_option_is_read() -> None:
    text = TOP + (
        "  - {kind: sweep, title: A, where: {phase: fwd, impl: [naive, flash]}, x: batch, y: time, color: dtype,\n"
        "     facet: heads, row: phase, band: none, log: [y]}\n"
        "  - {kind: complexity, y: time, theory: {naive: 2, flash: 1.5}}\n"
    )
    dashboard = parse_dashboard(text)
    check(dashboard, [make_run([])])
    first, second = dashboard.panels
    assert first.where == {"phase": ("fwd",), "impl": ("naive", "flash")}
    assert (first.x, first.y, first.color, first.facet, first.row) == ("batch", "time", "dtype", "heads", "phase")
    assert (first.title, first.band, first.log) == ("A", "none", ("y",))
    assert second.theory == {"naive": 2.0, "flash": 1.5}
    assert second.log is None


def test_any_metric_parameter_bundle_or_fact_can_be_an_axis() -> None:
    for x in (
        "time",
        "intensity",
        "speedup",
        "seq_len",
        "heads",
        "impl",
        "device",
        "commit",
        "run",
        "process",
        "status",
    ):
        check(parse_dashboard(TOP + f"  - {{kind: sweep, x: {x}, y: batch}}\n"), [make_run([])])


def test_a_bundle_of_any_run_is_known() -> None:
    plain = make_suite(axes=(make_suite().axes[0],))
    dashboard = parse_dashboard(TOP + "  - {kind: sweep, y: time, facet: heads}\n")
    check(dashboard, [make_run([], plain), make_run([])])
    with pytest.raises(SuiteError, match="heads"):
        check(dashboard, [make_run([], plain)])


def test_the_dashboard_is_that_of_the_suite_then_of_the_op_then_the_default() -> None:
    mine = make_suite(name="mine")
    other = replace(mine, op=replace(OP, name="nothing"))
    assert dashboard_for([make_run([], mine), make_run([], mine)]).stem == "default"  # attention.yaml knows more impls
    assert dashboard_for([make_run([], replace(mine, op=_wide()))]).stem == "attention"
    assert dashboard_for([make_run([], replace(mine, op=_wide(), name="smoke"))]).stem == "smoke"
    assert dashboard_for([make_run([], other)]).stem == "default"
    both = [make_run([], replace(mine, op=_wide())), make_run([], replace(mine, op=_wide(), name="b"))]
    assert dashboard_for(both).stem == "attention"


def test_a_namesake_that_names_what_the_op_does_not_have_is_passed_over() -> None:
    stranger = make_suite(name="smoke", op=OpSpec("x", 1, "", (ParamSpec("n", "int", 1),), ("fwd",), OP.impls), axes=())
    assert dashboard_for([make_run([], stranger)]).stem == "default"
    assert load_dashboard(None, [make_run([], stranger)]).title == "smoke"


def test_a_dashboard_without_a_title_has_that_of_the_suites(tmp_path: Path) -> None:
    mine, other = (make_run([], make_suite(name=name, op=replace(OP, name="x"))) for name in ("mine", "other"))
    assert load_dashboard(None, [mine, mine]).title == "mine"
    assert load_dashboard("default", [mine, other]).title == "mine and other"
    path = tmp_path / "d.yaml"
    path.write_text(TOP + "  - {kind: table}\n")
    assert load_dashboard(path, [mine]).title == "T"


def test_parts_and_notes_are_names_where_they_are_known() -> None:
    check(parse_dashboard(TOP + "  - {kind: stacked, part: [forwrd]}\n"), [make_run([])])  # nothing was recorded
    check(parse_dashboard(TOP + "  - {kind: table, columns: [impl, notes]}\n"), [make_run([])])
    assert draw(
        parse_dashboard(TOP + "  - {kind: table, columns: [notes]}\n").panels[0], page_data([make_run([make_row()])])
    ).columns == ("notes",)
    assert invalid(TOP + "  - {kind: table, columns: [notes]}\n") == []


def test_every_suite_shipped_has_a_dashboard_and_each_says_what_it_shows() -> None:
    assert set(names()) <= set(names(kind="dashboards"))
    assert all(len(found.summary) > 20 for found in bundled(kind="dashboards"))


@pytest.mark.parametrize("name", names(kind="dashboards"))
def test_a_bundled_dashboard_has_the_right_form(name: str) -> None:
    assert read_dashboard(name).panels


def invalid(text: str | bytes) -> list[str]:
    """What the schema has against a dashboard."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = dashboard_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(parse_document(text).data)]


@pytest.mark.parametrize("name", names(kind="dashboards"))
def test_the_schema_takes_every_bundled_dashboard(name: str) -> None:
    assert invalid(find(name, kind="dashboards").read_bytes()) == []


@pytest.mark.parametrize("name", [n for n in MALFORMED if n != "key_twice"])
def test_the_schema_sees_every_mistake_that_needs_no_run(name: str) -> None:
    assert bool(invalid(MALFORMED[name][0])) is (name not in NEEDS_A_RUN)


def test_the_schema_lists_the_names_that_the_loader_goes_by_and_describes_every_option() -> None:
    kinds = dashboard_schema()["$defs"]
    assert set(kinds) == set(KINDS)
    assert kinds["heatmap"]["properties"]["z"]["enum"] == list(ALL_METRICS)
    assert kinds["distribution"]["properties"]["metric"]["enum"] == list(METRICS)
    assert kinds["sweep"]["properties"]["x"]["anyOf"][0]["enum"] == [*ALL_METRICS, *FACTS]
    assert invalid(TOP + "  - {kind: heatmap, z: tim}\n") == [f"'tim' is not one of {list(ALL_METRICS)!r}"]
    assert invalid(TOP + "  - {kind: swep}\n") == [f"'swep' is not one of {list(KINDS)!r}"]
    options = [o for kind in kinds.values() for o in kind["properties"].values()]
    assert all(o["description"] for o in (*options, *dashboard_schema()["properties"].values(), *kinds.values()))


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UsageError, match="neither a file nor a bundled dashboard; did you mean 'attention'"):
        read_dashboard("atention")


def test_a_file_is_read_and_named_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TOP + "  - {kind: table}\n")
    assert load_dashboard(path, [make_run([make_row()])]).path == str(path)
    path.write_text(TOP + "  - {kind: tabel}\n")
    with pytest.raises(SuiteError) as caught:
        load_dashboard(path, [make_run([])])
    assert str(caught.value) == f"{path}:3:12: panels[0].kind is 'tabel'; did you mean 'table'?"


def _wide() -> OpSpec:
    """The op with every implementation that the bundled dashboards name."""
    more = (
        "tiled", "sdpa_math", "sdpa_flash", "sdpa_efficient", "sdpa_cudnn", "triton_flash", "flash_attn", "flash_attn4",
    )  # fmt: skip
    return replace(OP, impls=(*OP.impls, *(replace(OP.impls[0], name=name) for name in more)))
