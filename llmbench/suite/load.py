"""YAML to Suite: `read` the text (which names its plugins), then `resolve` it against a catalog of one device."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbench.codec import to_plain
from llmbench.errors import SuiteError, nearest
from llmbench.suite.bundled import find
from llmbench.suite.catalog import Catalog, OpSpec
from llmbench.suite.document import Document, parse_document, read_document
from llmbench.suite.level import levels
from llmbench.suite.resolve import Draft
from llmbench.suite.spec import SuiteSpec, parse_spec
from llmbench.suite.suite import Suite


@dataclass(frozen=True)
class SuiteText:
    """A suite whose keys have the right form, before anything is known of ops and devices."""

    name: str
    document: Document
    spec: SuiteSpec

    @property
    def path(self) -> str:
        """The file, as messages name it."""
        return self.document.path

    @property
    def plugins(self) -> tuple[str, ...]:
        """What must be imported before the catalog is made: `module` or `module:function`."""
        return tuple(self.spec.plugins)


def load(source: str | Path, catalog: Catalog) -> Suite:
    """The suite in that file, or bundled under that name, for the catalog's device.

    Raises: SuiteError for the first mistake in it, UsageError for a name that is neither.
    """
    return resolve(read(source), catalog)


def read(source: str | Path) -> SuiteText:
    """The text of the suite in that file, or bundled under that name. Raises: as `load`."""
    return _text(read_document(find(source)))


def parse(text: str | bytes, *, path: str = "suite.yaml") -> SuiteText:
    """The text of a suite that is at hand; `path` names it, in messages and by its stem. Raises: SuiteError."""
    return _text(parse_document(text, path=path))


def resolve(text: SuiteText, catalog: Catalog) -> Suite:
    """The suite for the catalog's device; overlays for other devices are checked as well.

    Raises: SuiteError for the mistake that stands first in the text.
    """
    op, device = _op(text, catalog), catalog.device
    blank = Suite(text.name, op, device.device, impls=(), phases=(), axes=(), fixed={})
    drafts = [Draft(text.document, level, blank) for level in levels(text.spec, device)]
    stages = (Draft.read, Draft.check_missing, Draft.read_matches, Draft.check_size, Draft.check_constraints)
    for stage in stages:
        for draft in drafts:
            stage(draft)
        # of equal places the base's message counts: it needs no overlay to be wrong
        if problems := [p for draft in sorted(drafts, key=lambda d: len(d.level.overlays)) for p in draft.problems]:
            raise min(problems, key=lambda p: (p.line, p.column))
    return drafts[-1].suite


def canonical(suite: Suite) -> dict[str, Any]:
    """The resolved suite as plain JSON data; `from_plain(Suite, …)` reads it back, equal suites give equal data."""
    plain: dict[str, Any] = to_plain(suite)
    return plain


def _text(document: Document) -> SuiteText:
    name = Path(document.path).stem
    if not name or not all(c.isascii() and (c.isalnum() or c in "_.-") for c in name):
        raise SuiteError(
            f"the file's name is the suite's: {name!r} has more than letters, digits, _ . and -", path=document.path
        )
    return SuiteText(name, document, parse_spec(document))


def _op(text: SuiteText, catalog: Catalog) -> OpSpec:
    name = text.spec.op
    op = catalog.op(name)
    if op is None:
        raise text.document.error(
            f"op {name!r} is not known{nearest(name[:60], [o.name for o in catalog.ops])}", ("op",)
        )
    if not op.impls:
        raise text.document.error(f"op {name!r} has no implementation", ("op",))
    return op
