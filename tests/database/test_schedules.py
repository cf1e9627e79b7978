"""Schedules: what a worker is given to compute, and what the database makes of the times it names.

The times are computed by workers/cron.py, which has tests of its own; here they are any times.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, refused, when_it_waited
from tests.database.schedule_kit import HOUR, SECOND, add, claim, fire, fire_one, firing, now, read, tasks

# What is due --------------------------------------------------------------------------------------------------------


def test_due_are_a_time_that_has_come_and_none_yet_and_nothing_else(tenant: Tenant, worker: Worker) -> None:
    past, new = add(tenant, now() - HOUR), add(tenant)
    others = [add(tenant, now() + HOUR), add(tenant, now() - HOUR, enabled=False), add(tenant, enabled=False)]
    given = {row["id"]: row for row in claim(worker, past, new, *others)}
    assert set(given) == {past, new}
    assert given[new]["next_run_at"] is None
    assert set(given[past]) == {"id", "cron", "time_zone", "next_run_at", "catch_up_policy", "now"}
    assert datetime.fromisoformat(given[past]["now"]) - datetime.fromisoformat(given[past]["next_run_at"]) >= HOUR


def test_a_claimed_schedule_is_another_worker_s_after_ten_seconds(tenant: Tenant, world: World, worker: Worker) -> None:
    schedule = add(tenant, now())
    assert claim(worker, schedule)
    later = world.worker()
    assert claim(later, schedule) == []
    assert claim(later.on(world.service.at("5 seconds")), schedule) == []
    assert claim(later.on(world.service.at("11 seconds")), schedule)


def test_a_change_of_the_rhythm_ends_the_hold(tenant: Tenant, worker: Worker) -> None:
    schedule = add(tenant, now())
    assert claim(worker, schedule)
    tenant.owner.update("schedules", {"id": schedule}, cron="0 7 * * *")
    (row,) = claim(worker, schedule)
    assert (row["cron"], row["next_run_at"]) == ("0 7 * * *", None)


def test_workers_that_claim_at_once_get_different_schedules(tenant: Tenant, world: World) -> None:
    schedules = {add(tenant, now()) for _ in range(40)}
    given = in_parallel([world.service] * 8, lambda session: session.call("claim_schedules", worker_id="w"))
    ids = [row["id"] for rows in given for row in rows if row["id"] in schedules]
    assert len(ids) == len(set(ids))


def test_claims_refuse_numbers_out_of_range_and_nameless_workers(world: World) -> None:
    for arguments, token in (
        ({"worker_id": "w", "max_schedules": 1001}, "argument_out_of_range"),
        ({"worker_id": " "}, "worker_id_invalid"),
    ):
        with refused("22023", token):
            world.service.call("claim_schedules", **arguments)


def told(session: Session) -> bool:
    answer = session.call("exchange_work", worker_id="w", request_id=str(uuid.uuid4()))
    return bool(answer["schedules_due"])


def test_an_exchange_tells_once_a_second_that_something_is_due(tenant: Tenant, world: World) -> None:
    worker = Worker(world.service, "w")
    # In one transaction: one moment, and gone afterwards.
    with world.service.transaction(keep=False) as connection:
        claim(worker)  # What other tests left is held.
        connection.execute("update private.maintenance set last_run_at = '-infinity'")
        assert not told(world.service)
        add(tenant, now() - SECOND)
        assert not told(world.service), "another exchange of this second has looked"
        later = world.service.at("2 seconds")
        assert told(later)
        assert not told(later)


def test_looking_for_what_is_due_is_one_probe_of_an_index(world: World, tenant: Tenant) -> None:
    with world.admin.transaction(keep=False) as connection:
        connection.execute("alter table public.schedules disable trigger prepare_schedule")
        connection.execute(
            "insert into public.schedules (organization_slug, user_id, name, cron, method, prompt, next_run_at)"
            " select %s, %s, 'n' || n, '0 6 * * *', 'process', 'x', now() + interval '1 day'"
            " from generate_series(1, 1000) n",
            [tenant.slug, tenant.owner.id],
        )
        connection.execute("analyze public.schedules")
        body = connection.execute("select prosrc from pg_proc where proname = 'schedules_are_due'").fetchone()
        assert body is not None
        plan = connection.execute("explain (analyze, buffers, timing off) " + body["prosrc"]).fetchall()
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "schedules_due_idx" in text
    assert "Seq Scan" not in text


# Firing -------------------------------------------------------------------------------------------------------------


def test_a_time_becomes_a_task_of_the_schedule_s(tenant: Tenant) -> None:
    at = now() - SECOND
    schedule = add(tenant, at, params=Jsonb({"words": 5}), prompt="Write a post.")
    outcome = fire_one(tenant, schedule, at, at)
    (task,) = tasks(tenant, schedule)
    iso = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert outcome == {"schedule_id": schedule, "outcome": "ok", "task_ids": [str(task["id"])]}
    columns = ("organization_slug", "agent_slug", "method", "prompt", "params", "status", "idempotency_key")
    assert {column: task[column] for column in columns} == {
        "organization_slug": tenant.slug,
        "agent_slug": tenant.agent,
        "method": "process",
        "prompt": "Write a post.",
        "params": {"words": 5},
        "status": "pending",
        "idempotency_key": f"schedule:{schedule}:{iso}",
    }
    assert str(task["user_id"]) == tenant.owner.id
    assert task["metadata"] == {"schedule_id": schedule, "scheduled_for": iso}
    row = read(tenant, schedule)
    assert (row["last_run_at"], row["last_task_id"]) == (at, task["id"])
    assert row["next_run_at"] > now()
    assert (row["held_until"], row["last_error"]) == (None, None)


def test_a_schedule_without_a_time_gets_one_and_fires_nothing(tenant: Tenant) -> None:
    schedule, at = add(tenant), now() + HOUR
    assert fire_one(tenant, schedule, None, then=at)["outcome"] == "ok"
    row = read(tenant, schedule)
    assert (row["next_run_at"], row["last_run_at"], tasks(tenant, schedule)) == (at, None, [])


def test_the_same_firing_again_is_lost_and_no_second_task(tenant: Tenant) -> None:
    at = now()
    schedule = add(tenant, at)
    item = firing(schedule, at, at)
    words = [fire(tenant.world.service, item)[0]["outcome"] for _ in range(3)]
    assert (words, len(tasks(tenant, schedule))) == (["ok", "lost", "lost"], 1)


def test_a_time_that_was_fired_is_not_fired_again_when_it_is_set_back(tenant: Tenant) -> None:
    at = now()
    schedule = add(tenant, at, overlap_policy="queue")
    for _ in range(2):
        assert fire_one(tenant, schedule, at, at)["outcome"] == "ok"
        tenant.world.service.update("schedules", {"id": schedule}, next_run_at=at)
    assert len(tasks(tenant, schedule)) == 1


def test_eight_workers_that_fire_at_once_make_one_task(tenant: Tenant, world: World) -> None:
    at = now()
    schedules = [add(tenant, at, overlap_policy=overlap) for overlap in ("skip", "queue", "cancel_previous") * 3]
    items = [firing(schedule, at, at) for schedule in schedules]
    # Each in an order of its own: the database takes them in one.
    orders = [sorted(items, key=lambda _: uuid.uuid4()) for _ in range(8)]
    answers = in_parallel([world.service] * 8, lambda session: fire(session, *orders.pop()))
    for schedule in schedules:
        words = sorted(row["outcome"] for rows in answers for row in rows if row["schedule_id"] == schedule)
        assert words == ["lost"] * 7 + ["ok"]
        assert [task["status"] for task in tasks(tenant, schedule)] == ["pending"]


@pytest.mark.parametrize(
    "change", [{"cron": "0 7 * * *"}, {"time_zone": "Europe/Vienna"}, {"enabled": False}, {"overlap_policy": None}]
)
def test_a_firing_that_was_computed_before_a_change_is_lost(tenant: Tenant, change: Row) -> None:
    at = now()
    for expected in (at, None):
        schedule = add(tenant, expected)
        if "overlap_policy" in change:
            tenant.world.service.execute("delete from public.schedules where id = %s", schedule)
        else:
            tenant.owner.update("schedules", {"id": schedule}, **change)
        runs = [at] if expected else []
        outcome = fire_one(tenant, schedule, expected, *runs, cron="0 6 * * *", time_zone="UTC")
        assert outcome == {"schedule_id": schedule, "outcome": "lost", "task_ids": []}
        assert tasks(tenant, schedule) == []


def test_a_firing_waits_for_a_change_and_then_is_lost(tenant: Tenant, world: World) -> None:
    at = now()
    schedule = add(tenant, at)
    (outcome,) = when_it_waited(
        tenant.owner,
        lambda session: session.connection.execute(
            "update public.schedules set enabled = false where id = %s", [schedule]
        ),
        world.service,
        lambda session: fire(session, firing(schedule, at, at)),
    )
    assert (outcome["outcome"], tasks(tenant, schedule)) == ("lost", [])


@pytest.mark.parametrize(
    ("expected", "runs", "then"),
    [
        (-HOUR, [-2 * HOUR], HOUR),  # before the time that was expected
        (-HOUR, [-HOUR, HOUR], 2 * HOUR),  # in the future
        (-HOUR, [-HOUR], -HOUR),  # and on the spot for ever
        (-HOUR, [], -HOUR),
        (-HOUR, [-HOUR + n * SECOND for n in range(101)], HOUR),
        (None, [-HOUR], HOUR),  # a schedule without a time has missed none
    ],
)
def test_times_that_cannot_be_are_refused_and_change_nothing(
    tenant: Tenant, expected: timedelta | None, runs: list[timedelta], then: timedelta
) -> None:
    at = now()
    schedule = add(tenant, at + expected if expected else None)
    before = read(tenant, schedule)
    outcome = fire_one(
        tenant, schedule, at + expected if expected else None, *(at + run for run in runs), then=at + then
    )
    assert (outcome["outcome"], outcome["detail"]) == ("invalid", "firing_invalid")
    assert (read(tenant, schedule), tasks(tenant, schedule)) == (before, [])


def test_items_that_are_none_are_invalid_and_the_others_are_taken(tenant: Tenant) -> None:
    at = now()
    schedule = add(tenant, at)
    item = firing(schedule, at, at)
    bad = [{**item, "schedule_id": "no-uuid"}, {**item, "runs": "x"}, {**item, "next_run_at": None}]
    bad += [{**item, "next_run_at": "infinity"}, {**item, "expected_next_run_at": "yesterday, about"}]
    outcomes = fire(tenant.world.service, *bad, item)
    assert sorted(row["outcome"] for row in outcomes) == ["invalid"] * 5 + ["ok"]
    for items in (Jsonb({}), Jsonb([{}] * 1001), None):
        with refused("22023", "items_not_a_list"):
            tenant.world.service.call("fire_schedules", worker_id="w", items=items)
