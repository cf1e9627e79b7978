"""Schedules with real workers: fired once by whoever comes first, caught up on, and broken ones beside good ones."""

from __future__ import annotations

import itertools
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.workers.conftest import Crew, Lab
from tests.workers.waiting import Row, wait_for

HOUR = timedelta(hours=1)


@pytest.fixture
def office(lab: Lab) -> Lab:
    """Give a laboratory whose user may have schedules."""
    lab.post("organization_members", organization_slug=lab.organization, user_id=lab.user_id, role="owner")
    return lab


def add(lab: Lab, agent: str, **columns: Any) -> str:
    row = {"organization_slug": lab.organization, "user_id": lab.user_id, "name": uuid.uuid4().hex, "method": "process"}
    row |= {"cron": "0 6 * * *", "prompt": "Write a post about tide pools", "agent_slug": agent}
    (made,) = lab.post("schedules", **{**row, **columns})
    return str(made["id"])


def read(lab: Lab, schedule: str) -> Row:
    row = lab.sql.execute("select * from public.schedules where id = %s", (schedule,)).fetchone()
    assert row is not None
    return row


def times(lab: Lab, schedule: str) -> list[datetime]:
    """Return for which times there are tasks."""
    query = (
        "select metadata ->> 'scheduled_for' as at from public.tasks where metadata ->> 'schedule_id' = %s order by 1"
    )
    return [datetime.fromisoformat(row["at"]) for row in lab.sql.execute(query, (schedule,)).fetchall()]


def set_back(lab: Lab, by: timedelta, *schedules: str) -> datetime:
    """Let the next time of schedules be that long ago; return it."""
    at = datetime.now(UTC).replace(microsecond=0) - by
    lab.sql.execute("update public.schedules set next_run_at = %s where id = any (%s)", (at, list(schedules)))
    return at


def test_a_new_schedule_is_given_its_next_time_in_its_zone(crew: Crew, office: Lab) -> None:
    crew.muster(2)
    schedule = add(office, office.add_agent(), cron="30 7 * * *", time_zone="Asia/Kathmandu")
    at = wait_for(lambda: read(office, schedule)["next_run_at"], 20, "the next time")
    assert at.astimezone(ZoneInfo("Asia/Kathmandu")).strftime("%H:%M:%S") == "07:30:00"
    assert timedelta() < at - datetime.now(UTC) <= timedelta(days=1)
    assert times(office, schedule) == []


def test_two_workers_fire_what_is_due_once_and_run_it(crew: Crew, office: Lab) -> None:
    agent = office.add_agent()
    schedules = [add(office, agent) for _ in range(10)]
    at = set_back(office, timedelta(seconds=5), *schedules)
    crew.muster(2)
    wait_for(lambda: all(times(office, schedule) for schedule in schedules), 20, "every schedule fires")
    for schedule in schedules:
        row = read(office, schedule)
        office.await_task(str(row["last_task_id"]))
        assert (row["last_run_at"], row["last_error"]) == (at, None)
        assert row["next_run_at"] > datetime.now(UTC)
    assert [times(office, schedule) for schedule in schedules] == [[at]] * 10


def test_a_broken_schedule_says_why_and_stops_no_other(crew: Crew, office: Lab) -> None:
    crew.muster(2)
    agent, inactive = office.add_agent(), office.add_agent()
    never = add(office, agent, cron="0 0 30 2 *")
    agentless, good = add(office, inactive), [add(office, agent) for _ in range(3)]
    office.sql.execute("update public.agents set status = 'inactive' where slug = %s", (inactive,))
    at = set_back(office, timedelta(seconds=2), agentless, *good)
    wait_for(lambda: all(times(office, schedule) for schedule in good), 20, "the good ones fire")
    wait_for(lambda: read(office, never)["last_error"] and read(office, agentless)["last_error"], 20, "the errors")
    assert read(office, never)["last_error"] == "cron_invalid: '0 0 30 2 *' cannot be read: Bad day-of-month."
    assert read(office, agentless)["last_error"].startswith("agent_inactive: ")
    assert [times(office, schedule) for schedule in (never, agentless, *good)] == [[], [], *([[at]] * 3)]

    seen = read(office, never)["updated_at"]
    time.sleep(2.5)
    assert read(office, never)["updated_at"] == seen, "it is not tried again and again"
    office.sql.execute("update public.schedules set cron = '0 0 28 2 *' where id = %s", (never,))
    at = wait_for(lambda: read(office, never)["next_run_at"], 20, "the corrected one is computed")
    assert (at.month, at.day, read(office, never)["last_error"]) == (2, 28, None)


def test_all_that_was_missed_is_caught_up_on_in_order(crew: Crew, office: Lab) -> None:
    agent = office.add_agent()
    policies = {"catch_up_policy": "all", "overlap_policy": "queue", "cron": "0 * * * *"}
    everything, last = add(office, agent, **policies), add(office, agent, **{**policies, "catch_up_policy": "one"})
    at = set_back(office, timedelta(hours=3, minutes=1), everything, last)
    crew.muster(2)
    wait_for(lambda: len(times(office, everything)) >= 4 and times(office, last), 20, "they catch up")
    hour = at.replace(minute=0, second=0)
    # An hour that begins meanwhile adds a time of its own.
    assert times(office, everything)[:4] == [at, hour + HOUR, hour + 2 * HOUR, hour + 3 * HOUR]
    assert times(office, last)[0] >= hour + 3 * HOUR


def test_a_schedule_of_seconds_misses_no_beat_when_a_worker_is_killed(crew: Crew, office: Lab) -> None:
    workers = crew.muster(2)
    policies = {"catch_up_policy": "all", "overlap_policy": "queue"}
    schedule = add(office, office.add_agent(), cron="*/2 * * * * *", **policies)
    wait_for(lambda: len(times(office, schedule)) >= 2, 20, "it beats")
    workers[0].kill()
    wait_for(lambda: len(times(office, schedule)) >= 7, 30, "it goes on")
    office.sql.execute("update public.schedules set enabled = false where id = %s", (schedule,))
    beats = times(office, schedule)
    assert {later - earlier for earlier, later in itertools.pairwise(beats)} == {timedelta(seconds=2)}
    assert {beat.second % 2 for beat in beats} == {0}
