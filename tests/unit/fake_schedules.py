"""The database's side of schedules, in memory: holds, compare-and-set, one task for each time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from workers.errors import BackendError
from workers.schedules import DueSchedule, Firing, FiringOutcome

HOLD = timedelta(seconds=10)


class FakeSchedules:
    """See the module; `now` stands still unless the test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2025, 1, 1, 12, tzinfo=UTC)
        self.schedules: dict[str, DueSchedule] = {}
        self.errors: dict[str, str] = {}
        self.fired: dict[str, list[datetime]] = {}
        self.firings: list[Firing] = []
        # Called before a claim and after a firing has acted; an error from it reaches the worker.
        self.before_claim: Callable[[], BackendError | None] = lambda: None
        self.after_firing: Callable[[], BackendError | None] = lambda: None
        self._held_until: dict[str, datetime] = {}

    def add_schedule(self, cron: str = "0 * * * *", *, next_run_at: datetime | None = None, **more: str) -> str:
        """Add one; `more` is its time_zone and catch_up_policy."""
        columns = {"time_zone": "UTC", "catch_up_policy": "one", **more}
        row = DueSchedule(str(uuid.uuid4()), cron, next_run_at=next_run_at, now=self.now, **columns)  # type: ignore[arg-type]
        self.schedules[row.id] = row
        self.fired[row.id] = []
        return row.id

    @property
    def schedules_due(self) -> bool:
        return any(self._is_due(row) for row in self.schedules.values())

    async def claim_schedules(self, worker_id: str, max_schedules: int) -> tuple[DueSchedule, ...]:
        assert worker_id
        if error := self.before_claim():
            raise error
        due = [replace(row, now=self.now) for row in self.schedules.values() if self._is_due(row)][:max_schedules]
        self._held_until.update((row.id, self.now + HOLD) for row in due)
        return tuple(due)

    async def fire_schedules(self, worker_id: str, firings: Sequence[Firing]) -> tuple[FiringOutcome, ...]:
        assert worker_id
        outcomes = tuple(self._fire(firing) for firing in firings)
        if error := self.after_firing():
            raise error
        return outcomes

    def _is_due(self, row: DueSchedule) -> bool:
        if self._held_until.get(row.id, self.now) > self.now:
            return False
        return row.id not in self.errors if row.next_run_at is None else row.next_run_at <= self.now

    def _fire(self, firing: Firing) -> FiringOutcome:
        self.firings.append(firing)
        row = self.schedules[firing.schedule.id]
        if row.next_run_at != firing.schedule.next_run_at:
            return FiringOutcome(row.id, "lost")
        self._held_until.pop(row.id, None)
        self.schedules[row.id] = replace(row, next_run_at=firing.next_run_at)
        if firing.error is not None:
            self.errors[row.id] = firing.error
        self.fired[row.id] += firing.runs
        return FiringOutcome(row.id, "ok", tuple(run.isoformat() for run in firing.runs), firing.error)
