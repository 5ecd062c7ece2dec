"""Which keys a query sees: a span around its own place. Full, causal and sliding-window attention are all spans."""

from typing import Literal, NamedTuple

Mask = Literal["full", "causal", "window"]
UNLIMITED = -1  # of `left` and `right`


class Span(NamedTuple):
    """Query i of S sees key j of K where i + K - S - left <= j <= i + K - S + right: the last query is at the last key.

    A negative side has no limit. Source of the alignment: flash-attention since 2.1 (bottom-right), for windows too.
    """

    left: int = UNLIMITED
    right: int = UNLIMITED

    @property
    def is_full(self) -> bool:
        """Whether every query sees every key."""
        return self.left < 0 and self.right < 0

    def within(self, most: int) -> "Span":
        """The same span with sides of at most `most`, all the places there are: kernels count in 32 bits."""
        return Span(*(min(side, most) for side in self))

    @property
    def mask(self) -> Mask:
        """What it is called."""
        return "full" if self.is_full else "causal" if self == Span(right=0) else "window"

    def pairs(self, queries: int, keys: int) -> int:
        """Number of (query, key) pairs that see one another."""
        shift = keys - queries

        def below(limit: int) -> int:  # pairs with key <= query + limit, over all queries
            first, last = max(0, -limit), min(queries - 1, keys - 1 - limit)  # queries with some, and not yet all, keys
            some = sum_of_range(first + limit + 1, last + limit + 1) if last >= first else 0
            return some + max(0, queries - max(0, last + 1, -limit)) * keys if keys else 0

        upper = below(shift + self.right) if self.right >= 0 else queries * keys
        return upper - (below(shift - self.left - 1) if self.left >= 0 else 0)


def sum_of_range(first: int, last: int) -> int:
    """first + ... + last."""
    return (first + last) * (last - first + 1) // 2


def span_of(*, causal: bool = False, window: tuple[int, int] | None = None) -> Span:
    """The span of these arguments, as flash-attention has them: causal takes the window's right side away.

    `window` is (left, right), inclusive; a negative value is unlimited. Mistral's `sliding_window = W` is left = W - 1.
    """
    if window is not None and (not isinstance(window, tuple | list) or len(window) != 2):
        raise ValueError(f"window is {window!r}, wanted (left, right), a negative side unlimited")
    left, right = window if window is not None else (UNLIMITED, UNLIMITED)
    return Span(max(left, UNLIMITED), 0 if causal else max(right, UNLIMITED))
