"""How a worker leaves: attempts get some time to end, then what still runs is given back, then it goes."""

from __future__ import annotations

import time

from structlog.typing import FilteringBoundLogger

from workers.line import Line
from workers.ports import Agents, ExchangeOptions
from workers.reports import ReportQueue

_LAST_TRY_SECONDS = 1.0


class Departure:
    """The leaving of one worker; times are on the monotonic clock, in seconds."""

    def __init__(
        self, options: ExchangeOptions, queue: ReportQueue, agents: Agents, line: Line, log: FilteringBoundLogger
    ) -> None:
        self._options = options
        self._queue = queue
        self._agents = agents
        self._line = line
        self._log = log
        self._begun_at: float | None = None
        self._noticed = False
        self._leave_at: float | None = None  # When to leave although things are unsaid.

    @property
    def begun(self) -> bool:
        """Whether this worker is leaving."""
        return self._begun_at is not None

    @property
    def next_at(self) -> float | None:
        """When `advance` has something to do; None when that is not in sight."""
        return self._leave_at if self._leave_at is not None else self._give_back_at

    @property
    def overdue(self) -> bool:
        """Whether it is time to go, although things are unsaid."""
        return self._leave_at is not None and time.monotonic() >= self._leave_at

    @property
    def seconds_left(self) -> float:
        """How long saying goodbye may take; never so short that it could not work."""
        if self._leave_at is None:
            return self._options.goodbye_seconds
        return max(self._leave_at - time.monotonic(), _LAST_TRY_SECONDS)

    def begin(self) -> None:
        """Begin to leave; from any thread, and from a signal handler in the middle of anything: no lock, no log."""
        if self._begun_at is None:
            self._begun_at = time.monotonic()

    def advance(self) -> None:
        """Do what is due."""
        if self._begun_at is None or self._leave_at is not None:
            return
        if not self._noticed:
            self._noticed = True
            self._log.info("draining", tasks=self._queue.running, seconds=self._options.drain_seconds)
            self._line.hurry()
        now = time.monotonic()
        if self._give_back_at is not None and now >= self._give_back_at:
            self._leave_at = now + self._options.goodbye_seconds
            self._give_back()
        elif self._line.away and self._line.failed_at > self._begun_at and not self._queue.running:
            # Nobody answers: there is nothing to wait for, or only results that could still be taken.
            self._leave_at = now if self._queue.empty else now + self._options.goodbye_seconds

    @property
    def _give_back_at(self) -> float | None:
        return None if self._begun_at is None else self._begun_at + self._options.drain_seconds

    def _give_back(self) -> None:
        self._log.info("giving_back", tasks=self._queue.running)
        for lease in self._queue.give_back_all():
            self._agents.stop(lease, "released")
