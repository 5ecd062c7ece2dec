"""Lines and facts of a run: order, names, speed-ups, statuses, flags."""

from dataclasses import replace

import pytest
from example_runs import HEADS, cases_of, make_row, make_run, make_suite, time_row

from llmbench.analyze.summary import Flag, summarise
from llmbench.store.query import read_run
from llmbench.store.record import WORST_FIRST, Check, Measurement, Record
from llmbench.store.runs import write_run
from llmbench.suite.suite import Axis, AxisValue, Measure

FAST, SLOW = [1e-3] * 10, [2e-3] * 10
ONE_HEAD = Axis("heads", HEADS.values[:1])


def three(naive=SLOW, flash=FAST, flex=SLOW, **changes):
    """One point of the three implementations, as rows."""
    cases = cases_of(make_suite(axes=(Axis("seq_len", (AxisValue({"seq_len": 512}),)), ONE_HEAD)))
    return [time_row(c, samples=s, **changes) for c, s in zip(cases, (naive, flash, flex), strict=True)]


def test_lines_come_by_point_then_implementation():
    rows = [time_row(c, samples=FAST) for c in cases_of(make_suite())]
    lines = summarise(make_run(rows[::-1])).lines
    assert [(x.axes["heads"], x.impl) for x in lines] == [
        (heads, impl) for heads in ("gqa", "mha") for impl in ("naive", "flash", "flex")
    ]


def test_a_bundle_stands_for_the_parameters_that_it_sets():
    summary = summarise(make_run([time_row(c, samples=FAST) for c in cases_of(make_suite())]))
    assert summary.facts.varying == ("heads",)
    assert summary.lines[0].point == {"phase": "fwd", "heads": "mha"}
    assert summary.facts.constants["num_heads"] == 8
    assert "num_kv_heads" not in summary.facts.constants
    assert summary.facts.told == ("seq_len", "batch", "num_heads", "dtype")


def test_a_parameter_as_baseline_names_the_lines_of_a_point():
    suite = make_suite(
        impls=("flash",), axes=(Axis("seq_len", tuple(AxisValue({"seq_len": s}) for s in (512, 1024))), ONE_HEAD),
        baseline={"seq_len": 512},
    )  # fmt: skip
    rows = [time_row(c, samples=s) for c, s in zip(cases_of(suite), (FAST, SLOW), strict=True)]
    lines = summarise(make_run(rows, suite)).lines
    assert [(x.point, x.variant) for x in lines] == [({"phase": "fwd"}, {"seq_len": s}) for s in (512, 1024)]
    assert lines[1].speedup is not None
    assert lines[1].speedup.value == pytest.approx(0.5)


def test_the_baseline_has_no_speedup_and_the_fastest_is_marked():
    naive, flash, flex = summarise(make_run(three())).lines
    assert (flash.speedup, flash.speedup_why, flash.best) == (None, "it is the baseline", True)
    assert naive.speedup is not None
    assert naive.speedup[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert not flex.best


WAVE = [1e-3 * (1 + 0.3 * (i % 5)) for i in range(20)]  # drift that hits every implementation of a block alike


@pytest.mark.parametrize(
    ("naive", "flash", "best"),
    [
        ([1.02 * t for t in WAVE], WAVE[::-1], ["naive", "flash"]),  # their intervals overlap, and no pair tells
        ([1.02 * t for t in WAVE], WAVE, ["flash"]),  # they overlap, but every pair says the same
        (SLOW, FAST, ["flash"]),
        ([1.1e-3] * 3, [1.0e-3] * 3, ["naive", "flash"]),  # too few samples for an interval
    ],
)
def test_all_that_cannot_be_told_from_the_fastest_are_best(naive, flash, best):
    assert [x.impl for x in summarise(make_run(three(naive, flash)[:2])).lines if x.best] == best


def test_what_does_not_pair_is_told_apart_by_intervals_that_do_not_overlap():
    near, far = (three(flash=FAST, naive=[t * f for t in WAVE], order="apart") for f in (0.7, 0.9))
    assert [[x.best for x in summarise(make_run(rows)).lines[:2]] for rows in (near, far)] == [
        [True, True], [False, True],
    ]  # fmt: skip


def test_a_line_alone_is_not_the_best():
    assert not summarise(make_run(three()[:1])).lines[0].best


def test_a_missing_baseline_is_said():
    naive, flex = summarise(make_run([r for r in three() if r.impl != "flash"])).lines
    assert (naive.speedup, naive.speedup_why) == (None, "no baseline in this point")
    assert flex.time is not None


def test_a_baseline_that_failed_is_said():
    rows = three()
    rows[1] = replace(rows[1], status="oom", why="too big")
    naive, flash, _ = summarise(make_run(rows)).lines
    assert naive.speedup_why == "the baseline has no time: oom"
    assert (flash.time, flash.peak_memory, flash.why) == (None, None, "too big")


@pytest.mark.parametrize("status", WORST_FIRST)
def test_every_status_is_a_line(status):
    (line,) = summarise(make_run([make_row(status=status, why="because")])).lines
    assert (line.status, line.why, line.time) == (status, "because", None)


def test_the_worst_process_decides_and_says_how_many():
    rows = [
        time_row(samples=FAST),
        make_row(process=1, status="wrong", why="off by 3"),
        time_row(samples=FAST, process=2),
    ]
    (line,) = summarise(make_run(rows)).lines
    assert (line.status, line.why) == ("wrong", "off by 3 (in 1 of 3 processes)")
    assert (line.time, line.speedup, line.rates.flop_per_s, line.processes) == (None, None, None, 3)


def test_a_status_of_a_later_version_is_worse_than_all():
    rows = [make_row(status="wrong"), make_row(process=1, status="melted")]
    assert summarise(make_run(rows)).lines[0].status == "melted"


def test_processes_are_summed_up():
    rows = [time_row(samples=[t] * 10, process=i) for i, t in enumerate([1.0, 2.0, 4.0])]
    (line,) = summarise(make_run(rows)).lines
    assert (line.time, line.n, line.processes) == ((2.0, 1.0, 4.0, "range"), 30, 3)
    assert line.flag("processes_differ") == Flag("processes_differ", 3.0)


@pytest.mark.parametrize(
    ("row", "flag"),
    [
        ({"samples": [1.0, 1.1] * 10}, Flag("noisy", pytest.approx(0.05 / 1.05))),
        ({"samples": [1.0] * 5}, Flag("few_samples")),
        ({"samples": [1 + 0.0005 * i for i in range(101)]}, Flag("drift", pytest.approx(0.05 / 1.025))),
        (
            {"samples": [1 + 0.005 * abs(i % 40 - 20) for i in range(200)]},
            Flag("autocorrelated", pytest.approx(0.99, abs=0.01)),
        ),
        (
            {"samples": [1 + 0.05 * (i * 7 % 10 < 3) + 1e-5 * (i * 13 % 89) for i in range(99)]},
            Flag("modes", pytest.approx(0.05, abs=1e-3)),
        ),
        ({"samples": [1.0] * 10, "sample_flags": ["throttled,host_bound"] * 2 + [""] * 8}, Flag("throttled", 0.2)),
        ({"samples": [1.0] * 10, "sample_flags": ["throttled,host_bound"] * 2 + [""] * 8}, Flag("host_bound", 0.2)),
        ({"samples": [1.0] * 10, "order": "apart"}, Flag("apart")),
        ({"samples": [1.0] * 10, "check_kind": "none"}, Flag("unchecked")),
    ],
)
def test_what_weakens_a_number_is_flagged(row, flag):
    (line,) = summarise(make_run([time_row(**row)])).lines
    assert line.flag(flag.name) == flag


def test_shape_is_that_of_the_worst_process_and_as_fine_as_the_suite_asks():
    rows = [time_row(samples=[1 + s * i for i in range(101)], process=p) for p, s in enumerate((2e-4, -5e-4, 0.0))]
    (line,) = summarise(make_run(rows)).lines
    assert line.flag("drift") == Flag("drift", pytest.approx(-0.05 / 0.975))
    (line,) = summarise(make_run(rows, make_suite(measure=Measure(target_ci=0.1)))).lines
    assert line.flag("drift") is None


def test_noisy_is_what_the_gate_of_the_suite_could_not_decide_on():
    def is_noisy(half_width, **changes):
        rows = [time_row(samples=[1 - half_width, 1 + half_width] * 10)]
        return summarise(make_run(rows, make_suite(**changes))).lines[0].flag("noisy") is not None

    assert [is_noisy(h) for h in (0.02, 0.029, 0.031)] == [False, False, True]
    assert [is_noisy(h, gate={"time": 0.05}) for h in (0.04, 0.06)] == [False, True]
    assert [is_noisy(h, gate={"time": 0.01}) for h in (0.005, 0.02)] == [False, True]
    assert [is_noisy(h, measure=Measure(target_ci=0.1)) for h in (0.06, 0.11)] == [False, True]


def test_a_clean_line_has_no_flag():
    assert all(line.flags == () for line in summarise(make_run(three())).lines)


def test_apart_is_no_flag_where_the_suite_asks_for_it():
    run = make_run(three(order="apart"), make_suite(measure=Measure(order="apart")))
    assert all(line.flags == () for line in summarise(run).lines)


def test_errors_are_the_largest_of_the_processes_even_when_wrong():
    rows = [make_row(status="wrong", metric="max_error", value=v, process=i) for i, v in enumerate([0.1, 0.3])]
    assert summarise(make_run(rows)).lines[0].max_error == 0.3


def test_warnings_say_what_makes_the_numbers_weak():
    run = make_run(three(naive=[1.0, 1.5] * 10), quick=True)
    run = replace(run, manifest=replace(run.manifest, complete=False))
    texts = " / ".join(summarise(run).facts.warnings)
    assert texts.startswith("incomplete")
    assert "quick run" in texts
    assert "1 case with an interval wider than ±3% of the median" in texts


def test_a_run_read_back_from_disk_has_the_same_lines(tmp_path):
    run = make_run([])
    blocks, samples = list(range(10)), {"naive": SLOW, "flash": FAST, "flex": FAST}
    found = [
        (c, Record(c.case_id, 0, "oom", "too big"))
        if (c.impl, c.axes["heads"]) == ("flex", "gqa")
        else (
            c,
            Record(
                c.case_id, 0, "ok", check=Check("oracle", True), order="interleaved", grad="on", flop=1e9,
                measurements=[
                    Measurement("time", 1.0, low=1.0, high=1.0, samples=samples[c.impl], sample_block=blocks),
                    Measurement("time", 9.0, part="mask", samples=[9.0]),
                    Measurement("peak_memory", 2048.0),
                ],
            ),
        )
        for c in cases_of(make_suite())
    ]  # fmt: skip
    write_run(tmp_path, run.manifest, found, [])
    lines = summarise(read_run(tmp_path)).lines
    assert [x.status for x in lines] == ["ok"] * 5 + ["oom"]
    assert lines[0].time == (1.0, 1.0, 1.0, "samples")
    assert lines[0].peak_memory is not None
    assert lines[0].peak_memory.value == 2048
    assert lines[0].speedup is not None
    assert lines[0].speedup.value == pytest.approx(0.5)
    assert lines[5].why == "too big"


def test_where_each_case_has_its_worker_none_of_them_takes_turns():
    alone = make_suite(op=replace(make_suite().op, isolation="case"))
    assert (make_suite().order, alone.order) == ("interleaved", "apart")
    rows = [time_row(case, samples=FAST, order="apart") for case in cases_of(alone)]
    assert not any(line.flag("apart") for line in summarise(make_run(rows, alone)).lines)
    assert summarise(make_run(rows, alone)).facts.order == "apart"
