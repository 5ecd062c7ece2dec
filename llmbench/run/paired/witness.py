"""Witness of what was measured: from which files each side's subject was loaded, and whether they are the same."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from llmbench.run.paired.loaded import digest_of
from llmbench.run.paired.subject import KERNELS, Side, Sides
from llmbench.run.protocol import Source


def fingerprint(sources: Iterable[Source]) -> str:
    """Twelve hexadecimal digits over the modules of a side: equal for the same code, wherever it lies."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.module} {source.digest}\n".encode())
    return digest.hexdigest()[:12]


def strangers(side: Side, sides: Sides, sources: Sequence[Source]) -> list[str]:
    """What of a side's subject was not loaded from its own tree, in words."""
    if side.path is None:
        return []
    own = str(side.path.resolve()) + "/"
    root = str(sides.repository.root) + "/" if sides.repository else None
    found = []
    for place in side.places:
        mine = [s for s in sources if f"{s.module}.".startswith(f"{place.module}.")]
        if not mine:
            found.append(f"{place.module} was not loaded")
        found += [f"{s.module} was loaded from {s.file}" for s in mine if not s.file.startswith(own)]
    named = {p.module for p in side.places}
    found += [
        f"{s.module} was loaded from {s.file}"
        for s in sources
        if root and s.file.startswith(root) and not s.file.startswith(own) and s.module.partition(".")[0] not in named
        and not s.module.startswith(f"{KERNELS}.") and s.module != KERNELS
    ]  # fmt: skip
    return found


def changed_since(sources: Iterable[Source]) -> list[str]:
    """Files that no longer hold what was loaded."""
    return [s.file for s in sources if Path(s.file).exists() and digest_of(s.file) != s.digest]


def subject_text(side: Side, sources: Sequence[Source]) -> str:
    """`toy_ops (3 modules, 0f5c2d…) from /repo`, for people."""
    tops: Mapping[str, None] = dict.fromkeys(
        KERNELS if s.module.startswith(KERNELS) else s.module.partition(".")[0] for s in sources
    )
    n = len(list(sources))
    modules = f"{n} module{'' if n == 1 else 's'}, {fingerprint(sources)}" if n else "nothing of it was loaded"
    return f"{', '.join(tops) or 'no subject'} ({modules}) from {side.revision}"
