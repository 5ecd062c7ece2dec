"""Who wants to know how a run goes: the progress bar, plain lines, or nobody."""

from llmbench.store.record import Record
from llmbench.suite.case import Case


class Listener:
    """Hears what happens in a run; this one keeps silent."""

    def begins(self, *, cases: int, done: int, estimate_s: float) -> None:
        """A run begins (or goes on, with `done` of its `cases`)."""

    def note(self, text: str) -> None:
        """Something that is said once."""

    def stage(self, stage: str, case: Case | None) -> None:
        """The worker does this now."""

    def found(self, case: Case, record: Record) -> None:
        """A case is finished."""

    def ends(self) -> None:
        """No more of this run."""
