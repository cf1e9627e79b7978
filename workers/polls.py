"""When a worker with free slots asks for work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from workers.contract import ExchangeAnswer

# Answers that say "more waits" and bring nothing: after the second of them in a row the pause grows from this.
_VAIN_SECONDS = 0.01
# Where work has just come from, more comes: from this the pause doubles with each answer that brings nothing.
_FRESH_SECONDS = 0.05
# A request so soon after a poll waits for the rest of it.
_REQUEST_SECONDS = 0.02


class Polls:
    """The time of the next poll, in seconds of the clock; `request` may be called from any thread."""

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._pause = interval  # Before the next poll, unless the database knows of something sooner.
        self._clock = clock
        self._at = 0.0
        self._hold_until = 0.0  # Requests before this wait for it.
        self._requested = False
        self.found_nothing = False  # Whether the last answer brought no task.
        self._vain = 0  # How many answers in a row said that more waits, and brought nothing.

    @property
    def due_at(self) -> float:
        """When to ask, if there is a free slot."""
        return min(self._at, self._hold_until) if self._requested else self._at

    def request(self) -> None:
        """Want a poll now: one that is begun after this."""
        self._requested = True

    def begun(self) -> None:
        """Note that a request which asks for work is about to be sent; its answer says when to ask again."""
        self._requested = False
        self._hold_until = self._clock() + _REQUEST_SECONDS
        self._at = math.inf

    def answered(self, answer: ExchangeAnswer, asked: int) -> None:
        """Plan the next poll by an answer to a request that asked for `asked` tasks."""
        told = min(max(answer.next_poll_ms, 0) / 1000, self._interval)
        if not asked:
            self._at = min(self._at, self._clock() + told)
            return
        brought = len(answer.tasks) + len(answer.unreadable)
        self.found_nothing = brought == 0
        self._pause = min(_FRESH_SECONDS if brought else self._pause * 2, self._interval)
        told = min(told, self._pause)
        self._vain = 0 if brought or told else self._vain + 1
        if self._vain > 1:
            told = min(_VAIN_SECONDS * 2.0 ** min(self._vain - 2, 20), self._interval)
        self._at = self._clock() + (0.0 if brought >= asked else told)

    def postpone(self) -> None:
        """Wait for the whole interval, whoever wants a poll: something is wrong."""
        self._at = self._hold_until = self._clock() + self._interval
