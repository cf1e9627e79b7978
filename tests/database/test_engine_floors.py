"""Floors: where claims begin while a long-running snapshot keeps the entries of what has been claimed before.

Whatever a floor says, a pending task is claimed at the latest after the next check; a floor set by hand stands for
every way in which one can be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.database.kit import Connection, Session, Tenant, Worker, World, connect, in_parallel

DEAD = 3000


def set_floor(tenant: Tenant, at: str, priority: int = 100, ticket: int = 0) -> None:
    """Let claims of this lane begin at so much after now."""
    tenant.world.admin.execute(
        "insert into private.queue_floors values (%s, 'process', %s, now() + %s::interval, %s)",
        tenant.slug,
        priority,
        at,
        ticket,
    )


def floors(tenant: Tenant) -> list[int]:
    """Give the priorities of the lanes that have floors."""
    query = "select priority from private.queue_floors where organization_slug = %s order by priority"
    return [row["priority"] for row in tenant.world.admin.rows(query, tenant.slug)]


def claimed(worker: Worker, tenant: Tenant, max_tasks: int = 10) -> list[str]:
    return [lease["task"]["id"] for lease in worker.claim(tenant, max_tasks)]


def check(session: Session) -> None:
    """Let the reaper run with its check of the floors due."""
    session.execute(
        "update private.maintenance set last_run_at = '-infinity', rests_until = '-infinity' where name = any (%s)",
        ["reap_tasks", "check_floors"],
    )
    session.execute("select private.reap_tasks()")


@contextmanager
def snapshot(world: World) -> Iterator[None]:
    """Hold a snapshot open, so that no dead entry goes."""
    with connect(world.dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            connection.execute("select count(*) from public.organizations")
            yield


def leave_dead(tenant: Tenant, count: int = DEAD, priority: int = 100) -> None:
    """Add tasks that are older than all others of the lane and cancel them."""
    tenant.world.admin.execute(
        "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, priority, scheduled_at)"
        " select %s, %s, %s, 'process', 'x', %s, now() - interval '1 hour' from generate_series(1, %s)",
        tenant.slug,
        tenant.owner.id,
        tenant.agent,
        priority,
        count,
    )
    tenant.world.admin.execute(
        "update public.tasks set status = 'cancelled' where organization_slug = %s and status = 'pending'"
        " and scheduled_at < now() - interval '50 minutes'",
        tenant.slug,
    )


def walked(connection: Connection, tenant: Tenant, worker: Worker, max_tasks: int) -> tuple[int, int]:
    """Claim in a transaction that is undone; give how many tasks, and how many entries of the index it passed."""

    def value(query: str, *args: Any) -> int:
        row = connection.execute(query.encode(), args).fetchone()
        assert row
        return int(row["n"])

    entries = "select private.entries_walked('private.live_tasks_pending_idx') as n"
    claim = "select json_array_length(public.claim_tasks(%s, %s, organizations => array[%s])) as n"
    with connection.transaction(force_rollback=True):
        connection.execute("set local role service_role")
        before = value(entries)  # What earlier transactions passed may be counted still.
        return value(claim, worker.id, max_tasks, tenant.slug), value(entries) - before


def test_a_claim_that_walks_far_leaves_a_floor_for_the_next(tenant: Tenant, worker: Worker, world: World) -> None:
    with snapshot(world), connect(world.dsn) as connection:
        first = [tenant.task(priority=1) for _ in range(2)]
        leave_dead(tenant)
        tasks = [tenant.task() for _ in range(20)]
        assert floors(tenant) == []
        before = walked(connection, tenant, worker, 10)
        assert before[0] == 10
        assert before[1] > DEAD
        assert claimed(worker, tenant, 4) == [*first, *tasks[:2]]
        assert floors(tenant) == [100]
        after = walked(connection, tenant, worker, 10)
        assert after[0] == 10
        assert after[1] < DEAD / 3
        assert claimed(worker, tenant, 50) == tasks[2:]
    # The snapshot is gone, and so are the dead entries when the next scans have passed.
    world.admin.execute("select private.check_floors()")
    check(world.service)
    if floors(tenant):
        with connect(world.dsn) as connection:
            connection.execute("vacuum private.live_tasks")
        check(world.service)
    assert floors(tenant) == []


@pytest.mark.parametrize("named", [True, False], ids=["one organization", "all"])
def test_whatever_a_floor_hides_is_found_by_the_check(
    tenant: Tenant, worker: Worker, world: World, named: bool
) -> None:
    tasks = [tenant.task() for _ in range(3)]
    set_floor(tenant, "1 hour")
    assert claimed(worker, tenant) == []
    check(world.service)
    if named:
        assert claimed(worker, tenant) == tasks
    else:
        leases = world.service.call("claim_tasks", worker_id=worker.id, max_tasks=1000)
        assert [x["task"]["id"] for x in leases if x["task"]["organization_slug"] == tenant.slug] == tasks


def test_a_low_floor_hides_nothing(tenant: Tenant, worker: Worker, world: World) -> None:
    tasks = [tenant.task(priority=p) for p in (5, 10, 50, 100, 100, 2147483647)]
    for priority in (-2147483648, 10, 100, 2147483647):
        set_floor(tenant, "-1 hour", priority)
    assert claimed(worker, tenant, 3) == tasks[:3]
    other = world.tenant()
    mine = other.task()
    leases = world.service.call("claim_tasks", worker_id=worker.id, max_tasks=1000)
    ids = [x["task"]["id"] for x in leases]
    assert set(tasks[3:]) | {mine} <= set(ids)


@pytest.mark.parametrize("way", ["insert", "priority", "keyed", "retry", "update", "release"])
def test_what_becomes_pending_below_a_floor_is_claimed_next(tenant: Tenant, worker: Worker, way: str) -> None:
    admin = tenant.world.admin
    task_id = ""
    if way in ("retry", "release"):
        task_id = tenant.task()
        lease = worker.claim_one(tenant)
        set_floor(tenant, "1 minute")
        if way == "retry":
            assert worker.fail(lease) == "ok"
            tenant.owner.call("retry_task", task_id=task_id)
        else:
            assert worker.report(
                "release_tasks", {k: lease[k] for k in ("attempt", "lease_token")} | {"task_id": task_id}
            ) == ["ok"]
    elif way == "update":
        task_id = tenant.task(scheduled_at="2100-01-01")
        set_floor(tenant, "1 minute")
        admin.execute("update public.tasks set scheduled_at = now() where id = %s", task_id)
    else:
        set_floor(tenant, "1 minute")
        ways: dict[str, dict[str, Any]] = {"priority": {"priority": 1}, "keyed": {"concurrency_key": "k"}}
        more = ways.get(way, {})
        task_id = tenant.task(**more)
    assert claimed(worker, tenant) == [task_id]


def test_a_promoted_and_a_woken_task_lower_the_floor(tenant: Tenant, worker: Worker) -> None:
    first, second = (tenant.task(concurrency_key="k", priority=7) for _ in range(2))
    later = tenant.task(scheduled_at="2100-01-01")
    lease = worker.claim_one(tenant)
    set_floor(tenant, "1 minute", 7)
    assert claimed(worker, tenant) == []
    assert worker.complete(lease) == "ok"
    assert claimed(worker, tenant) == [second]
    assert lease["task"]["id"] == first
    set_floor(tenant, "200 years")
    assert claimed(worker.on(worker.session.at("100 years")), tenant) == [later]


def test_a_late_committer_is_found(tenant: Tenant, worker: Worker, world: World) -> None:
    with tenant.owner.fresh() as late, late.transaction() as connection:
        row = connection.execute(
            "insert into public.tasks (organization_slug, agent_slug, method, prompt) values (%s, %s, 'process', 'x')"
            " returning id::text",
            [tenant.slug, tenant.agent],
        ).fetchone()
        assert row
        set_floor(tenant, "1 minute")
        check(world.service)
    set_floor_again = (
        "update private.queue_floors set scheduled_at = now() + interval '1 minute' where organization_slug = %s"
    )
    if not floors(tenant):
        set_floor(tenant, "1 minute")
    else:
        world.admin.execute(set_floor_again, tenant.slug)
    assert claimed(worker, tenant) == []
    check(world.service)
    assert claimed(worker, tenant) == [row["id"]]


def test_a_locked_floor_is_waited_for_by_nobody(tenant: Tenant, worker: Worker, world: World) -> None:
    set_floor(tenant, "1 minute")
    with world.admin.fresh() as other, other.transaction() as connection:
        connection.execute("select from private.queue_floors for update")
        task_id = tenant.task()
        assert claimed(worker, tenant) == []
        check(world.service)
        assert claimed(worker, tenant) == []
    check(world.service)
    assert claimed(worker, tenant) == [task_id]


@pytest.mark.parametrize("held_back", ["paused", "inactive", "limited"])
def test_floors_change_nothing_about_what_may_run(world: World, worker: Worker, held_back: str) -> None:
    tenant = world.tenant(**({"max_concurrent_tasks": 1} if held_back == "limited" else {}))
    tasks = [tenant.task() for _ in range(2)]
    set_floor(tenant, "-1 hour")
    if held_back == "paused":
        tenant.owner.call("pause_queue", organization_slug=tenant.slug)
    elif held_back == "inactive":
        world.admin.execute("update public.organizations set is_active = false where slug = %s", tenant.slug)
    free = tasks[:1] if held_back == "limited" else []
    for lease in (leases := everything(world, worker)):
        assert lease["task"]["organization_slug"] != tenant.slug or lease["task"]["id"] in free
    assert [x["task"]["id"] for x in leases if x["task"]["organization_slug"] == tenant.slug] == free
    assert claimed(worker, tenant) == []


def everything(world: World, worker: Worker) -> list[Any]:
    leases: list[Any] = world.service.call("claim_tasks", worker_id=worker.id, max_tasks=1000)
    return leases


def test_many_who_raise_at_once_claim_each_task_once(tenant: Tenant, world: World) -> None:
    with snapshot(world):
        leave_dead(tenant)
        tasks = {tenant.task() for _ in range(40)}
        workers = [world.worker() for _ in range(4)]

        def claim(session: Session) -> list[str]:
            mine = workers.pop().on(session)
            return [task for _ in range(5) for task in claimed(mine, tenant, 2)]

        found = in_parallel([world.service] * 4, claim)
        ids = [task for each in found for task in each]
        assert len(ids) == len(set(ids)) == 40
        assert set(ids) == tasks
        assert floors(tenant) == [100]


def test_the_reaper_rests_after_a_long_walk_and_still_sees_what_is_late(
    tenant: Tenant, worker: Worker, world: World
) -> None:
    tenant.task()
    lease = worker.claim_one(tenant)
    world.admin.execute(
        "update private.maintenance set rests_until = now() + interval '10 minutes',"
        " nothing_before = now() - interval '1 hour'"
        " where name = 'reap_late_tasks'"
    )
    try:
        assert tenant.read(lease["task"]["id"])["status"] == "in_progress"
        reaper = world.service.at("40 seconds")
        while reaper.value("select private.reap_late_tasks()"):
            pass  # Five hundred at a time, and other tests have left some.
        assert tenant.read(lease["task"]["id"])["status"] == "pending"
        rested = reaper.value(
            "select rests_until > now() + interval '9 minutes' from private.maintenance where name = 'reap_late_tasks'"
        )
        assert rested
        assert world.admin.value(
            "select nothing_before between now() - interval '1 minute' and now() + interval '36 seconds'"
            " from private.maintenance where name = 'reap_late_tasks'"
        )
    finally:
        world.admin.execute(
            "update private.maintenance set rests_until = '-infinity', nothing_before = '-infinity'"
            " where name = 'reap_late_tasks'"
        )
