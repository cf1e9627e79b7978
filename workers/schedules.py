"""Schedules that are due: claimed, their times computed from cron and time zone, and fired by the database.

The rules (once only, catch-up, overlap, what a broken schedule does) stand in the migration of `schedules`. What is
computed here depends on nothing but the schedule and the time that the database gave, so any worker may do it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSimError
from pydantic import TypeAdapter, ValidationError
from structlog.typing import FilteringBoundLogger

from workers.cron import fire_times
from workers.errors import AnswerUnreadable

# At once: schedules in one claim, tasks of one schedule (the database refuses more), claims before others get a turn.
_MAX_SCHEDULES = 20
_MAX_RUNS = 100
_MAX_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule that this worker holds for some seconds; `next_run_at` is None when it is to be computed."""

    id: str
    cron: str
    time_zone: str
    next_run_at: datetime | None
    catch_up_policy: Literal["none", "one", "all"]
    now: datetime


@dataclass(frozen=True, slots=True)
class Firing:
    """What is to happen to a schedule: tasks for `runs`, in order, and then to wait for `next_run_at`.

    With `error` there is no next time: the schedule rests until somebody changes it.
    """

    schedule: DueSchedule
    runs: tuple[datetime, ...] = ()
    next_run_at: datetime | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the item of `fire_schedules`: it acts only if the schedule is still what this was computed from."""
        expected = self.schedule.next_run_at
        return {
            "schedule_id": self.schedule.id,
            "expected_next_run_at": None if expected is None else expected.isoformat(),
            "cron": self.schedule.cron,
            "time_zone": self.schedule.time_zone,
            "runs": [run.isoformat() for run in self.runs],
            "next_run_at": None if self.next_run_at is None else self.next_run_at.isoformat(),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class FiringOutcome:
    """What became of a firing; with `ok` a `detail` says why no task could be made."""

    schedule_id: str
    outcome: Literal["ok", "lost", "invalid"]
    task_ids: tuple[str, ...] = ()
    detail: str | None = None


class SchedulesBackend(Protocol):
    """What this module needs of the database. Both methods raise only `BackendError`."""

    async def claim_schedules(self, worker_id: str, max_schedules: int) -> tuple[DueSchedule, ...]:
        """Hold schedules that are due, so that no other worker computes them meanwhile."""

    async def fire_schedules(self, worker_id: str, firings: Sequence[Firing]) -> tuple[FiringOutcome, ...]:
        """Make the tasks, each once whoever asks how often."""


_DUE = TypeAdapter(tuple[DueSchedule, ...])
_OUTCOMES = TypeAdapter(tuple[FiringOutcome, ...])


def parse_due(body: bytes) -> tuple[DueSchedule, ...]:
    """Check the JSON of an answer of `claim_schedules`; keys this version does not know are ignored.

    Raises:
        AnswerUnreadable: it is not what was agreed.
    """
    try:
        return _DUE.validate_json(body)
    except ValidationError as error:
        raise AnswerUnreadable(f"claim_schedules answered in an unknown form: {error.error_count()} errors") from None


def parse_firing_outcomes(body: bytes) -> tuple[FiringOutcome, ...]:
    """Check the JSON of an answer of `fire_schedules`.

    Raises:
        AnswerUnreadable: it is not what was agreed.
    """
    try:
        return _OUTCOMES.validate_json(body)
    except ValidationError as error:
        raise AnswerUnreadable(f"fire_schedules answered in an unknown form: {error.error_count()} errors") from None


def plan(schedule: DueSchedule) -> Firing:
    """Compute what is due: the missed times (all: the first hundred; else the last one) and the time after them.

    Never raises, so that one bad schedule does not stop the others.
    """
    try:
        zone = ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return Firing(schedule, error=f"unknown_time_zone: This worker does not know {schedule.time_zone!r}.")
    try:
        return _plan(schedule, zone)
    except CronSimError as error:
        return Firing(schedule, error=f"cron_invalid: {schedule.cron!r} cannot be read: {error}.")
    except StopIteration:
        return Firing(schedule, error=f"cron_never_fires: {schedule.cron!r} names no time in the next fifty years.")
    except Exception as error:
        return Firing(schedule, error=f"cron_invalid: {schedule.cron!r} cannot be computed ({type(error).__name__}).")


def _plan(schedule: DueSchedule, zone: ZoneInfo) -> Firing:
    first, now = schedule.next_run_at, schedule.now
    after_now = fire_times(schedule.cron, zone, now)
    if first is None or first > now:
        return Firing(schedule, (), next(after_now))
    if schedule.catch_up_policy != "all":
        return Firing(schedule, (_last_missed(schedule, zone, first),), next(after_now))
    times = chain([first], fire_times(schedule.cron, zone, first))
    runs = tuple(islice(_until(now, times), _MAX_RUNS))
    return Firing(schedule, runs, next(fire_times(schedule.cron, zone, runs[-1])))


def _last_missed(schedule: DueSchedule, zone: ZoneInfo, first: datetime) -> datetime:
    """Return the last time from `first` up to now, looking back ever further, since there may be millions."""
    window = timedelta(minutes=1)
    while (since := schedule.now - window) > first:
        missed = tuple(_until(schedule.now, fire_times(schedule.cron, zone, since)))
        if missed:
            return missed[-1]
        window *= 2
    return max(chain([first], _until(schedule.now, fire_times(schedule.cron, zone, first))))


def _until(now: datetime, times: Iterable[datetime]) -> Iterator[datetime]:
    return takewhile(lambda at: at <= now, times)


async def run_due(backend: SchedulesBackend, worker_id: str, log: FilteringBoundLogger) -> int:
    """Claim what is due, compute it and fire it until nothing is left; return how many tasks were made.

    Raises:
        BackendError: what was claimed and not fired is due again, for any worker, in ten seconds.
    """
    made = 0
    for _ in range(_MAX_ROUNDS):
        due = await backend.claim_schedules(worker_id, _MAX_SCHEDULES)
        if due:
            # In a thread: a rule that fires once in decades takes long to find that out.
            firings = await asyncio.to_thread(list, map(plan, due))
            for outcome in await backend.fire_schedules(worker_id, firings):
                made += len(outcome.task_ids)
                _log_outcome(log, outcome)
        if len(due) < _MAX_SCHEDULES:
            break
    return made


def _log_outcome(log: FilteringBoundLogger, outcome: FiringOutcome) -> None:
    if outcome.outcome == "invalid":
        log.error("schedule_refused", schedule_id=outcome.schedule_id, detail=outcome.detail)
    elif outcome.detail is not None:
        log.warning("schedule_broken", schedule_id=outcome.schedule_id, detail=outcome.detail)
    elif outcome.task_ids:
        log.info("schedule_fired", schedule_id=outcome.schedule_id, tasks=len(outcome.task_ids))


class Scheduler:
    """Runs `run_due` beside the exchanges, one at a time; that it failed is only logged."""

    def __init__(self, worker_id: str, log: FilteringBoundLogger, on_made: Callable[[], None]) -> None:
        self._worker_id = worker_id
        self._log = log
        self._on_made = on_made  # Called when there are new tasks.
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether schedules are being fired."""
        return self._task is not None and not self._task.done()

    def begin(self, backend: SchedulesBackend) -> None:
        """Fire what is due, unless that is going on already."""
        if not self.busy:
            self._task = asyncio.create_task(self._run(backend))

    async def close(self) -> None:
        """Stop; what was not fired is due again for other workers."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, backend: SchedulesBackend) -> None:
        try:
            if await run_due(backend, self._worker_id, self._log):
                self._on_made()
        except Exception as error:
            # The exchange goes on: it holds leases, and the database says again when something is due.
            self._log.warning("schedules_not_fired", error=f"{type(error).__name__}: {error}")
