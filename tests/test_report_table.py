"""The terminal's table: what it shows at which width, and that text from records is only ever text."""

import io
from dataclasses import replace
from typing import get_args

import pytest
from example_runs import cases_of, make_row, make_run, make_suite, time_row
from rich.cells import cell_len
from rich.console import Console

from llmbench.analyze.summary import Flag, FlagName, summarise
from llmbench.report import table
from llmbench.report.words import letters_of
from llmbench.store.record import WORST_FIRST

WIDTHS = [80, 100, 160]


def printed(rows, width=100, suite=None, **header):
    """What the table of a run of these rows looks like on a file."""
    out = io.StringIO()
    table.show(summarise(make_run(rows, suite, **header)), Console(file=out, width=width))
    return out.getvalue()


def timed(samples=((2e-3,), (1e-3,), (4e-3,)), **changes):
    """Two points of three implementations."""
    cases = cases_of(make_suite())
    return [time_row(c, samples=list(samples[i % 3]) * 10, flop=1e11, **changes) for i, c in enumerate(cases)]


def line_of(text, start):
    return next(line for line in text.splitlines() if line[2:].startswith(start))


def test_a_line_reads_time_rate_peak_and_speedup():
    text = printed(timed())
    assert line_of(text, "naive").split() == [
        "naive", "2.000", "ms", "±0.00%", "50.0", "5.1%", "0.500x", "[0.500,", "0.500]",
    ]  # fmt: skip
    assert line_of(text, "flash").split()[-1] == "baseline"
    assert next(line for line in text.splitlines() if line.startswith("* ")).startswith("* flash")


def test_every_line_that_is_not_told_from_the_fastest_is_marked():
    text = printed(timed(((1e-3, 1.5e-3), (1e-3, 1.5e-3), (4e-3,))))
    marked = [line.split()[1] for line in text.splitlines() if line.startswith("* ") and " ms " in line]
    assert marked == ["naive", "flash"] * 2
    assert "* fastest of its point, or not told from it" in " ".join(text.split())


def test_points_are_titled_by_what_varies_and_constants_said_once():
    text = printed(timed())
    assert "fwd heads=mha" in text
    assert "fwd heads=gqa" in text
    assert text.count("seq_len=512") == 1
    assert "heads      mha: num_kv_heads=8 · gqa: num_kv_heads=2" in text


def test_an_unknown_device_has_no_column_of_peaks():
    assert "% peak" in printed(timed())
    assert "% peak" not in printed(timed(device_name="Someone's GPU"))


def test_an_op_that_moves_bytes_is_shown_in_bandwidth():
    rows = [replace(r, flop=1e9, bytes=2e9) for r in timed()]
    text = printed(rows)
    assert "GB/s" in text
    assert line_of(text, "naive").split()[4] == "1000"


@pytest.mark.parametrize("width", [40, *WIDTHS])
def test_no_line_is_wider_than_the_terminal(width):
    rows = [*timed(), make_row(cases_of(make_suite(phases=("bwd",)))[0], status="oom", why="too big " * 40)]
    text = printed(rows, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_narrow_terminal_gives_up_the_interval_first():
    assert "95 % CI" not in printed(timed(), 60).splitlines()[-12]
    wide, narrow = printed(timed(), 100), printed(timed(), 60)
    assert "[0.500, 0.500]" in wide
    assert "[0.500, 0.500]" not in narrow
    assert "0.500x" in narrow
    assert "no room for" not in wide and "no room for 95 % CI" in " ".join(narrow.split()), "which is told"


def test_updates_that_loss_scaling_skipped_stand_beside_the_time():
    rows = [*timed(), make_row(cases_of(make_suite())[0], metric="skipped_steps", value=7.0)]
    assert "steps skipped 7" in printed(rows, 200) and "steps skipped" not in printed(timed(), 200)
    assert "1 case with updates that loss scaling skipped" in " ".join(printed(rows, 200).split())


@pytest.mark.parametrize("status", WORST_FIRST[:-1])
def test_every_status_is_shown_with_its_reason(status):
    text = printed([*timed()[:2], make_row(cases_of(make_suite())[2], status=status, why="the reason")])
    assert line_of(text, "flex").split() == ["flex", status] or status == "unavailable"
    assert text.count("the reason") == 1


def test_what_is_unavailable_everywhere_is_said_once():
    rows = [r if r.impl != "flex" else make_row_like(r) for r in timed()]
    text = printed(rows)
    assert text.count("  flex") == 1
    assert text.count("no module named flex") == 1


def make_row_like(row):
    return replace(row, status="unavailable", why="no module named flex", metric=None, value=None)


def test_reasons_that_differ_in_numbers_alone_are_said_once():
    cases = [c for c in cases_of(make_suite()) if c.impl == "naive"]
    failed = [make_row(c, status="oom", why=f"tried {i + 1}.5 GiB") for i, c in enumerate(cases)]
    text = printed([*failed, *[r for r in timed() if r.impl != "naive"]])
    tail = text[text.index("Without a result") :]
    assert "naive: oom" in tail
    assert "tried 1.5 GiB" in tail
    assert "tried 2.5 GiB" not in tail
    rows = [line.split() for line in text.splitlines() if line.startswith("  naive ")]
    assert rows == [["naive", "oom"], ["naive", "oom:", "tried", "2.5", "GiB"]]  # what is not told below stays


def test_a_reason_says_where_it_holds_in_the_fewest_words():
    rows = timed()
    rows[5] = make_row(cases_of(make_suite())[5], status="error", why="boom")
    assert "flex (heads=gqa): error" in printed(rows)


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_text_is_shown_as_text(width):
    hostile = "[bold]x[/bold] a|b :smile: \x1b[2J" + "y" * 10_000
    case = replace(cases_of(make_suite())[2], impl="[red]flex[/red]\nnext")
    text = printed([*timed()[:2], make_row(case, status="error", why=hostile)], width)
    assert "\x1b" not in text
    assert "[red]flex[/red] next" in text
    assert "[bold]x[/bold] a|b :smile: \\x1b[2J" in " ".join(text.split())
    assert text.count("y") >= 10_000
    assert max(cell_len(line) for line in text.splitlines()) <= width


def test_a_name_of_ten_thousand_characters_leaves_the_numbers_in_sight():
    case = replace(cases_of(make_suite())[0], impl="n" * 10_000)
    text = printed([time_row(case, samples=[2e-3] * 10), *timed()[1:2]], 100)
    assert "2.000 ms" in line_of(text, "nnn")


def test_flags_stand_beside_the_numbers_they_weaken():
    rows = timed(((2e-3, 2.4e-3), (1e-3,), (4e-3,)), grad="off")
    assert "noisy, grad off" in printed(rows, 160)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_row_stays_on_one_line_with_its_notes_as_letters_where_words_have_no_room(width):
    samples = [1e-3 * (1 + i % 7 / 200) for i in range(30)]
    cases = cases_of(make_suite())
    rows = [time_row(c, samples=[t * (1 + 0.2 * p) for t in samples], process=p, flop=1e11, grad="off")
            for c in cases for p in range(3)]  # fmt: skip
    text = printed(rows, width)
    told = [line for line in text.splitlines() if line[2:].startswith(("naive", "flash", "flex"))]
    assert len(told) == 6 and all(" ms " in line or " µs " in line for line in told)
    assert all(line.endswith("  npg" if width < 160 else "  noisy, processes differ 40%, grad off") for line in told)
    legend = "n noisy, p processes differ (up to 40%), g grad off"
    assert (legend in " ".join(text.split())) == (width < 160)


def test_letters_of_notes_differ():
    words = [
        replace(summarise(make_run(timed())).lines[0], flags=(Flag(name),), grad=None) for name in get_args(FlagName)
    ]
    letters = [letters_of(line) for line in words]
    assert len({*letters, "g"}) == len(words) + 1 and set(map(len, letters)) == {1}


def test_the_interval_gets_compact_before_it_is_given_up():
    lines = [line_of(printed(timed(), width), "naive") for width in (70, 66, 60)]
    assert [line.split()[7:] for line in lines] == [["[0.500,", "0.500]"], ["0.500–0.500"], []]


def test_a_skewed_interval_shows_its_two_sides_and_says_how_to_read_them():
    skewed = ((0.95e-3, 0.95e-3, 1e-3, 1.4e-3, 1.4e-3), (1e-3,), (4e-3,))
    assert "  -5/+40%  " in line_of(printed(timed(skewed)), "naive")
    assert "-5/+40%: the two sides of one that is ±10% or wider" in " ".join(printed(timed(skewed)).split())
    assert "two sides" not in printed(timed())


def test_the_shape_of_a_stream_stands_there_with_its_size():
    drifts = [2e-3 * (1 + 0.0005 * (100 - i)) for i in range(101)]
    follows = [1e-3 * (1 + 0.005 * abs(i % 40 - 20)) for i in range(200)]
    modes = [4e-3 * (1 + 0.05 * (i * 7 % 10 < 3) + 1e-5 * (i * 13 % 89)) for i in range(99)]
    rows = [time_row(c, samples=s) for c, s in zip(cases_of(make_suite()), (drifts, follows, modes), strict=False)]
    text = printed(rows, 160)
    assert line_of(text, "naive").endswith("  drift -5%")
    assert "  correlated 0.98\n" in text and line_of(text, "flex").endswith("  modes 5%")
    assert "d drift (up to -5%), c correlated (up to 0.98), m modes (up to 5%)" in " ".join(printed(rows, 80).split())
    assert "1 case with a time that changed while it was sampled" in text


def test_an_unpaired_speedup_is_marked():
    text = printed(timed(order="apart"))
    assert "~0.500x" in text
    assert "~ not paired" in text


def test_processes_are_told_from_samples():
    rows = [replace(r, process=i) for r in timed() for i in range(3)]
    text = printed(rows)
    assert "3 processes" in text
    assert "too few for a CI over processes" in " ".join(text.split())


def test_warnings_and_notes_come_before_the_numbers():
    text = printed(timed(), quick=True, notes=("no NVML",))
    assert text.index("quick run") < text.index("no NVML") < text.index("naive")


def test_nothing_measured_is_said():
    assert "Nothing could be measured." in printed([])
    text = printed([make_row_like(r) for r in timed()])
    assert "Nothing could be measured." in text
    assert "no module named flex" in text


def test_what_implementations_chose_stands_below_the_table():
    cases = cases_of(make_suite())
    rows = [time_row(c, samples=[1e-3] * 8, config="64x32" if c.impl == cases[0].impl else None) for c in cases]
    text = printed(rows)
    assert f"Chosen\n  {cases[0].impl}: 64x32" in text
    rows = [replace(r, config=f"{i} wide" if r.config else None) for i, r in enumerate(rows)]
    assert printed(rows).count(f"  {cases[0].impl} (") == sum(r.config is not None for r in rows) > 1
    assert "Chosen" not in printed(timed())


def test_errors_have_a_column_where_nothing_is_compared():
    suite = make_suite(baseline={})
    rows = []
    for case in cases_of(suite):
        rows += [time_row(case, samples=[1e-3] * 8), make_row(case, metric="rel_error", value=1.25e-7)]
    text = printed(rows, suite=suite)
    assert "rel error" in text and "1.2e-07" in text
    assert "rel error" not in printed(rows)
