"""The rule of the paired gate: how many pairs, which levels, from when on a shift is the suite's and not a case's."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class PairedRule:
    """Constants of the paired gate. Levels are probabilities, margins and shares fractions.

    Levels. A case that did not get slower by more than `margin` is rejected in any look, over all cases, with
    probability `level` at most: each look tests by Holm over its family at its share of `level`, shares add up to 1.
    The screen rejects nothing, so it spends none. A case that is slower by its limit or more is PASS with probability
    `pass_level` at most: half of it for the screen, half for what comes after (a quarter each of two looks).
    For the noisiest case of a suite too, since no PASS rests on a variance below the case's own.

    Raises: ValueError for what cannot be.
    """

    screen_pairs: int = 8
    """At a sigma of 1 % they flag a case that is 3 % slower in more than 999 of 1,000 cases, an unchanged one in some
    3 of 1,000 either way."""
    confirm_pairs: int = 24
    """21 pairs have 99 % power for 2 % at a sigma of 1 %, tested at .01 / 25; with 16 resampled real pairs power fell
    from .96 to .94."""
    extend_pairs: int = 24
    """Once, for what the confirm left open: twice the pairs is what a sigma of 1.4 % needs instead of 1 %."""
    spare_pairs: int = 96
    """The most that is spent on a case that was left open, where no budget ends it before: all of twelve unchanged
    cases pass a limit of 3 % with them at a sigma of up to 6 %, in 19 of 20 suites."""
    spare_round: int = 8
    """Asked at once, so that a budget that ends is not spent on one case. Every open case gets one."""
    spare_open: float = 0.05
    """The share of unchanged suites that may still have an open case where pairs last: each open case has its part."""

    margin: float = 0.005
    """What counts as no change: real training steps against themselves stay below 2.2 % false flags with it."""
    screen_level: float = 0.05
    level: float = 0.01
    pass_level: float = 0.05
    systemic_level_share: float = 0.1
    confirm_level_share: float = 0.5
    extend_level_share: float = 0.2
    spare_level_share: float = 0.2

    systemic_share: float = 0.15
    systemic_cases: int = 60
    """More flagged than this share of the suite, or this many, is first of all a question about the whole suite."""
    systemic_least: int = 6
    """Cases of a suite whose middle says something that one or two of them cannot make."""
    panel: int = 25
    """Cases in the middle of the suite that are measured again to tell its shift: their median has a quarter of the
    sigma of one."""

    screen_least: int = 5
    """Pairs a case needs in the screen: four on one side of zero have p = 1/16, which is no evidence at 5 %."""
    confirm_least: int = 7
    """And in later looks: seven on one side of zero have p = 1/128, six not below 1 %."""

    detectable_power: float = 0.8
    """Of the minimum detectable effect, as in the stored gate: four of five cases."""
    power: float = 0.99
    """Of the number of pairs that a case needs for its limit."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and not 0 <= value < 1:
                raise ValueError(f"PairedRule.{f.name} is {value:g}; wanted: a fraction from 0 to below 1")
            if isinstance(value, int) and value < 0:
                raise ValueError(f"PairedRule.{f.name} is {value}; wanted: 0 or more")
        shares = self.systemic_level_share + self.confirm_level_share + self.extend_level_share + self.spare_level_share
        if shares > 1 + 1e-9:
            raise ValueError(f"PairedRule: the shares of the level add up to {shares:g}; wanted: no more than 1")
        if self.spare_pairs and not self.spare_round:
            raise ValueError("PairedRule.spare_round is 0; wanted: 1 or more, or spare_pairs 0")


DEFAULT = PairedRule()
