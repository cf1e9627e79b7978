"""Schedules: what is caught up on after downtime, and what happens while the previous task is unfinished."""

from __future__ import annotations

import pytest

from tests.database.kit import Tenant, Worker, World, when_it_waited
from tests.database.schedule_kit import HOUR, MINUTE, SECOND, add, claim, fire, fire_one, firing, now, read, tasks

# After downtime -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "runs", "made"),
    [
        ("one", 3, [0]),
        ("one", 1, [0]),
        ("all", 3, [2, 1, 0]),
        ("none", 3, [0]),
    ],
)
def test_missed_times_are_caught_up_on_by_policy(tenant: Tenant, policy: str, runs: int, made: list[int]) -> None:
    last = now() - 30 * SECOND
    times = [last - n * HOUR for n in reversed(range(runs))]
    schedule = add(tenant, times[0], catch_up_policy=policy, overlap_policy="queue")
    assert fire_one(tenant, schedule, times[0], *times)["outcome"] == "ok"
    assert [task["scheduled_at"] for task in tasks(tenant, schedule)] == [last - n * HOUR for n in made]


@pytest.mark.parametrize(("late", "made"), [("30 seconds", 1), ("45 seconds", 1), ("65 seconds", 0), ("30 days", 0)])
def test_none_makes_a_task_up_to_a_minute_late(tenant: Tenant, late: str, made: int) -> None:
    at = now()
    schedule = add(tenant, at, catch_up_policy="none")
    session = tenant.world.service.at(late)
    outcome = fire_one(tenant, schedule, at, at, then=at + 365 * 24 * HOUR, session=session)
    assert (outcome["outcome"], len(tasks(tenant, schedule))) == ("ok", made)
    assert (read(tenant, schedule)["last_run_at"] is not None) == bool(made)


def test_a_hundred_are_made_at_once_and_others_have_their_turn_before_the_rest(tenant: Tenant, worker: Worker) -> None:
    first = now() - 200 * MINUTE
    times = [first + n * MINUTE for n in range(100)]
    schedule = add(tenant, first, catch_up_policy="all", overlap_policy="queue")
    assert len(fire_one(tenant, schedule, first, *times, then=times[-1] + MINUTE)["task_ids"]) == 100
    assert claim(worker, schedule) == []
    assert claim(worker.on(tenant.world.service.at("2 seconds")), schedule)
    keys = [task["idempotency_key"] for task in tasks(tenant, schedule)]
    assert len(set(keys)) == 100
    assert [task["scheduled_at"] for task in tasks(tenant, schedule)] == times


def test_a_schedule_that_was_off_does_not_catch_up_on_that_time(tenant: Tenant, worker: Worker) -> None:
    schedule = add(tenant, now() - 720 * HOUR, catch_up_policy="all")
    for enabled in (False, True):
        tenant.owner.update("schedules", {"id": schedule}, enabled=enabled)
    (row,) = claim(worker, schedule)
    assert row["next_run_at"] is None


# Overlap --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "in_progress", "paused"])
@pytest.mark.parametrize(
    ("policy", "statuses"),
    [("skip", ["{state}"]), ("queue", ["{state}", "pending"]), ("cancel_previous", ["cancelled", "pending"])],
)
def test_while_the_previous_task_is_unfinished(
    tenant: Tenant, worker: Worker, policy: str, statuses: list[str], state: str
) -> None:
    first, second = now() - MINUTE, now()
    schedule = add(tenant, first, overlap_policy=policy)
    fire_one(tenant, schedule, first, first, then=second)
    if state != "pending":
        worker.claim_one(tenant)
    if state == "paused":
        (task,) = tasks(tenant, schedule)
        tenant.world.service.update("tasks", {"id": task["id"]}, status="paused")
    outcome = fire_one(tenant, schedule, second, second)
    assert outcome["outcome"] == "ok"
    made = tasks(tenant, schedule)
    assert [task["status"] for task in made] == [status.format(state=state) for status in statuses]
    assert str(read(tenant, schedule)["last_task_id"]) == str(made[-1]["id"])


@pytest.mark.parametrize("policy", ["skip", "queue", "cancel_previous"])
def test_after_the_previous_task_has_ended_the_next_is_made(tenant: Tenant, worker: Worker, policy: str) -> None:
    first, second = now() - MINUTE, now()
    schedule = add(tenant, first, overlap_policy=policy)
    fire_one(tenant, schedule, first, first, then=second)
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    fire_one(tenant, schedule, second, second)
    assert [task["status"] for task in tasks(tenant, schedule)] == ["completed", "pending"]


@pytest.mark.parametrize(("policy", "made"), [("skip", [0]), ("cancel_previous", [2]), ("queue", [0, 1, 2])])
def test_of_several_times_at_once_those_are_made_that_do_not_overlap(
    tenant: Tenant, policy: str, made: list[int]
) -> None:
    times = [now() - 3 * MINUTE + n * MINUTE for n in range(3)]
    schedule = add(tenant, times[0], overlap_policy=policy, catch_up_policy="all")
    fire_one(tenant, schedule, times[0], *times)
    assert [task["scheduled_at"] for task in tasks(tenant, schedule)] == [times[n] for n in made]


def test_queued_tasks_share_a_concurrency_key(tenant: Tenant) -> None:
    times = [now() - MINUTE, now()]
    schedule = add(tenant, times[0], overlap_policy="queue", catch_up_policy="all")
    fire_one(tenant, schedule, times[0], *times)
    assert [task["concurrency_key"] for task in tasks(tenant, schedule)] == [f"schedule:{schedule}"] * 2


def test_cancelling_the_previous_task_and_a_worker_that_reports_it_do_not_lock_each_other_out(
    tenant: Tenant, world: World, worker: Worker
) -> None:
    first, second = now() - MINUTE, now()
    schedule = add(tenant, first, overlap_policy="cancel_previous")
    fire_one(tenant, schedule, first, first, then=second)
    lease = worker.claim_one(tenant)
    (outcome,) = when_it_waited(
        world.service,
        lambda session: worker.on(session).complete(lease),
        world.service,
        lambda session: fire(session, firing(schedule, second, second)),
    )
    assert outcome["outcome"] == "ok"
    assert [task["status"] for task in tasks(tenant, schedule)] == ["completed", "pending"]
