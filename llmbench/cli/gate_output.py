"""What both gates offer beside their table: options, and the files and annotations behind them."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmbench.cli.output import append, check_append, check_file, save
from llmbench.report.limited import MOST_BYTES

SUMMARY = "GITHUB_STEP_SUMMARY"


class OnInconclusive(StrEnum):
    """What an INCONCLUSIVE verdict does to the exit code."""

    fail = "fail"
    passes = "pass"


WhenInconclusive = Annotated[
    OnInconclusive,
    typer.Option(
        "--inconclusive",
        help="Whether INCONCLUSIVE exits 5 or counts as a pass; what looks slower by more than its limit never does.",
    ),
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="A markdown table of at most 900 kB, worst first.")]
Junit = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML to this file.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Also write plots and reasons, one self-contained page.")
]
Github = Annotated[
    bool,
    typer.Option("--github", help=f"Also annotate the GitHub job, on stderr, and append the table to ${SUMMARY}."),
]


@dataclass(frozen=True)
class Forms:
    """What a gate found in each form, made where it is asked for."""

    junit: Callable[[], str]
    html: Callable[[], str]
    markdown: Callable[[int], str]  # in at most so many bytes
    commands: Callable[[], Sequence[str]]  # of GitHub, one a line


@dataclass(frozen=True)
class Targets:
    """Where a gate's outcome goes beside stdout."""

    junit: Path | None = None
    html: Path | None = None
    github: bool = False

    @property
    def summary(self) -> Path | None:
        """The file in which GitHub wants the job's summary, if it is asked for and there is one."""
        name = os.environ.get(SUMMARY)
        return Path(name) if self.github and name else None

    def check(self) -> None:
        """Tries each target, before anything is measured. Raises: UsageError naming the option."""
        for option, path in (("--junit", self.junit), ("--html", self.html)):
            if path is not None:
                check_file(option, path)
        if self.summary is not None:
            check_append(SUMMARY, self.summary)

    def write(self, forms: Forms) -> None:
        """Writes what is asked for. Raises: UsageError naming the option."""
        if self.junit is not None:
            save("--junit", self.junit, forms.junit())
        if self.html is not None:
            save("--html", self.html, forms.html())
        if self.github:
            for command in forms.commands():
                print(command, file=sys.stderr)
        if self.summary is not None:
            self._append_to(self.summary, forms)

    def _append_to(self, path: Path, forms: Forms) -> None:
        """What the step has already written there counts: GitHub shows all of the file or nothing."""
        held = path.stat().st_size if path.is_file() else 0
        text = forms.markdown(max(0, MOST_BYTES - held))
        if text:
            append(SUMMARY, path, text)
        else:
            print(f"llmbench: {SUMMARY} holds {held:,} bytes: the gate's table has no room in it", file=sys.stderr)
