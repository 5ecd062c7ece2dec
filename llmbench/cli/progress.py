"""How a run goes, on stderr: a progress bar on a terminal, plain lines elsewhere."""

import sys
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from llmbench.run.listener import Listener
from llmbench.store.record import FAILED, Record
from llmbench.suite.case import Case

LINE_EVERY_S = 10.0  # a plain line about progress, beside those about failures


def progress() -> Listener:
    """The listener for this stderr."""
    return Bar() if sys.stderr.isatty() else Lines()


class _Counting(Listener):
    """Counts cases and guesses the time that is left."""

    total = done = failed = 0
    estimate_s = 0.0

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str | None]] = set()  # failures: case, status, and why where that is no figure

    def begins(self, *, cases: int, done: int, estimate_s: float) -> None:
        """A run begins (or goes on)."""
        self.total, self.done, self.estimate_s = cases, done, estimate_s
        self._start, self._done_before = monotonic(), done

    def found(self, case: Case, record: Record) -> None:
        """A case is finished; one that was not tried says nothing of the pace."""
        self.done += 1
        self.failed += record.status in FAILED
        self._done_before += record.status in ("skipped", "inferred", "unavailable")

    def tell_once(self, record: Record) -> bool:
        """Whether to tell of a failure now: the first time that it comes, and not again for each process."""
        if record.status not in FAILED and record.status != "oom":
            return False
        before = len(self._told)
        self._told.add((record.case_id, record.status, None if record.status in ("wrong", "oom") else record.why))
        return len(self._told) > before

    @property
    def left_s(self) -> float:
        """Seconds left: by the estimate at first, then more and more by the pace, by it alone when a tenth is done."""
        new, todo = self.done - self._done_before, self.total - self._done_before
        left = self.total - self.done
        guessed_s = self.estimate_s * left / max(1, todo)
        paced_s = (monotonic() - self._start) / new * left if new else guessed_s
        known = min(1.0, new / max(3, todo / 10))
        return known * paced_s + (1 - known) * guessed_s

    @property
    def failures(self) -> str:
        """`, 2 failed`, or nothing."""
        return f", {self.failed} failed" if self.failed else ""


class Lines(_Counting):
    """Plain lines: failures at once, progress every ten seconds."""

    def begins(self, *, cases: int, done: int, estimate_s: float) -> None:
        """Says what is ahead."""
        super().begins(cases=cases, done=done, estimate_s=estimate_s)
        self._said = monotonic()
        already = f", {done} done already" if done else ""
        _say(f"{cases} cases{already}, about {_duration(estimate_s)}")

    def note(self, text: str) -> None:
        """Said once."""
        _say(text)

    def stage(self, stage: str, case: Case | None) -> None:
        """What a line says is on now, every ten seconds."""
        if case is not None and monotonic() - self._said >= LINE_EVERY_S:
            self._said = monotonic()
            _say(f"{self.done}/{self.total} cases{self.failures}, {_duration(self.left_s)} left; now {case.label}")

    def found(self, case: Case, record: Record) -> None:
        """A failure is said at once, and once of all processes."""
        super().found(case, record)
        if self.tell_once(record):
            _say(f"{record.status}: {case.label}: {record.why}")


class Bar(_Counting):
    """A bar with done/total, the current case, failures and the time that is left; failures stay above it."""

    def __init__(self) -> None:
        super().__init__()
        console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}{task.fields[failures]}"), TextColumn("[dim]{task.description}"),
            console=console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None

    def begins(self, *, cases: int, done: int, estimate_s: float) -> None:
        """Shows the bar."""
        super().begins(cases=cases, done=done, estimate_s=estimate_s)
        self._task = self._bar.add_task("", total=cases, completed=done, left="", failures="")
        self._bar.start()

    def note(self, text: str) -> None:
        """Said above the bar."""
        self._bar.console.print(f"[dim]{escape(text)}")

    def stage(self, stage: str, case: Case | None) -> None:
        """Shows what is on."""
        if self._task is not None:
            name = f"{stage} {case.label}" if case else stage
            self._bar.update(self._task, description=escape(name), left=f"{_duration(self.left_s)} left")

    def found(self, case: Case, record: Record) -> None:
        """Moves on; a failure stays above the bar."""
        super().found(case, record)
        if self.tell_once(record):
            self._bar.console.print(f"[red]{record.status}[/]: {escape(case.label)}: {escape(record.why or '')}")
        if self._task is not None:
            self._bar.update(self._task, completed=self.done, failures=self.failures)

    def ends(self) -> None:
        """Takes the bar away."""
        self._bar.stop()


def _say(text: str) -> None:
    print(f"llmbench: {text}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
