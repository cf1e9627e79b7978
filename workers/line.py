"""The line to the database: calls are repeated until somebody answers, and it is said once that nobody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from workers.backoff import Backoff
from workers.errors import BackendUnavailable

T = TypeVar("T")


class Line:
    """Makes calls, several at once, with one back-off for all; `changed` is called when one fails or is repeated."""

    def __init__(
        self, log: FilteringBoundLogger, backoff: Backoff | None = None, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._log = log
        self._changed = changed
        self._backoff = backoff or Backoff()
        self._away_since: float | None = None
        self._resume_at = 0.0
        self._hurried = asyncio.Event()
        self.failed_at = 0.0  # When a call last got no answer, on the monotonic clock.
        self.waiting = 0  # How many calls wait to be made again.

    @property
    def away(self) -> bool:
        """Whether the last call that ended got no answer."""
        return self._away_since is not None

    def hurry(self) -> None:
        """Make calls that wait to be made again now."""
        self._hurried.set()
        self._hurried.clear()

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until somebody answers."""
        while True:
            try:
                answer = await call()
            except BackendUnavailable as error:
                self._failed(error)
                await self._pause()
            else:
                self._answered()
                return answer

    def _failed(self, error: BackendUnavailable) -> None:
        self.failed_at = now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._log.warning("database_away", error=str(error))
        if now >= self._resume_at:
            self._resume_at = now + self._backoff.next()

    async def _pause(self) -> None:
        self.waiting += 1
        self._changed()
        try:
            async with asyncio.timeout(max(0.0, self._resume_at - time.monotonic())):
                await self._hurried.wait()
        except TimeoutError:
            return
        finally:
            self.waiting -= 1
            self._changed()

    def _answered(self) -> None:
        if self._away_since is not None:
            self._log.info("database_back", away_seconds=round(time.monotonic() - self._away_since, 1))
        self._away_since = None
        self._backoff.reset()
