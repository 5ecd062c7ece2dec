"""The suites and dashboards that come with llmbench, found in a checkout and in an installed wheel alike.

Standard library only: `llmbench list suites` must be quick.
"""

import os
from pathlib import Path
from typing import Literal, NamedTuple

from llmbench.errors import UsageError, nearest

Kind = Literal["suites", "dashboards"]

_PACKAGE = Path(__file__).resolve().parents[1]


class Bundled(NamedTuple):
    """A bundled file: its name, where it is, and its first comment line, which says what it answers."""

    name: str
    path: Path
    summary: str


def find(name_or_path: str | Path, *, kind: Kind = "suites") -> Path:
    """The path of an existing file, or of the bundled suite (or dashboard) of that name.

    Raises: UsageError with the nearest bundled name.
    """
    text, path = str(name_or_path), Path(name_or_path)
    if os.path.exists(text) and not (os.path.isdir(text) and text in names(kind=kind)):  # Path's own raise OSError
        return path
    if text in names(kind=kind):
        return _shown(_folder(kind) / f"{text}.yaml")
    what = kind.removesuffix("s")
    if isinstance(name_or_path, Path) or "/" in text or text.endswith((".yaml", ".yml")):
        raise UsageError(f"{text}: there is no such file; a bundled {what} is named without path and .yaml")
    raise UsageError(f"{text!r} is neither a file nor a bundled {what}{nearest(text[:60], names(kind=kind))}")


def names(*, kind: Kind = "suites") -> list[str]:
    """The names of what is bundled, sorted."""
    folder = _folder(kind)
    return sorted(p.stem for p in folder.glob("*.yaml")) if folder.is_dir() else []


def bundled(*, kind: Kind = "suites") -> list[Bundled]:
    """Everything that is bundled, by name."""
    paths = [(name, _folder(kind) / f"{name}.yaml") for name in names(kind=kind)]
    return [Bundled(name, _shown(path), _summary(path)) for name, path in paths]


def bundled_suites() -> list[Bundled]:
    """The bundled suites, by name."""
    return bundled(kind="suites")


def _folder(kind: Kind) -> Path:
    """In a wheel llmbench/_bundled/<kind>, in a checkout <kind> beside the package."""
    inside = _PACKAGE / "_bundled" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def _shown(path: Path) -> Path:
    """Relative to the working directory where it is below it: what people would type."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _summary(path: Path) -> str:
    with open(path, encoding="utf-8") as file:
        first = file.readline().strip()
    return first.removeprefix("#").strip() if first.startswith("#") else ""
