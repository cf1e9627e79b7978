"""Retention against tenants who mean harm, and beside the orchestrator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.database.kit import Tenant, Worker, World, refused
from tests.database.orchestrator_kit import ask, instance, say, tool, turn
from tests.database.retention_kit import at, done_task, retention_world, sweep, where
from tests.database.scratch import instance_of
from tests.stack import Stack

OLD = 40.0


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    with retention_world(instance_of(stack), "raid") as world:
        yield world


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


def test_logs_and_prompts_go_to_the_archive_with_their_task(world: World, tenant: Tenant, worker: Worker) -> None:
    lease = turn(tenant, worker)
    tool(tenant, lease, "create_agent", name="writer")
    tool(tenant, lease, "command_agent", name="writer", prompt="Write.")
    assert worker.complete(lease) == "ok"
    command = worker.claim_one(tenant, methods=["command_agent"])
    entries = [{"event_category": "response", "event_type": "text", "content": f"Part {n}"} for n in range(3)]
    ask(tenant, command, "log", {"number": 1, "entries": entries})
    assert worker.complete(command) == "ok"
    assert worker.complete(worker.claim_one(tenant)) == "ok"  # the turn that the answer began
    task_id = command["task"]["id"]
    query = (
        "select 'agent_logs' as kind, id::text as id from public.agent_logs where task_id = %s"
        " union all select 'prompts', id::text from public.prompts where task_id = %s"
    )
    rows = world.admin.rows(query, task_id, task_id)
    assert len(rows) == 4
    sweep(world.service, OLD)
    assert where(world, "tasks", task_id) == "archive"
    assert {where(world, row["kind"], row["id"]) for row in rows} == {"archive"}
    assert world.admin.value("select count(*) from private.orchestrator_tasks where task_id = %s", task_id) == 0
    late = tenant.owner.at(at(OLD))
    (found,) = late.rows(
        "select * from public.archived_records(%s, 'prompts') where data ->> 'task_id' = %s", tenant.slug, task_id
    )
    assert found["data"]["prompt_text"] == "Write."
    assert say(tenant, "And now?", agent_instance_id=instance(tenant)["id"])["task_id"]


def test_logs_that_stay_are_passed_in_small_steps_and_hold_nothing_up(world: World, tenant: Tenant) -> None:
    owner_id = world.admin.insert("orchestrator_agents", organization_slug=tenant.slug)["id"]
    ids = [
        str(
            world.admin.insert("agent_instances", orchestrator_agent_id=owner_id, name=name, model="m", status=status)[
                "id"
            ]
        )
        for name, status in (("blocked", "blocked"), ("idle", "idle"))
    ]
    query = (
        "insert into public.agent_logs (agent_id, event_category, event_type, timestamp)"
        " select %s, 'hook', 'Stop', now() - interval '200 days' + n * %s * interval '1 second'"
        " from generate_series(1, %s) n"
    )
    world.admin.execute(query, ids[0], 1, 3000)
    world.admin.execute(query, ids[0], 0, 1200)  # all at one time
    world.admin.execute(query, ids[1], 2, 1400)
    count = "select count(*) from public.agent_logs where agent_id = %s"
    world.admin.execute("update private.retention_work set next_at = '-infinity' where kind = 'agent_logs'")
    steps = 0
    while world.admin.value("select next_at <= private.clock() from private.retention_work where kind = 'agent_logs'"):
        done = world.admin.row(
            "select o.* from private.retention_work w, private.retain(w) o where w.kind = 'agent_logs'"
        )
        assert done["archived"] + done["deleted"] <= 500
        world.admin.execute(
            "select private.note_retention(w, row(%s, %s, %s, %s)::private.retention_outcome, private.clock())"
            " from private.retention_work w where w.kind = 'agent_logs'",
            *done.values(),
        )
        steps += 1
        assert steps < 30
    assert steps > 5
    assert (world.admin.value(count, ids[0]), world.admin.value(count, ids[1])) == (4200, 0)


def test_who_changed_the_periods_is_audited(world: World, tenant: Tenant) -> None:
    tenant.owner.call("set_retention", kind="tasks", archive_days=2, delete_days=4, organization_slug=tenant.slug)
    (entry,) = tenant.owner.rows("select * from public.audit_logs where table_name = 'organization_retention'")
    assert (str(entry["actor_user_id"]), entry["row_key"], entry["changes"]["delete_days"]) == (
        tenant.owner.id,
        "tasks",
        [None, 4],
    )
    world.admin.execute("delete from public.organizations where slug = %s", tenant.slug)


def test_a_reused_slug_shows_nothing_of_before(world: World, tenant: Tenant, worker: Worker) -> None:
    done_task(tenant, worker)
    sweep(world.service, OLD)
    world.admin.execute("delete from public.organizations where slug = %s", tenant.slug)
    thief = world.user()
    with world.admin.at(at(OLD)).transaction():
        world.admin.insert("organizations", slug=tenant.slug, name="Thief")
        world.admin.insert("organization_members", organization_slug=tenant.slug, user_id=thief.id, role="owner")
    for kind in ("tasks", "runs", "task_events", "audit_logs"):
        assert thief.at(at(OLD)).rows("select * from public.archived_records(%s, %s)", tenant.slug, kind) == []
    kinds = world.admin.rows("select kind, organization_slug from private.organization_retention")
    assert tenant.slug not in {row["organization_slug"] for row in kinds}


def test_nothing_of_the_archive_is_open_through_rights(world: World, tenant: Tenant) -> None:
    for session in (tenant.owner, tenant.join("viewer"), world.anon):
        for function in (
            "keep_retention(1)",
            "schedule_retention()",
            "make_partition('public.agent_logs', '2031-01-01')",
            "tend_partitions()",
        ):
            with refused("42501"):
                session.rows(f"select private.{function}")
        with refused("42501"):
            session.rows("select * from archive.records")
    for page_size in (-5, 0):
        assert (
            tenant.owner.rows(
                "select * from public.archived_records(%s, 'tasks', 'infinity', %s)", tenant.slug, page_size
            )
            == []
        )
    with refused("42501", "not_allowed"):
        tenant.join("developer").rows("select * from public.archived_records(%s, 'tasks')", tenant.slug)
