"""Retention: a year goes by, and at each point everything stands where its period says; nothing open is touched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.database import project_kit, workflow_kit
from tests.database.kit import Tenant, Worker, World, item
from tests.database.retention_kit import (
    Model,
    at,
    day_of,
    done_execution,
    done_project,
    done_task,
    months,
    months_between,
    retention_world,
    rows_of_project,
    rows_of_task,
    sweep,
    where,
)
from tests.database.scratch import instance_of
from tests.database.test_usage_ledger import ledger, shown
from tests.stack import Stack

DAYS = 400
EVERY = 30
LOGS_EVERY = 15


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    with retention_world(instance_of(stack), "retention") as world:
        yield world


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


def unfinished(tenant: Tenant, worker: Worker, model: Model) -> dict[str, Any]:
    """Make everything that may be unfinished, each with parts that are over."""
    world = tenant.world
    later = tenant.task(scheduled_at=day_of(5000).isoformat())
    model.add("a task for later", None, rows_of_task(world, later))
    parent = done_task(tenant, worker)
    child = done_task(tenant, worker, parent_task_id=parent)
    open_child = tenant.task(parent_task_id=child, scheduled_at=day_of(5000).isoformat())
    sibling = done_task(tenant, worker, parent_task_id=parent)
    model.add("a family with an open task", None, rows_of_task(world, parent, child, open_child, sibling))
    asking = tenant.task()
    lease = worker.claim_one(tenant)
    worker.report("pause_task", item(lease, input_request={"prompt": "Go on?", "schema": {}}, steps=TRACE_STEPS))
    model.add("a task that asks", None, rows_of_task(world, asking))
    steps = [
        project_kit.agent_step(tenant, "a"),
        {"id": "ask", "type": "human_input", "prompt": "Well?", "dependencies": ["a"]},
        project_kit.agent_step(tenant, "b", "ask", prompt="{{ steps.a.result }} and {{ steps.ask.result }}"),
    ]
    project = project_kit.started(tenant, steps)
    project_kit.play(worker, project, {"a": "kept for a year"})
    model.add("a project that asks", None, rows_of_project(world, project.id))
    planned = project_kit.new_project(tenant, [project_kit.agent_step(tenant, "a")])
    model.add("a project that has not begun", None, rows_of_project(world, planned.id))
    above = done_project(tenant, worker)
    open_below = project_kit.new_project(tenant, [project_kit.agent_step(tenant, "a")], parent_project_id=above[0][1])
    model.add("a project above an open one", None, above + rows_of_project(world, open_below.id))
    workflow = str(workflow_kit.add_workflow(tenant.owner, tenant)["id"])
    top = done_execution(tenant, worker, workflow)
    data = {"nodes": [{"id": "ask", "type": "human_input", "prompt": "Well?"}], "edges": []}
    asks = workflow_kit.add_workflow(tenant.owner, tenant, data, name="Asks")
    waiting = str(tenant.owner.call("start_workflow", workflow_id=asks["id"])["id"])
    model.add("an execution that asks", None, [("workflow_executions", waiting)])
    world.admin.update("workflow_executions", {"id": waiting}, parent_execution_id=top[0][1])
    model.add("an execution above one that waits", None, top)
    return {"asking": asking, "project": project, "workflow": workflow}


TRACE_STEPS = [{"sequence_number": 1, "type": "tool_call", "name": "search"}]


def make_things(tenant: Tenant, worker: Worker, model: Model, workflow: str, day: float) -> None:
    """Make one of each kind that is over on this day."""
    world = tenant.world
    now = worker.on(world.service.at(at(day)))
    model.add(f"task of day {day}", day, rows_of_task(world, done_task(tenant, now)))
    failed = tenant.task(max_attempts=1)
    now.fail(now.claim_one(tenant))
    model.add(f"failed task of day {day}", day, rows_of_task(world, failed))
    model.add(f"project of day {day}", day, done_project(tenant, now))
    model.add(f"execution of day {day}", day, done_execution(tenant, now, workflow))
    run = world.admin.insert(
        "runs",
        organization_slug=tenant.slug,
        created_by=tenant.owner.id,
        status="completed",
        completed_at=day_of(day).isoformat(),
    )
    model.add(f"run of day {day}", day, [("runs", str(run["id"]))])


def write_logs(tenant: Tenant, instance: str, day: float) -> None:
    """Write a row into each log, of this day."""
    moment, admin = day_of(day).isoformat(), tenant.world.admin
    admin.insert("agent_logs", agent_id=instance, event_category="hook", event_type="Stop", timestamp=moment)
    admin.insert("system_logs", organization_slug=tenant.slug, level="INFO", message="m", timestamp=moment)
    row = {"organization_slug": tenant.slug, "actor_role": "t", "action": "update", "table_name": "t", "row_key": "k"}
    admin.insert("audit_logs", **row, created_at=moment)


def test_a_year_goes_by(world: World, tenant: Tenant, worker: Worker) -> None:
    model = Model(world)
    orchestrator = world.admin.insert("orchestrator_agents", organization_slug=tenant.slug)["id"]
    row = {"orchestrator_agent_id": orchestrator, "model": "m"}
    idle = str(world.admin.insert("agent_instances", **row, name="idle")["id"])
    busy = str(world.admin.insert("agent_instances", **row, name="busy", status="executing")["id"])
    open_things = unfinished(tenant, worker, model)
    world.admin.insert("agent_logs", agent_id=busy, event_category="hook", event_type="Stop")
    begun = day_of(0)
    for month in range(14):
        moment = day_of(-30 * month).isoformat()
        usage = {"organization_slug": tenant.slug, "provider": "p", "model": "m", "input_tokens": 10, "cost": 0.5}
        world.admin.insert("usage_events", **usage, created_at=moment)
    seen_places = set()
    for day in range(0, DAYS, EVERY):
        if day <= 90:
            make_things(tenant, worker, model, open_things["workflow"], day)
        for written in {max(day - LOGS_EVERY, 0), day}:
            write_logs(tenant, idle, written)
        total = shown_total(tenant)
        assert sweep(world.service, day) or day < 30
        sweep(world.service, day + 0.4)
        model.check(day)
        seen_places |= set(model.counts(day))
        assert shown_total(tenant) == total
        check_logs(tenant, idle, busy, day)
        check_months(world, begun, day)
    assert seen_places == {"public", "archive", "gone"}
    check_usage(tenant)
    go_on(tenant, worker, open_things)
    assert world.admin.rows("select kind, last_error from public.retention_status where last_error is not null") == []


def shown_total(tenant: Tenant) -> dict[str, Any]:
    """Read organization_usage, and compare it with what there is."""
    with tenant.owner.transaction() as connection:
        found = shown(connection, tenant.slug)
    with tenant.world.admin.transaction() as connection:
        assert found == ledger(connection, tenant.slug)
    return found


def check_logs(tenant: Tenant, idle: str, busy: str, day: int) -> None:
    """Each row of a log is there for its period, to the day; that of an agent at work stays."""
    admin = tenant.world.admin
    written = list(range(0, day + 1, LOGS_EVERY))
    kept = [d for d in written if day - d < 90]
    assert admin.value("select count(*) from public.agent_logs where agent_id = %s", idle) == len(kept)
    assert admin.value("select count(*) from public.system_logs where organization_slug = %s", tenant.slug) == len(kept)
    assert admin.value("select count(*) from public.agent_logs where agent_id = %s", busy) == 1
    audited = "select count(*) from {} where organization_slug = %s and {} = 't'"
    here = admin.value(audited.format("public.audit_logs", "actor_role"), tenant.slug)
    there = admin.value(audited.format("archive.records", "data ->> 'actor_role'"), tenant.slug)
    assert here == sum(day - d < 183 for d in written)
    assert there == sum(183 <= day - d < 365 for d in written)


def check_months(world: World, begun: datetime, day: int) -> None:
    """Months are made ahead, and dropped behind as soon as all in them has gone."""
    now = datetime.now(UTC) + timedelta(days=day)
    first = day_of(min(d for d in range(0, day + 1, LOGS_EVERY) if day - d < 90))
    assert months(world, "public.system_logs") == months_between(first, now, 2)
    assert months(world, "public.agent_logs") == months_between(first, now, 2) | {f"{begun:%Y_%m}"}
    assert months_between(now, now, 7) <= months(world, "archive.records") <= months_between(begun, now, 7)
    outside = world.admin.value("select count(*) from pg_tables where schemaname = 'partitions' and not rowsecurity")
    assert outside == 0


def check_usage(tenant: Tenant) -> None:
    """The ledger of closed months has gone to the totals, and all that was ever written is still counted."""
    admin = tenant.world.admin
    assert admin.value("select count(*) from private.usage_totals where organization_slug = %s", tenant.slug) > 0
    old = "select count(*) from public.usage_events where created_at < now() - interval '65 days'"
    assert admin.value(old) == 0
    months_shown = shown_total(tenant)
    expected = admin.row(
        "select count(*) filter (where kind = 'run') as runs, sum(tokens) as tokens, sum(cost) as cost"
        " from private.seen where organization_slug = %s",
        tenant.slug,
    )
    assert sum(m["runs"] for m in months_shown.values()) == expected["runs"]
    assert sum(m["tokens"] for m in months_shown.values()) == expected["tokens"]
    assert sum(m["cost"] for m in months_shown.values()) == expected["cost"]
    key = "organization_slug, period_start, kind, name"
    assert admin.rows(f"select {key} from private.usage_totals group by {key} having count(*) > 1") == []


def go_on(tenant: Tenant, worker: Worker, things: dict[str, Any]) -> None:
    """What was open a year ago goes on with all that it knew."""
    late = tenant.owner.at(at(DAYS))
    question = late.row("select id from public.input_requests where task_id = %s", things["asking"])
    late.row("select * from public.respond_to_input_request(%s, %s)", question["id"], Jsonb("yes"))
    now = worker.on(tenant.world.service.at(at(DAYS)))
    assert now.complete(now.claim_one(tenant)) == "ok"
    project = things["project"].on(late)
    project.answer("ask", "an answer")
    (lease,) = [x for x in now.claim(tenant, 20) if x["task"]["prompt"].startswith("kept")]
    assert lease["task"]["prompt"] == "kept for a year and an answer"
    project_kit.finish(now, lease)
    assert project.status == "completed"


def test_the_users_own_stay(world: World, tenant: Tenant, worker: Worker) -> None:
    conversation = tenant.conversation()
    task = done_task(tenant, worker, agent_conversation_id=conversation, idempotency_key="once")
    world.admin.insert(
        "messages", conversation_id=conversation, sender_type="user", receiver_type="agent", content="c", task_id=task
    )
    owned = {
        table: world.admin.rows(f"select * from public.{table} where {column} = %s", task)
        for table, column in (("deliverables", "task_id"), ("deliverable_versions", "task_id"), ("messages", "task_id"))
    }
    assert all(owned.values())
    sweep(world.service, 31)
    assert where(world, "tasks", task) == "archive"
    for table, rows in owned.items():
        left = world.admin.rows(f"select * from public.{table} where id = any (%s)", [row["id"] for row in rows])
        assert [r | {"task_id": None, "updated_at": None} for r in left] == [
            r | {"task_id": None, "updated_at": None} for r in rows
        ]
        assert all(row["task_id"] is None for row in left)
    # The key went with its task.
    assert tenant.task(idempotency_key="once") != task


def test_large_inputs_follow_their_steps(world: World, tenant: Tenant, worker: Worker) -> None:
    task = tenant.task()
    step = {"sequence_number": 1, "type": "tool_call", "name": "n", "input": "y" * 5000}
    worker.complete(worker.claim_one(tenant), steps=[step])
    payload = str(world.admin.value("select id from private.step_payloads where organization_slug = %s", tenant.slug))
    sweep(world.service, 31)
    world.service.at(at(33)).value("select private.purge_step_payloads()")
    (kept,) = world.admin.rows(
        "select data from archive.records where kind = 'step_payloads' and record_id = %s", payload
    )
    assert kept["data"]["content"] == "y" * 5000
    (steps,) = world.admin.rows(
        "select data from archive.records where organization_slug = %s and kind = 'run_steps'", tenant.slug
    )
    assert steps["data"]["input_payload"] == payload
    assert where(world, "tasks", task) == "archive"


def test_versions_of_agents_leave_the_archive_after_a_year(world: World, tenant: Tenant) -> None:
    for number in range(12):
        tenant.owner.update("agents", {"slug": tenant.agent}, context=f"Version {number}.")
    count = "select count(*) from archive.agent_versions where agent_slug = %s"
    assert world.admin.value(count, tenant.agent) == 3
    sweep(world.service, 364)
    assert world.admin.value(count, tenant.agent) == 3
    sweep(world.service, 366)
    assert world.admin.value(count, tenant.agent) == 0
    assert world.admin.value("select count(*) from public.agent_versions where agent_slug = %s", tenant.agent) == 10


def test_trails_that_are_kept_shorter_than_their_tasks(world: World, tenant: Tenant, worker: Worker) -> None:
    failed = tenant.task(max_attempts=1)
    worker.fail(worker.claim_one(tenant), steps=TRACE_STEPS)
    before = [row["sequence"] for row in tenant.events(failed)]
    for kind, days in (("tasks", None), ("task_events", 10), ("run_steps", 10)):
        world.service.call("set_retention", kind=kind, **({"delete_days": days} if days else {}))
    try:
        sweep(world.service, 50)
    finally:
        world.service.call("set_retention", kind="tasks", archive_days=30, delete_days=90)
        for kind in ("task_events", "run_steps"):
            world.service.call("set_retention", kind=kind, delete_days=90)
    assert where(world, "tasks", failed) == "public"
    assert [row["sequence"] for row in tenant.events(failed)] == before[-1:]
    assert (
        world.admin.value(
            "select count(*) from public.run_steps s join public.runs r on r.id = s.run_id where r.task_id = %s", failed
        )
        == 0
    )
    tenant.owner.call("retry_task", task_id=failed)
    assert [row["sequence"] for row in tenant.events(failed)] == [before[-1], before[-1] + 1]


def test_workers_do_it_beside_their_work(world: World, tenant: Tenant, worker: Worker) -> None:
    world.admin.execute("update private.maintenance set last_run_at = '-infinity'")  # other tests were later
    task, waiting = done_task(tenant, worker), tenant.task()
    for second in range(30):
        late = worker.on(world.service.at(f"31 days {2 * second} seconds"))
        answer = late.exchange(max_tasks=1, organizations=[tenant.slug])
        if where(world, "tasks", task) == "archive":
            break
    assert where(world, "tasks", task) == "archive"
    assert where(world, "tasks", waiting) == "public"
    assert answer["tasks"] == [] or answer["tasks"][0]["task"]["id"] == waiting


def test_where_pg_cron_is_it_is_scheduled(world: World) -> None:
    assert world.admin.value("select private.schedule_retention()") is False
    with world.admin.transaction(keep=False) as connection:
        connection.execute(
            "create schema cron; create table cron.job (name text, schedule text, command text);"
            " create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql"
            " begin atomic insert into cron.job values ($1, $2, $3); select 1::bigint; end"
        )
        assert connection.execute("select private.schedule_retention() as done").fetchone() == {"done": True}
        (job,) = connection.execute("select * from cron.job").fetchall()
        assert job["schedule"] == "10 seconds"
        assert connection.execute(job["command"]).rowcount == 1
