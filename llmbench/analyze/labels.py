"""Labels: by what the cases of several runs are told apart, whichever run they are in."""

from collections.abc import Mapping

from llmbench.analyze.facts import varying
from llmbench.store.query import Row
from llmbench.suite.catalog import Scalar
from llmbench.suite.suite import Suite

SHORT = 8  # hexadecimal digits of a case id


def facts_by_case(rows: Mapping[str, Row], suite: Suite) -> dict[str, dict[str, Scalar]]:
    """Case -> what tells it from the others: implementation, phase, and what varies, in the order of the suite.

    Where that is not enough (a bundle of one name sets other parameters in another run), what else its namesakes differ
    in is added; last, the id itself.
    """
    names = varying(rows.values(), suite)
    found = {key: _chosen(row, names) for key, row in rows.items()}
    every = {key: {**row.params, **row.axes, "op": row.op, "cache": row.cache} for key, row in rows.items()}
    for namesakes in _ambiguous(found):
        known = dict.fromkeys(name for key in namesakes for name in every[key])
        differing = [name for name in known if len({every[key].get(name) for key in namesakes}) > 1]
        for key in namesakes:
            found[key] |= {name: every[key][name] for name in differing if name in every[key]}
    for namesakes in _ambiguous(found):
        for key in namesakes:
            found[key]["case"] = key[:SHORT]
    return found


def label(facts: Mapping[str, Scalar]) -> str:
    """`flash fwd seq_len=512 heads=gqa`."""
    more = (f"{name}={value}" for name, value in facts.items() if name not in ("impl", "phase"))
    return " ".join([str(facts["impl"]), str(facts["phase"]), *more])


def _chosen(row: Row, names: tuple[str, ...]) -> dict[str, Scalar]:
    every: dict[str, Scalar] = {**row.params, **row.axes}
    return {"impl": row.impl, "phase": row.phase, **{name: every[name] for name in names if name in every}}


def _ambiguous(found: Mapping[str, Mapping[str, Scalar]]) -> list[list[str]]:
    """The cases that share their label, in groups."""
    groups: dict[str, list[str]] = {}
    for key, facts in found.items():
        groups.setdefault(label(facts), []).append(key)
    return [group for group in groups.values() if len(group) > 1]
