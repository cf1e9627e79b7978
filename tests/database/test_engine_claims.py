"""Claiming: who gets which task, in which order, and never twice."""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item, refused, when_it_waited

TASK_KEYS = {
    *("id", "organization_slug", "user_id", "method", "prompt", "params", "deliverable_type", "deliverable_metadata"),
    *("timeout_seconds", "attempt", "max_attempts", "agent_conversation_id", "agent_slug", "agent_name", "metadata"),
    *("priority", "created_at", "queue_seconds", "trace_context"),
}
AGENT_KEYS = {
    *("slug", "name", "description", "version", "agent_type", "context", "io_schema", "capabilities", "endpoint"),
    *("llm_config", "metadata", "status", "is_private", "framework"),
}


def ids(leases: list[Row]) -> list[str]:
    return [lease["task"]["id"] for lease in leases]


def claim_of(world: World, worker: Worker, tenants: list[Tenant], max_tasks: int) -> list[Row]:
    slugs = [t.slug for t in tenants]
    leases: list[Row] = world.service.call("claim_tasks", worker_id=worker.id, max_tasks=max_tasks, organizations=slugs)
    return leases


def test_a_claim_gives_the_task_its_agent_and_a_lease(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task(params={"tone": "calm"}, deliverable_metadata={"a": 1}, metadata={"b": 2})
    lease = worker.claim_one(tenant, lease_seconds=60)
    task = tenant.read(task_id)
    assert set(lease) == {"task", "agent", "attempt", "lease_token", "lease_expires_at", "run_id", "history"} | {
        "input",
        "checkpoint",
        "allowed_hosts",
        "agent_calls",
        "call_stack",
    }
    assert set(lease["task"]) == TASK_KEYS
    assert set(lease["agent"]) == AGENT_KEYS
    assert (lease["task"]["params"], lease["task"]["prompt"]) == ({"tone": "calm"}, "Write.")
    assert (lease["attempt"], lease["agent"]["slug"], lease["history"]) == (1, tenant.agent, [])
    assert (task["status"], task["worker_id"], task["attempt"]) == ("in_progress", worker.id, 1)
    assert str(task["lease_token"]) == lease["lease_token"]
    assert (task["lease_expires_at"] - task["started_at"]).total_seconds() == 60


def test_a_claim_begins_a_run(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task(prompt="x" * 3000)
    lease = worker.claim_one(tenant)
    (run,) = tenant.runs(task_id)
    assert str(run["id"]) == lease["run_id"]
    assert (run["status"], run["attempt"], run["worker_id"], run["agent_slug"]) == (
        "running",
        1,
        worker.id,
        tenant.agent,
    )
    assert (str(run["created_by"]), run["initial_prompt"]) == (tenant.owner.id, "x" * 2000)


def test_priority_goes_before_age_and_age_before_chance(tenant: Tenant, worker: Worker) -> None:
    late, early, urgent = (
        tenant.task(scheduled_at="2026-01-02"),
        tenant.task(scheduled_at="2026-01-01"),
        tenant.task(priority=1, scheduled_at="2026-01-03"),
    )
    assert ids(worker.claim(tenant, 3)) == [urgent, early, late]


def test_one_at_a_time_the_order_is_the_same(tenant: Tenant, worker: Worker) -> None:
    tasks = [tenant.task(priority=priority) for priority in (5, 1, 3)]
    assert [ids(worker.claim(tenant))[0] for _ in tasks] == [tasks[1], tasks[2], tasks[0]]


def test_a_task_is_not_claimed_before_its_time(tenant: Tenant, worker: Worker, world: World) -> None:
    tenant.task(scheduled_at="2999-01-01", priority=1)
    due = tenant.task()
    soon = tenant.world.admin.value(
        "update public.tasks set scheduled_at = now() + interval '30 minutes' where id = %s returning id::text",
        tenant.task(),
    )
    assert ids(worker.claim(tenant, 10)) == [due]
    assert ids(worker.on(world.service.at("1 hour")).claim(tenant, 10)) == [soon]


def test_organizations_take_turns(world: World, worker: Worker) -> None:
    busy, quiet = world.tenant(), world.tenant()
    for _ in range(8):
        busy.task()
    quiet_tasks = {quiet.task(priority=500), quiet.task(priority=500)}
    leases = claim_of(world, worker, [busy, quiet], 4)
    assert len(leases) == 4
    assert quiet_tasks <= set(ids(leases))


def test_a_claim_is_narrowed_to_methods_and_organizations(world: World, worker: Worker) -> None:
    here, there = world.tenant(), world.tenant()
    talk, _, _ = here.task(method="converse"), here.task(), there.task(method="converse")
    assert ids(worker.claim(here, 10, methods=["converse"])) == [talk]
    assert worker.claim(here, 10, methods=["no_such_method"]) == []
    assert claim_of(world, worker, [], 10) == []


def test_nothing_of_an_inactive_organization_is_claimed(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    tenant.world.admin.update("organizations", {"slug": tenant.slug}, is_active=False)
    assert worker.claim(tenant, 10) == []
    tenant.world.admin.update("organizations", {"slug": tenant.slug}, is_active=True)
    assert len(worker.claim(tenant, 10)) == 1


@pytest.mark.parametrize("rows", [1, 3])
def test_parallel_claimers_never_get_the_same_task(world: World, tenant: Tenant, rows: int) -> None:
    tasks = {tenant.task() for _ in range(40)}
    taken: list[str] = []
    while len(taken) < len(tasks):
        results = in_parallel([world.service] * 8, lambda s: ids(world.worker().on(s).claim(tenant, rows)))
        assert not [r for r in results if isinstance(r, Exception)]
        taken += [task_id for result in results for task_id in result]
    assert sorted(taken) == sorted(tasks)
    assert {len(tenant.runs(task_id)) for task_id in tasks} == {1}


def test_a_claimer_looks_past_what_others_are_just_taking(world: World, tenant: Tenant, worker: Worker) -> None:
    for _ in range(5):
        tenant.task()
    with world.service.fresh() as other, other.transaction():
        assert len(world.worker().on(other).claim(tenant, 2)) == 2
        assert len(worker.claim(tenant, 1)) == 1


def test_parallel_claimers_stay_below_max_concurrent_tasks(world: World) -> None:
    tenant = world.tenant(max_concurrent_tasks=3)
    for _ in range(20):
        tenant.task()
    results = in_parallel([world.service] * 8, lambda s: world.worker().on(s).claim(tenant, 2))
    assert not [r for r in results if isinstance(r, Exception)]
    leases = [lease for result in results for lease in result]
    leases += world.worker().claim(tenant, 10)
    assert len(leases) == 3


def test_a_place_below_max_concurrent_tasks_is_free_again_when_a_task_ends(world: World, worker: Worker) -> None:
    tenant = world.tenant(max_concurrent_tasks=1)
    tenant.task()
    tenant.task()
    first = worker.claim_one(tenant)
    assert worker.claim(tenant, 10) == []
    worker.complete(first)
    assert len(worker.claim(tenant, 10)) == 1


@pytest.mark.parametrize("limit", [0, 2])
def test_a_limit_lowered_below_what_runs_stops_claims(world: World, worker: Worker, limit: int) -> None:
    tenant = world.tenant()
    for _ in range(4):
        tenant.task()
    worker.claim(tenant, 3)
    world.admin.update("organizations", {"slug": tenant.slug}, settings={"limits": {"max_concurrent_tasks": limit}})
    assert worker.claim(tenant, 10) == []


def test_the_agent_is_null_when_it_was_taken_from_the_organization(world: World, worker: Worker) -> None:
    tenant, other = world.tenant(), world.tenant()
    tenant.task()
    world.admin.update("agents", {"slug": tenant.agent}, organization_slug=[other.slug])
    lease = worker.claim_one(tenant)
    assert (lease["agent"], lease["task"]["agent_slug"]) == (None, tenant.agent)


def test_the_agent_is_null_when_it_was_deleted(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    tenant.owner.execute("delete from public.agents where slug = %s", tenant.agent)
    lease = worker.claim_one(tenant)
    assert (lease["agent"], lease["task"]["agent_slug"], lease["task"]["agent_name"]) == (None, None, "Writer")


def test_the_agent_comes_as_it_is_at_the_claim(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    tenant.owner.update("agents", {"slug": tenant.agent}, context="You sing.", status="inactive")
    agent = worker.claim_one(tenant)["agent"]
    assert (agent["context"], agent["status"]) == ("You sing.", "inactive")


def test_the_owner_of_a_private_agent_gets_it(tenant: Tenant, worker: Worker) -> None:
    slug = tenant.add_agent(organization_slug=[], owner_user_id=tenant.owner.id)
    tenant.task(agent_slug=slug)
    agent = worker.claim_one(tenant)["agent"]
    assert (agent["slug"], agent["is_private"]) == (slug, True)


def test_history_is_what_was_said_before_without_the_prompt_itself(tenant: Tenant, worker: Worker) -> None:
    conversation_id = tenant.conversation()
    tenant.task(agent_conversation_id=conversation_id, prompt="first")
    worker.complete(worker.claim_one(tenant), messages=[{"content": "answer one"}, {"content": "and more"}])
    tenant.task(agent_conversation_id=conversation_id, prompt="second")
    tenant.task(agent_conversation_id=conversation_id, prompt="third")
    second, third = worker.claim(tenant, 2)
    said = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer one"},
        {"role": "assistant", "content": "and more"},
    ]
    assert second["history"] == said
    assert third["history"] == [*said, {"role": "user", "content": "second"}]


def test_history_is_the_newest_fifty_messages_and_256_kib(tenant: Tenant, worker: Worker) -> None:
    conversation_id = tenant.conversation()
    tenant.world.admin.execute(
        "insert into public.messages (conversation_id, content, created_at)"
        " select %s, 'line ' || n, now() - interval '1 hour' + n * interval '1 second' from generate_series(1, 60) n",
        conversation_id,
    )
    tenant.task(agent_conversation_id=conversation_id)
    history = worker.claim_one(tenant)["history"]
    assert [m["content"] for m in history] == [f"line {n}" for n in range(11, 61)]
    tenant.world.admin.insert("messages", conversation_id=conversation_id, content="x" * 262_000)
    tenant.task(agent_conversation_id=conversation_id)
    history = worker.claim_one(tenant)["history"]
    assert history[-1]["content"] == "x" * 262_000
    assert sum(len(m["content"]) for m in history) <= 262_144


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"worker_id": None}, "worker_id_invalid"),
        ({"worker_id": "  "}, "worker_id_invalid"),
        ({"worker_id": "w" * 201}, "worker_id_invalid"),
        ({"max_tasks": -1}, "argument_out_of_range"),
        ({"max_tasks": 1001}, "argument_out_of_range"),
        ({"max_tasks": None}, "argument_out_of_range"),
        ({"lease_seconds": 0}, "argument_out_of_range"),
        ({"lease_seconds": 3601}, "argument_out_of_range"),
        ({"lease_seconds": None}, "argument_out_of_range"),
    ],
)
def test_a_claim_with_bad_arguments_is_refused(world: World, arguments: Row, message: str) -> None:
    with refused("22023", message):
        world.service.call("claim_tasks", **{"worker_id": "w", "organizations": ["none"], **arguments})


def test_a_claim_of_no_tasks_claims_none(tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    assert worker.claim(tenant, 0) == []


@pytest.mark.parametrize("caller", ["anon", "member"])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("claim_tasks", {"worker_id": "w"}),
        ("exchange_work", {"worker_id": "w", "request_id": None}),
        ("register_worker", {"worker_id": "w"}),
        *((f, {"worker_id": "w", "items": Jsonb([])}) for f in ("complete_tasks", "fail_tasks", "release_tasks")),
        *((f, {"worker_id": "w", "items": Jsonb([])}) for f in ("heartbeat_tasks", "add_task_events")),
    ],
)
def test_only_servers_speak_for_workers(tenant: Tenant, caller: str, function: str, arguments: Row) -> None:
    session = tenant.world.anon if caller == "anon" else tenant.owner
    with refused("42501"):
        session.call(function, **arguments)


def test_a_worker_registers_works_and_stops(world: World, worker: Worker) -> None:
    info = {"hostname": "h", "pid": 7, "version": "1", "concurrency": 4, "methods": ["process"], "organizations": None}
    registered = world.service.call("register_worker", worker_id=worker.id, info=info)
    assert registered | info | {"id": worker.id, "status": "active"} == registered
    world.service.execute("select public.stop_worker(%s)", worker.id)
    assert world.admin.value("select status from public.workers where id = %s", worker.id) == "stopped"
    worker.exchange()
    assert world.admin.value("select status from public.workers where id = %s", worker.id) == "active"


def test_a_worker_that_never_registered_appears_with_its_first_exchange(world: World, worker: Worker) -> None:
    worker.exchange()
    assert world.admin.value("select count(*) from public.workers where id = %s", worker.id) == 1


def test_tasks_of_a_deleted_organization_are_gone_for_the_worker(world: World, worker: Worker) -> None:
    tenant = world.tenant()
    tenant.task()
    lease = worker.claim_one(tenant)
    tenant.owner.execute("delete from public.organizations where slug = %s", tenant.slug)
    assert worker.complete(lease) == "lost"
    assert worker.report("heartbeat_tasks", item(lease)) == ["lost"]


@pytest.mark.parametrize("function", ["claim_tasks", "exchange_work"])
def test_a_task_that_arrives_while_a_claim_is_under_way_is_not_leased_unsaid(world: World, function: str) -> None:
    tenant = world.tenant()
    worker = world.worker()
    arrived: list[str] = []

    def hold_up(session: Session) -> None:
        session.connection.execute("lock table private.live_tasks in access exclusive mode")
        task = {"organization_slug": tenant.slug, "user_id": tenant.owner.id, "agent_slug": tenant.agent}
        arrived.append(str(session.insert("tasks", **task, method="process", prompt="Write.")["id"]))

    def claim(session: Session) -> list[Row]:
        if function == "claim_tasks":
            return worker.on(session).claim(tenant)
        answer: list[Row] = worker.on(session).exchange(max_tasks=1, organizations=[tenant.slug])["tasks"]
        return answer

    leases = when_it_waited(world.admin, hold_up, world.service, claim)
    assert [lease["task"]["id"] for lease in leases] == arrived
