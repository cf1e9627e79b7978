"""Retention beside others: several at once, killed in between, locks, retries, tenants, and what fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from tests.database import project_kit, workflow_kit
from tests.database.kit import Connection, Row, Session, Tenant, Worker, World, connect, refused
from tests.database.retention_kit import at, day_of, done_task, retention_world, sweep, where
from tests.database.scratch import instance_of
from tests.database.test_usage_ledger import add_tasks, ledger, shown, write_usage
from tests.stack import Stack

OLD = 40.0


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    with retention_world(instance_of(stack), "races") as world:
        yield world


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


def old_tasks(tenant: Tenant, count: int) -> None:
    """Lay out tasks that are over, each with a run, a step and two events."""
    row = {"organization": tenant.slug, "user": tenant.owner.id, "agent": tenant.agent, "count": count}
    with tenant.world.admin.transaction() as connection:
        for table in ("tasks", "runs", "run_steps", "task_events"):
            connection.execute(f"alter table public.{table} disable trigger user")
        connection.execute(OLD_TASKS, row)
        for table in ("tasks", "runs", "run_steps", "task_events"):
            connection.execute(f"alter table public.{table} enable trigger user")


OLD_TASKS = """
with made as (
  insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, status, progress, completed_at)
  select %(organization)s, %(user)s, %(agent)s, 'converse', 'x', 'completed', 100, now()
  from generate_series(1, %(count)s)
  returning id
),
runs as (
  insert into public.runs (organization_slug, created_by, task_id, status, completed_at)
  select %(organization)s, %(user)s, m.id, 'completed', now() from made m
  returning id
),
steps as (
  insert into public.run_steps (run_id, sequence_number, type, status, completed_at)
  select r.id, 1, 'tool_call', 'completed', now() from runs r
)
insert into public.task_events (task_id, sequence, attempt, type)
select m.id, n, 1, 'log' from made m, generate_series(1, 2) n
"""


def kept(world: World, tenant: Tenant) -> dict[str, int]:
    """Count what the archive has of a tenant, by table, each row once."""
    rows = world.admin.rows(
        "select kind, count(*) as all, count(distinct record_id) as different from archive.records"
        " where organization_slug = %s group by kind",
        tenant.slug,
    )
    assert all(row["all"] == row["different"] for row in rows)
    return {row["kind"]: row["all"] for row in rows}


def test_several_at_once_share_the_work(world: World) -> None:
    tenants = [world.tenant() for _ in range(6)]
    for tenant in tenants:
        old_tasks(tenant, 250)

    def one(_: int) -> int:
        with world.service.at(at(OLD)).fresh() as session:
            return sum(session.value("select private.keep_retention(0.05)") for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(one, range(4)))
    sweep(world.service, OLD + 0.1)
    assert sum(share > 0 for share in shares) > 1
    for tenant in tenants:
        assert kept(world, tenant) == {"tasks": 250, "runs": 250, "run_steps": 250, "task_events": 500}
        assert world.admin.value("select count(*) from public.tasks where organization_slug = %s", tenant.slug) == 0
    assert errors(world) == []


def errors(world: World) -> list[Row]:
    return world.admin.rows("select kind, last_error from public.retention_status where last_error is not null")


def test_whoever_is_killed_leaves_nothing_half_done(world: World, tenant: Tenant) -> None:
    old_tasks(tenant, 1500)

    def work(session: Session) -> None:
        with pytest.raises(psycopg.OperationalError):
            session.value("select private.keep_retention(60)")

    for _ in range(2):
        with world.service.at(at(OLD)).fresh() as session, ThreadPoolExecutor(1) as pool:
            future = pool.submit(work, session)
            time.sleep(0.15)
            world.admin.value("select pg_terminate_backend(%s)", session.connection.info.backend_pid)
            future.result()
        # As after any crash: what was done in whole calls stays done.
        world.service.at(at(OLD)).value("select private.keep_retention(0.05)")
        left = world.admin.value("select count(*) from public.tasks where organization_slug = %s", tenant.slug)
        found = kept(world, tenant)
        assert found.get("tasks", 0) + left == 1500
        assert found.get("run_steps", 0) == found.get("runs", 0) == found.get("tasks", 0)
    sweep(world.service, OLD)
    assert kept(world, tenant) == {"tasks": 1500, "runs": 1500, "run_steps": 1500, "task_events": 3000}


def test_a_task_with_very_many_events_goes_in_parts(world: World, tenant: Tenant) -> None:
    old_tasks(tenant, 1)
    task = str(world.admin.value("select id from public.tasks where organization_slug = %s", tenant.slug))
    world.admin.execute(
        "insert into public.task_events (task_id, sequence, attempt, type)"
        " select %s, n, 1, case when n %% 2 = 0 then 'partial' else 'log' end from generate_series(3, 12002) n",
        task,
    )
    sizes = []
    while where(world, "tasks", task) == "public":
        sizes.append(world.service.at(at(OLD)).value("select private.keep_retention(0)"))
    assert max(sizes) <= 5010
    assert kept(world, tenant)["task_events"] == 6002  # streamed text is in the response


def test_it_waits_for_nobody(world: World, tenant: Tenant, worker: Worker) -> None:
    held = done_task(tenant, worker)
    other = world.tenant()
    free = done_task(other, worker)
    with world.admin.fresh() as user, user.transaction() as connection:
        connection.execute("update public.deliverables set title = 'New' where task_id = %s", [held])
        began = time.monotonic()
        sweep(world.service, OLD, 1)
        assert time.monotonic() - began < 3
        assert (where(world, "tasks", held), where(world, "tasks", free)) == ("public", "archive")
        assert errors(world)
    sweep(world.service, OLD + 0.1)
    assert where(world, "tasks", held) == "archive"
    assert errors(world) == []


def test_a_task_that_is_being_retried_stays(world: World, tenant: Tenant, worker: Worker) -> None:
    task = tenant.task(max_attempts=1)
    worker.fail(worker.claim_one(tenant))
    with tenant.owner.fresh() as user, user.transaction() as connection:
        connection.execute("select public.retry_task(%s)", [task])
        sweep(world.service, OLD, 1)
        assert where(world, "tasks", task) == "public"
    sweep(world.service, OLD + 1)
    assert tenant.read(task)["status"] == "pending"
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    sweep(world.service, OLD + 2)
    assert where(world, "tasks", task) == "archive"


def begin_tree(world: World, root: str) -> None:
    """Do batch after batch until retention has begun with a project or execution."""
    for _ in range(200):
        if world.admin.value("select count(*) from private.retention_work where root_id = %s", root):
            return
        world.service.at(at(OLD)).value("select private.keep_retention(0)")
    raise AssertionError("it was not found")


def test_a_project_that_is_being_archived_does_not_go_on(world: World, tenant: Tenant, worker: Worker) -> None:
    steps = [project_kit.agent_step(tenant, str(n)) for n in range(120)]
    project = project_kit.started(tenant, [*steps, project_kit.agent_step(tenant, "last", "0")])
    project_kit.play(worker, project, {"last": RuntimeError("broke")})
    assert project.status == "failed"
    begin_tree(world, project.id)
    late = project.on(tenant.owner.at(at(OLD)))
    with refused("PT409", "being_archived"):
        late.do("resume")
    with refused("PT409", "being_archived"):
        late.do_step("retry", "last")
    sweep(world.service, OLD)
    assert where(world, "projects", project.id) == "archive"
    found = kept(world, tenant)
    assert (found["project_steps"], found["projects"]) == (121, 1)
    row = world.admin.row("select data from archive.records where kind = 'projects' and record_id = %s", project.id)
    assert row["data"]["total_steps"] == 121
    assert world.admin.rows("select * from private.retention_work where root_id is not null") == []


def test_a_project_that_failed_lately_goes_on(world: World, tenant: Tenant, worker: Worker) -> None:
    project = project_kit.started(
        tenant, [project_kit.agent_step(tenant, "a"), project_kit.agent_step(tenant, "b", "a")]
    )
    project_kit.play(worker, project, {"b": RuntimeError("broke")})
    sweep(world.service, 29)
    project.on(tenant.owner.at(at(29))).do("resume")
    sweep(world.service, OLD)
    late = worker.on(world.service.at(at(OLD)))
    project_kit.play(late, project)
    assert project.status == "completed"
    assert project.result("a") == "a"


def test_an_execution_that_is_being_archived_is_not_retried(world: World, tenant: Tenant, worker: Worker) -> None:
    workflow = workflow_kit.add_workflow(tenant.owner, tenant)
    execution = str(tenant.owner.call("start_workflow", workflow_id=workflow["id"])["id"])
    for _ in range(5):
        worker.exchange(max_tasks=0)
        for lease in worker.claim(tenant, 20):
            worker.fail(lease)
    assert workflow_kit.execution(world.admin, execution)["status"] == "failed"
    begin_tree(world, execution)
    with refused("PT409", "being_archived"):
        tenant.owner.at(at(OLD)).call("retry_execution", execution_id=execution)
    sweep(world.service, OLD)
    assert where(world, "workflow_executions", execution) == "archive"


def test_what_fails_is_said_and_stops_nobody_else(world: World, tenant: Tenant, worker: Worker) -> None:
    other = world.tenant()
    stuck, free = done_task(tenant, worker), done_task(other, worker)
    world.admin.execute("create table private.keeps (task_id uuid references public.tasks (id))")
    try:
        world.admin.execute("insert into private.keeps values (%s)", stuck)
        sweep(world.service, OLD, 2)
        assert (where(world, "tasks", stuck), where(world, "tasks", free)) == ("public", "archive")
        (error,) = errors(world)
        assert error["kind"] == "tasks"
        assert "keeps" in error["last_error"]
    finally:
        world.admin.execute("drop table private.keeps")
    sweep(world.service, OLD + 1)
    assert where(world, "tasks", stuck) == "archive"


def test_the_clock_may_go_back(world: World, tenant: Tenant, worker: Worker) -> None:
    sweep(world.service, 10_000)
    task = done_task(tenant, worker)
    world.service.at(at(OLD)).value("select private.keep_retention(0)")
    sweep(world.service, OLD)
    assert where(world, "tasks", task) == "archive"


def test_an_organization_keeps_for_less(world: World, tenant: Tenant, worker: Worker) -> None:
    other = world.tenant()
    own, foreign = done_task(tenant, worker), done_task(other, worker)
    call = {"kind": "tasks", "archive_days": 5, "delete_days": 20, "organization_slug": tenant.slug}
    for who in (tenant.join("developer"), other.owner, other.join("viewer")):
        with refused("42501", "not_allowed"):
            who.call("set_retention", **call)
    with refused("42501", "not_allowed"):
        tenant.owner.call("set_retention", kind="tasks", archive_days=5, delete_days=20)
    with refused("22023", "retention_out_of_range"):
        tenant.owner.call("set_retention", **{**call, "delete_days": 91})
    with refused("22023", "retention_out_of_range"):
        tenant.owner.call("set_retention", **{**call, "archive_days": 20})
    with refused("22023", "retention_kind_unknown"):
        tenant.owner.call("set_retention", kind="audit_logs", archive_days=40, organization_slug=tenant.slug)
    with refused("22023", "retention_kind_unknown"):
        world.service.call("set_retention", kind="cats", delete_days=40)
    with refused("22023", "retention_out_of_range"):
        world.service.call("set_retention", kind="usage_events", delete_days=30)
    with refused("PT404", "organization_not_found"):
        world.service.call("set_retention", kind="tasks", delete_days=40, organization_slug="nobody")
    assert tenant.owner.call("set_retention", **call) == call
    sweep(world.service, 6)
    assert (where(world, "tasks", own), where(world, "tasks", foreign)) == ("archive", "public")
    sweep(world.service, 21)
    assert (where(world, "tasks", own), where(world, "tasks", foreign)) == ("gone", "public")
    back = tenant.owner.call("set_retention", kind="tasks", organization_slug=tenant.slug)
    assert (back["archive_days"], back["delete_days"]) == (30, 90)


def test_the_archive_is_its_organizations_and_goes_with_it(world: World, tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    own = done_task(tenant, worker)
    task = tenant.task(member)
    worker.complete(worker.claim_one(tenant))
    sweep(world.service, OLD)
    late = tenant.owner.at(at(OLD))
    rows = late.rows("select * from public.archived_records(%s, 'tasks')", tenant.slug)
    assert {row["record_id"] for row in rows} == {own, task}
    assert all(row["delete_at"] - row["archived_at"] > timedelta(days=49) for row in rows)
    for who in (member, world.tenant().owner):
        with refused("42501", "not_allowed"):
            who.rows("select * from public.archived_records(%s, 'tasks')", tenant.slug)
    for session in (tenant.owner, world.anon):
        with refused("42501"):
            session.rows("select * from public.retention_status")
        with refused("42501"):
            session.rows("select * from archive.records")
    world.admin.execute("delete from auth.users where id = %s", member.id)
    assert (where(world, "tasks", own), where(world, "tasks", task)) == ("archive", "gone")
    moment = day_of(0).isoformat()
    audit = {"actor_role": "t", "action": "update", "table_name": "t", "row_key": "k", "created_at": moment}
    world.admin.insert("audit_logs", organization_slug=tenant.slug, **audit)
    sweep(world.service, 184)
    world.admin.execute("delete from public.organizations where slug = %s", tenant.slug)
    kinds = kept(world, tenant)
    assert set(kinds) == {"audit_logs"}


def test_partitions_are_nobodys_to_touch(world: World, tenant: Tenant) -> None:
    rows = world.admin.rows("select tablename from pg_tables where schemaname = 'partitions'")
    assert len(rows) > 10
    for session in (tenant.owner, world.service, world.anon):
        for row in rows:
            with refused("42501"):
                session.rows(f"select from partitions.{row['tablename']}")


DUE = """
update private.retention_work set next_at = '-infinity'
where organization_slug = any (%s) or kind = 'usage_totals'
"""


def compare_with_seen(connection: Connection, slug: str) -> None:
    """Compare organization_usage with all that was ever written."""
    months = shown(connection, slug)
    seen = connection.execute("select * from private.seen where organization_slug = %s", [slug]).fetchall()
    assert sum(m["runs"] for m in months.values()) == sum(row["kind"] == "run" for row in seen)
    found = {(m, key): entry["tokens"] for m, month in months.items() for key, entry in month["details"].items()}
    written: dict[tuple[str, str], int] = {}
    for row in seen:
        if row["kind"] == "usage":
            key = (row["month"], row["name"])
            written[key] = written.get(key, 0) + row["tokens"]
    assert found == written


def test_usage_equals_what_was_written_while_all_of_it_is_removed(world: World) -> None:
    tenants = [world.tenant(), world.tenant()]
    stop, removed = threading.Event(), []

    def remove() -> None:
        service = world.service.at(at(600))
        with service.fresh() as session, world.admin.fresh() as admin:
            while not stop.wait(0.05):
                admin.execute(DUE, [tenant.slug for tenant in tenants])
                removed.append(session.value("select private.keep_retention(0.1)"))

    def compare() -> int:
        rounds = 0
        with connect(world.dsn) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not stop.is_set():
                with connection.transaction():
                    for tenant in tenants:
                        assert shown(connection, tenant.slug) == ledger(connection, tenant.slug)
                        compare_with_seen(connection, tenant.slug)
                rounds += 1
        return rounds

    with ThreadPoolExecutor(7) as pool:
        workers = [world.worker() for _ in range(2)]
        connections = [connect(world.dsn) for _ in workers]
        writers = [
            pool.submit(write_usage, w.on(Session(world.dsn, c, "service_role")), tenants[n % 2], n, stop)
            for n, (w, c) in enumerate(zip(workers, connections, strict=True))
        ]
        adders = [pool.submit(add_tasks, t, [t.agent], n, stop) for n, t in enumerate(tenants)]
        remover, comparer = pool.submit(remove), pool.submit(compare)
        stop.wait(2)
        stop.set()
        for writer in writers:
            writer.result()
        for adder in (*adders, remover):
            adder.result()
        assert comparer.result() > 5
    for connection in connections:
        connection.close()
    assert sum(removed) > 50
    for tenant in tenants:
        with world.admin.transaction() as connection:
            compare_with_seen(connection, tenant.slug)
