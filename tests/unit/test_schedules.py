"""workers.schedules: what is computed for a schedule that is due, and how a worker claims and fires."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.fake_backend import FakeBackend, FakeTask
from tests.unit.fake_schedules import FakeSchedules
from tests.unit.helpers import echo, options, quiet_log, running, until
from workers.cron import fire_times
from workers.errors import AnswerUnreadable, BackendUnavailable
from workers.schedules import (
    DueSchedule,
    Firing,
    FiringOutcome,
    Scheduler,
    parse_due,
    parse_firing_outcomes,
    plan,
    run_due,
)
from workers.worker import Worker

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def due(cron: str = "0 * * * *", **columns: Any) -> DueSchedule:
    row = {"id": "s1", "time_zone": "UTC", "next_run_at": NOON, "catch_up_policy": "one", "now": NOON, **columns}
    return DueSchedule(cron=cron, **row)


def logged(log: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


# Computing ----------------------------------------------------------------------------------------------------------


def test_a_new_schedule_fires_nothing_and_gets_its_next_time() -> None:
    firing = plan(due(next_run_at=None, now=NOON + timedelta(minutes=1)))
    assert (firing.runs, firing.next_run_at, firing.error) == ((), NOON + HOUR, None)


def test_a_time_that_has_come_fires_and_the_next_one_is_later() -> None:
    firing = plan(due(now=NOON + timedelta(seconds=3)))
    assert (firing.runs, firing.next_run_at) == ((NOON,), NOON + HOUR)


def test_a_time_that_somebody_set_is_fired_although_the_rule_does_not_name_it() -> None:
    set_by_hand = NOON - timedelta(minutes=17, microseconds=5)
    firing = plan(due("0 6 * * *", next_run_at=set_by_hand))
    assert (firing.runs, firing.next_run_at) == ((set_by_hand,), NOON + 18 * HOUR)


def test_a_time_that_has_not_come_is_left_alone() -> None:
    firing = plan(due(next_run_at=NOON + timedelta(minutes=30)))
    assert (firing.runs, firing.next_run_at) == ((), NOON + HOUR)


@pytest.mark.parametrize("policy", ["none", "one"])
def test_of_many_missed_times_the_last_is_fired(policy: str) -> None:
    firing = plan(due(next_run_at=NOON - 30 * HOUR, now=NOON + timedelta(minutes=59), catch_up_policy=policy))
    assert (firing.runs, firing.next_run_at) == ((NOON,), NOON + HOUR)


def test_the_last_of_millions_of_missed_times_is_found_at_once() -> None:
    firing = plan(due("* * * * * *", next_run_at=NOON - timedelta(days=3650)))
    assert (firing.runs, firing.next_run_at) == ((NOON,), NOON + timedelta(seconds=1))


def test_all_missed_times_are_fired_in_order() -> None:
    firing = plan(due(next_run_at=NOON - 3 * HOUR, catch_up_policy="all"))
    assert firing.runs == (NOON - 3 * HOUR, NOON - 2 * HOUR, NOON - HOUR, NOON)
    assert firing.next_run_at == NOON + HOUR


def test_all_is_a_hundred_at_a_time_and_the_rest_is_still_due() -> None:
    firing = plan(due("* * * * *", next_run_at=NOON - 3 * HOUR, catch_up_policy="all"))
    assert (len(firing.runs), firing.runs[0]) == (100, NOON - 3 * HOUR)
    assert firing.next_run_at == firing.runs[-1] + timedelta(minutes=1) < NOON


@settings(deadline=None)
@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 */5 * * *", "30 2 * * 1", "*/20 * * * * *"]), st.integers(0, 10**5)
)
def test_the_last_missed_time_is_the_end_of_all_missed_times(cron: str, seconds: int) -> None:
    since = NOON - timedelta(seconds=seconds)
    missed = takewhile(lambda at: at <= NOON, fire_times(cron, UTC, since))
    assert plan(due(cron, next_run_at=since)).runs == ([since, *missed][-1],)


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"cron": "0 0 30 2 *"}, "cron_invalid: '0 0 30 2 *' cannot be read: Bad day-of-month."),
        ({"cron": "61 * * * *"}, "cron_invalid: "),
        ({"cron": "* * */20 * 1L"}, "cron_never_fires: "),
        ({"time_zone": "Mars/Olympus"}, "unknown_time_zone: "),
        ({"time_zone": ""}, "unknown_time_zone: "),
        ({"now": datetime.max.replace(tzinfo=UTC), "next_run_at": None}, "cron_invalid: "),
    ],
)
def test_what_cannot_be_computed_is_said_and_not_raised(columns: dict[str, Any], error: str) -> None:
    firing = plan(due(**columns))
    assert (firing.runs, firing.next_run_at) == ((), None)
    assert firing.error is not None
    assert firing.error.startswith(error)


def test_an_item_says_what_it_was_computed_from() -> None:
    schedule = due(time_zone="Europe/Vienna")
    assert Firing(schedule, (NOON,), NOON + HOUR).to_json() == {
        "schedule_id": "s1",
        "expected_next_run_at": "2025-01-01T12:00:00+00:00",
        "cron": "0 * * * *",
        "time_zone": "Europe/Vienna",
        "runs": ["2025-01-01T12:00:00+00:00"],
        "next_run_at": "2025-01-01T13:00:00+00:00",
        "error": None,
    }
    assert Firing(due(next_run_at=None), error="no").to_json()["expected_next_run_at"] is None


# Reading answers ----------------------------------------------------------------------------------------------------


def test_a_claim_is_read_with_its_microseconds_and_unknown_keys_are_ignored() -> None:
    row = {"id": "s1", "cron": "* * * * *", "time_zone": "UTC", "next_run_at": "2025-01-01T12:00:00.000005+00:00"}
    row |= {"catch_up_policy": "all", "now": "2025-01-01T12:00:01+00:00", "of_a_later_version": "1"}
    (read,) = parse_due(json.dumps([row]).encode())
    assert Firing(read).to_json()["expected_next_run_at"] == "2025-01-01T12:00:00.000005+00:00"
    outcomes = parse_firing_outcomes(b'[{"schedule_id": "s1", "outcome": "lost", "task_ids": []}]')
    assert outcomes == (FiringOutcome("s1", "lost"),)


@pytest.mark.parametrize("body", [b"null", b"{}", b'[{"id": "s1"}]', b"<html>", b""])
def test_an_answer_of_another_form_is_unreadable(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable, match="claim_schedules"):
        parse_due(body)
    with pytest.raises(AnswerUnreadable, match="fire_schedules"):
        parse_firing_outcomes(body)


# Claiming and firing --------------------------------------------------------------------------------------------------


async def test_what_is_due_is_fired_and_what_is_broken_does_not_stop_it() -> None:
    backend, log = FakeSchedules(), StringIO()
    good = [backend.add_schedule(next_run_at=NOON) for _ in range(3)]
    bad = backend.add_schedule("0 0 30 2 *", next_run_at=NOON)
    assert await run_due(backend, "w1", quiet_log(log)) == 3
    assert [backend.fired[each] for each in good] == [[NOON]] * 3
    assert (backend.fired[bad], backend.errors[bad].partition(":")[0]) == ([], "cron_invalid")
    assert not backend.schedules_due, "a broken schedule is not tried again and again"
    assert [line["event"] for line in logged(log)].count("schedule_broken") == 1


async def test_more_than_one_claim_holds_are_fired_in_one_go() -> None:
    backend = FakeSchedules()
    for _ in range(45):
        backend.add_schedule(next_run_at=NOON)
    assert await run_due(backend, "w1", quiet_log()) == 45


async def test_two_workers_at_once_fire_each_time_once() -> None:
    backend = FakeSchedules()
    each = [backend.add_schedule(next_run_at=NOON) for _ in range(30)]
    log = quiet_log()
    made = await asyncio.gather(*(run_due(backend, f"w{n}", log) for n in range(4)))
    assert sum(made) == 30
    assert [backend.fired[schedule] for schedule in each] == [[NOON]] * 30


async def test_a_lost_answer_is_no_second_task() -> None:
    backend = FakeSchedules()
    schedule = backend.add_schedule(next_run_at=NOON)
    backend.after_firing = lambda: BackendUnavailable("the answer was lost")
    log = quiet_log()
    with pytest.raises(BackendUnavailable):
        await run_due(backend, "w1", log)
    (outcome,) = await FakeSchedules.fire_schedules(_without_loss(backend), "w1", backend.firings[:1])
    assert outcome.outcome == "lost"
    assert backend.fired[schedule] == [NOON]


def _without_loss(backend: FakeSchedules) -> FakeSchedules:
    backend.after_firing = lambda: None
    return backend


# Beside the exchanges -------------------------------------------------------------------------------------------------


async def test_firing_runs_once_at_a_time_and_tells_when_there_are_tasks() -> None:
    backend, told = FakeSchedules(), asyncio.Event()
    backend.add_schedule(next_run_at=NOON)
    scheduler = Scheduler("w1", quiet_log(), told.set)
    for _ in range(3):
        scheduler.begin(backend)
        assert scheduler.busy
    await asyncio.wait_for(told.wait(), 5)
    assert len(backend.firings) == 1
    await scheduler.close()
    assert not scheduler.busy


@pytest.mark.parametrize("error", [BackendUnavailable("away"), RuntimeError("a bug")])
async def test_a_failure_is_logged_and_the_next_time_works(error: Exception) -> None:
    backend, log, told = FakeSchedules(), StringIO(), asyncio.Event()
    backend.add_schedule(next_run_at=NOON)
    scheduler = Scheduler("w1", quiet_log(log), told.set)

    def fail() -> None:
        raise error

    backend.before_claim = fail
    scheduler.begin(backend)
    await until(lambda: not scheduler.busy)
    assert [line["event"] for line in logged(log)] == ["schedules_not_fired"]
    backend.before_claim = lambda: None
    scheduler.begin(backend)
    await asyncio.wait_for(told.wait(), 5)
    await scheduler.close()


async def test_closing_ends_what_hangs() -> None:
    class Hanging(FakeSchedules):
        async def claim_schedules(self, worker_id: str, max_schedules: int) -> tuple[DueSchedule, ...]:
            await asyncio.sleep(3600)
            return await super().claim_schedules(worker_id, max_schedules)

    scheduler = Scheduler("w1", quiet_log(), lambda: None)
    await scheduler.close()
    scheduler.begin(Hanging())
    await asyncio.sleep(0)
    await asyncio.wait_for(scheduler.close(), 5)
    assert not scheduler.busy


async def test_a_worker_fires_what_is_due_and_goes_on_exchanging() -> None:
    backend = FakeBackend()
    broken, good = backend.add_schedule("0 0 30 2 *", next_run_at=NOON), backend.add_schedule(next_run_at=NOON)
    task = backend.add_task()
    async with running(backend):
        await until(lambda: backend.fired[good] == [NOON] and broken in backend.errors)
        await until(lambda: task.status == "completed")
        backend.now += HOUR
        await until(lambda: backend.fired[good] == [NOON, NOON + HOUR])
    assert backend.fired[broken] == []


async def test_schedules_that_fail_cost_the_worker_nothing() -> None:
    backend, log = FakeBackend(), StringIO()
    backend.add_schedule(next_run_at=NOON)
    backend.before_claim = lambda: BackendUnavailable("away")
    async with running(backend, log=log):
        tasks = [backend.add_task() for _ in range(20)]
        await until(lambda: all(task.status == "completed" for task in tasks))
        await until(lambda: any(line["event"] == "schedules_not_fired" for line in logged(log)))


async def test_a_worker_that_leaves_when_nothing_is_pending_stays_for_what_its_schedules_make() -> None:
    backend = FakeBackend()
    backend.add_schedule(next_run_at=NOON)
    made: list[FakeTask] = []
    backend.after_firing = lambda: made.append(backend.add_task())
    worker = Worker(options(once=True), {"echo": echo}, backend.connect, quiet_log())
    await asyncio.wait_for(worker.run(), 15)
    assert [task.status for task in made] == ["completed"]


async def test_a_worker_that_is_told_to_leave_does_not_wait_for_schedules() -> None:
    class Hanging(FakeBackend):
        async def claim_schedules(self, worker_id: str, max_schedules: int) -> tuple[DueSchedule, ...]:
            claiming.set()
            await asyncio.sleep(3600)
            return await super().claim_schedules(worker_id, max_schedules)

    claiming = threading.Event()
    backend = Hanging()
    backend.add_schedule(next_run_at=NOON)
    async with running(backend) as worker:
        await until(claiming.is_set)
        worker.drain()
        await until(lambda: bool(backend.stopped))
