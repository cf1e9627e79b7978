"""Waiting longer after each failure, with jitter, up to a cap."""

from __future__ import annotations

import random


class Backoff:
    """Delays in seconds that double from `first` up to `cap`, each drawn from the upper half of its range.

    The jitter keeps workers that lost the database together from coming back together.
    """

    def __init__(self, first: float = 0.2, cap: float = 15.0, rng: random.Random | None = None) -> None:
        self._first = first
        self._cap = cap
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, protects nothing
        self._step = 0

    def next(self) -> float:
        """Return the next delay: between half of it and all of it, never above the cap."""
        # The exponent is bounded so that an outage of months cannot overflow a float.
        ceiling = min(self._cap, self._first * 2.0 ** min(self._step, 60))
        self._step += 1
        return ceiling * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again from the first delay."""
        self._step = 0
