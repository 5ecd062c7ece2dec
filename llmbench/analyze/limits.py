"""Limits: by how much each metric of a case may grow, as its suite's `gate` says for all cases and for some of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from llmbench.analyze.stats import TAU
from llmbench.errors import UsageError
from llmbench.metrics import DETERMINISTIC
from llmbench.store.query import Row
from llmbench.suite.case import matches
from llmbench.suite.catalog import Scalar
from llmbench.suite.suite import GateCase, Match, Suite

ALWAYS = ("time", "peak_memory")
"""Metrics that are compared whatever a suite's `gate` names, and gated unless it leaves them out."""

EVERYWHERE = "in every case of the suite"  # whose limit it is that a metric has none


@dataclass(frozen=True)
class CaseLimits:
    """Those of one case: metric -> the share by which it may grow.

    `own`: metric -> whose limit that is, in the suite's words, where it is not that of all cases; `not_gated`: the same
    of the metrics that the suite leaves out for this case.
    """

    shares: dict[str, float]
    own: dict[str, str] = field(default_factory=dict)
    not_gated: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """Those of a suite: `shares` of all its cases, `cases` of some of them, of which a later entry counts first.

    `left_out`: the metrics that are not gated, except in cases that have a limit of their own.
    """

    shares: dict[str, float]
    cases: tuple[GateCase, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is gated in any case: that of all cases first."""
        some = (name for entry in self.cases for name, limit in entry.limits.items() if limit is not None)
        return tuple(dict.fromkeys([*self.shares, *some]))

    def of(self, facts: Mapping[str, Scalar]) -> CaseLimits:
        """The limits of the case with these parameters, axis labels, impl and phase; in the order of `metrics`."""
        told: dict[str, tuple[float | None, str]] = dict.fromkeys(self.left_out, (None, EVERYWHERE))
        for entry in self.cases:
            if matches(entry.match, facts):
                told |= {name: (limit, entry.why or match_text(entry.match)) for name, limit in entry.limits.items()}
        shares = {**self.shares, **{name: limit for name, (limit, _) in told.items() if limit is not None}}
        not_gated = {name: words for name, (limit, words) in told.items() if limit is None}
        return CaseLimits(
            {name: shares[name] for name in self.metrics if name in shares and name not in not_gated},
            {name: words for name, (limit, words) in told.items() if limit is not None},
            not_gated,
        )


def named_limits(suite: Suite) -> Limits:
    """The limits that a suite's `gate` names, and no others."""
    shares = {name: limit for name, limit in suite.gate.items() if limit is not None}
    return Limits(shares, suite.gate_cases, tuple(name for name in suite.gate if name not in shares))


def limits_of(suite: Suite) -> Limits:
    """The limits of a suite: those of its `gate`, time and peak memory always, unless it leaves them out.

    Raises: UsageError for a share that is none, which a manifest that was edited by hand may hold.
    """
    for name, limit in _named(suite):
        if not 0 <= limit <= 1:
            raise UsageError(f"gate: {name} is {limit:g}; wanted: 0 to 1 (0.05 is 5 %)")
    named = named_limits(suite)
    always = {name: 0.0 if name in DETERMINISTIC else TAU for name in ALWAYS if name not in named.left_out}
    return replace(named, shares={**always, **named.shares})


def noise_limit(suite: Suite, facts: Mapping[str, Scalar]) -> float:
    """The half-width from which a time is `noisy`, as a share of it: no gate could decide on such a number.

    That is what the suite's gate counts as a change of time in such a case (3 % where it names none), or `target_ci`
    where that is wider. Not `target_ci` alone: a short budget misses it in nearly every case, and the half-width is
    printed anyway.
    """
    own = named_limits(suite).of(facts).shares.get("time", TAU)
    return max(suite.measure.target_ci, own)


def noise_limits(suite: Suite) -> tuple[float, float]:
    """The least and the largest half-width of that kind over all its cases."""
    own = (entry.limits.get("time") for entry in suite.gate_cases)
    found = [noise_limit(suite, {}), *(max(suite.measure.target_ci, limit) for limit in own if limit is not None)]
    return min(found), max(found)


def named_facts(row: Row) -> dict[str, Scalar]:
    """What a match can name of the case of a row: parameters, axis labels, impl and phase."""
    return {**row.params, **row.axes, "impl": row.impl, "phase": row.phase}


def match_text(match: Match) -> str:
    """`impl=naive seq_len=128,256`."""
    return " ".join(f"{key}={','.join(map(str, values))}" for key, values in match.items())


def _named(suite: Suite) -> Iterator[tuple[str, float]]:
    """Every share that the suite's gate names."""
    for limits in (suite.gate, *(entry.limits for entry in suite.gate_cases)):
        yield from ((name, limit) for name, limit in limits.items() if limit is not None)
