"""Schedules in tests: adding one, claiming, and saying times to the database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def add(tenant: Tenant, next_run_at: datetime | None = None, **columns: Any) -> str:
    """Add a schedule of the owner's, due at `next_run_at`; return its id."""
    row: Row = {"organization_slug": tenant.slug, "name": uuid.uuid4().hex, "cron": "0 6 * * *", "method": "process"}
    row |= {"prompt": "Write.", "agent_slug": tenant.agent, "user_id": tenant.owner.id, "next_run_at": next_run_at}
    return str(tenant.world.service.insert("schedules", **{**row, **columns})["id"])


def read(tenant: Tenant, schedule: str) -> Row:
    return tenant.world.admin.row("select * from public.schedules where id = %s", schedule)


def tasks(tenant: Tenant, schedule: str) -> list[Row]:
    """Read the tasks that a schedule has made, in the order of their times."""
    query = "select * from public.tasks where metadata ->> 'schedule_id' = %s order by scheduled_at, created_at"
    return tenant.world.admin.rows(query, schedule)


def claim(worker: Worker, *schedules: str) -> list[Row]:
    """Claim everything that is due; return what was given of these schedules."""
    given: list[Row] = worker.session.call("claim_schedules", worker_id=worker.id, max_schedules=1000)
    return [row for row in given if row["id"] in schedules]


def firing(schedule: str, expected: datetime | None, *runs: datetime, then: datetime | None = None, **more: Any) -> Row:
    """Build an item of fire_schedules; the next time is, unless given, in an hour."""
    return {
        "schedule_id": schedule,
        "expected_next_run_at": expected.isoformat() if expected else None,
        "runs": [run.isoformat() for run in runs],
        "next_run_at": (then or now() + HOUR).isoformat(),
        **more,
    }


def fire(session: Session, *items: Row) -> list[Row]:
    answer: list[Row] = session.call("fire_schedules", worker_id="w", items=Jsonb(list(items)))
    return answer


def fire_one(tenant: Tenant, *args: Any, session: Session | None = None, **more: Any) -> Row:
    (outcome,) = fire(session or tenant.world.service, firing(*args, **more))
    return outcome
