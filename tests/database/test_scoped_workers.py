"""Workers of organizations: what the role may do, for its own organization, and nothing for any other.

Over 400 lines, because each of the many functions of one role is tried for the same promise.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Generator
from typing import Any

import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, Worker, World, item, refused
from tests.database.project_kit import agent_step, started
from tests.database.scoped_kit import ROLE, Scoped, scoped, token

DEEDS: dict[str, Row] = {
    "add_run_steps": {"steps": [{"sequence_number": 1, "type": "transform", "output": "x"}]},
    "add_task_events": {"type": "log", "message": "x"},
    "complete_tasks": {
        "response": "x",
        "deliverable": {"title": "t", "type": "text", "format": "text", "content": "x"},
        "usage": [{"provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 1, "cost": 1}],
    },
    "fail_tasks": {"error_code": "internal_error", "error_message": "x", "retryable": False},
    "heartbeat_tasks": {"progress": 50},
    "pause_task": {"input_request": {"prompt": "Who are you?"}},
    "release_tasks": {},
}
LISTS = {
    "steps": "add_run_steps",
    "events": "add_task_events",
    "heartbeats": "heartbeat_tasks",
    "completed": "complete_tasks",
}
LISTS |= {"failed": "fail_tasks", "paused": "pause_task", "released": "release_tasks"}


@pytest.fixture
def other(world: World) -> Tenant:
    return world.tenant()


@pytest.fixture
def mine(tenant: Tenant) -> Generator[Scoped]:
    yield scoped(tenant)
    tenant.world.admin.execute("delete from public.workers where starts_with(id, %s)", f"{tenant.slug}:")


def traces(tenant: Tenant) -> Row:
    """Everything of an organization that a worker could change."""
    return tenant.world.admin.row(
        "select (select jsonb_agg(t order by t.id) from public.tasks t where t.organization_slug = o.slug) as tasks,"
        " (select jsonb_agg(r order by r.id) from public.runs r where r.organization_slug = o.slug) as runs,"
        " (select jsonb_agg(e order by e.task_id, e.sequence) from public.task_events e"
        "   join public.tasks t on t.id = e.task_id where t.organization_slug = o.slug) as events,"
        " (select count(*) from public.run_steps s join public.runs r on r.id = s.run_id"
        "   where r.organization_slug = o.slug) as steps,"
        " (select count(*) from public.workflow_data d join public.runs r on r.id = d.run_id"
        "   where r.organization_slug = o.slug) as data,"
        " (select count(*) from public.usage_events u where u.organization_slug = o.slug) as usage,"
        " (select count(*) from public.deliverables d where d.organization_slug = o.slug) as deliverables,"
        " (select count(*) from public.system_logs l where l.organization_slug = o.slug) as logs,"
        " (select count(*) from public.input_requests q where q.organization_slug = o.slug) as questions,"
        " (select jsonb_agg(w order by w.id) from private.status_webhooks w"
        "   join public.tasks t on t.id = w.task_id where t.organization_slug = o.slug) as webhooks,"
        " (select jsonb_agg(w order by w.task_id) from private.remote_tasks w"
        "   join public.tasks t on t.id = w.task_id where t.organization_slug = o.slug) as remote"
        " from public.organizations o where o.slug = %s",
        tenant.slug,
    )


# How each function is tried on another organization's lease; what must come back.
def lost(answer: Any) -> bool:
    return [outcome["outcome"] for outcome in answer] == ["lost"]


ATTACKS: dict[str, Any] = {
    **{
        name: lambda s, lease, name=name: lost(
            s.call(f"scoped_{name}", worker_id=lease["worker_id"], items=Jsonb([item(lease, **DEEDS[name])]))
        )
        for name in DEEDS
    },
    "exchange_work": lambda s, lease: all(
        lost(
            s.call(
                "scoped_exchange_work",
                worker_id=lease["worker_id"],
                request_id=str(uuid.uuid4()),
                report={kind: [item(lease, **DEEDS[name])]},
                max_tasks=5,
            )["outcomes"]
        )
        for kind, name in LISTS.items()
    ),
    "claim_tasks": lambda s, lease: s.claim(5, worker_id=lease["worker_id"]) == [],
    "register_worker": lambda s, lease: (
        s.call("scoped_register_worker", worker_id=lease["worker_id"], info={"organizations": ["x"]})["organizations"]
        == [s.claims["organization_slug"]]
    ),
    "stop_worker": lambda s, lease: s.call("scoped_stop_worker", worker_id=lease["worker_id"]) in (None, ""),
    "agents_to_call": lambda s, lease: (
        s.call("scoped_agents_to_call", task_id=lease["task"]["id"], slugs=[lease["agent"]["slug"]]) == []
    ),
    "read_status_webhooks": lambda s, lease: s.call("scoped_read_status_webhooks", ids=[lease["webhook_id"]]) == [],
}


def is_refused(s: Scoped, lease: Row, function: str, **arguments: Any) -> bool:
    with refused("PT409", "lease_lost"):
        s.call(f"scoped_{function}", **item_of(lease), **arguments)
    return True


def item_of(lease: Row) -> Row:
    return {"task_id": lease["task"]["id"], "attempt": lease["attempt"], "lease_token": lease["lease_token"]}


ATTACKS |= {
    "open_status_webhook": lambda s, lease: is_refused(s, lease, "open_status_webhook", ttl_seconds=60),
    "begin_remote_task": lambda s, lease: is_refused(s, lease, "begin_remote_task", server="https://evil.example"),
    "keep_remote_task": lambda s, lease: is_refused(
        s, lease, "keep_remote_task", message_id="m", remote_task_id="r", context_id="c"
    ),
    "forget_remote_task": lambda s, lease: is_refused(s, lease, "forget_remote_task"),
    "read_plan_request": lambda s, lease: is_refused(s, lease, "read_plan_request"),
    "write_workflow_data": lambda s, lease: is_refused(s, lease, "write_workflow_data", key="k", value=Jsonb("x")),
    "read_workflow_data": lambda s, lease: is_refused(s, lease, "read_workflow_data", key="k"),
    "write_plan": lambda s, lease: is_refused(s, lease, "write_plan", plan={"steps": []}),
    "call_orchestrator": lambda s, lease: all(
        is_refused(s, lease, "call_orchestrator", action=action, arguments={"call_id": "c", "name": "list_agents"})
        for action in ("begin", "save", "log", "tool")
    ),
    "write_system_logs": lambda s, lease: (
        s.call(
            "scoped_write_system_logs",
            entries=Jsonb(
                [{"level": "ERROR", "message": "x", "organization_slug": lease["task"]["organization_slug"]}]
            ),
        )
        == 1
    ),
}


def callable_by_the_role(world: World) -> set[str]:
    rows = world.admin.rows(
        "select n.nspname, p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('public', 'private') and has_function_privilege(%s, p.oid, 'execute')",
        ROLE,
    )
    assert {row["proname"] for row in rows if not row["proname"].startswith("scoped_")} == set()
    return {row["proname"].removeprefix("scoped_") for row in rows if row["nspname"] == "public"}


def test_every_function_that_the_role_may_call_is_attacked_here(scene: World) -> None:
    assert callable_by_the_role(scene) == set(ATTACKS)


def foreign_lease(other: Tenant, worker: Worker) -> Row:
    """Another organization's running task, with everything that its worker knows of it."""
    other.task()
    lease = worker.claim_one(other)
    other.task()
    service = other.world.service
    webhook = service.call("open_status_webhook", **item_of(lease), ttl_seconds=60)
    service.call("begin_remote_task", **item_of(lease), server="https://a.example")
    return {**lease, "worker_id": worker.id, "webhook_id": webhook["id"]}


@pytest.mark.parametrize("function", sorted(ATTACKS))
def test_no_function_touches_another_organizations_task_even_with_its_lease(
    function: str, other: Tenant, worker: Worker, mine: Scoped
) -> None:
    lease = foreign_lease(other, worker)
    before = traces(other)
    assert ATTACKS[function](mine, lease)
    assert traces(other) == before
    assert worker.complete(lease) == "ok"
    # Nor is anybody else told how it ended.
    assert ATTACKS["complete_tasks"](mine, lease)


@pytest.mark.parametrize("function", sorted(ATTACKS))
def test_no_function_touches_another_organizations_scoped_workers_task(
    function: str, other: Tenant, mine: Scoped
) -> None:
    theirs = scoped(other)
    other.task()
    (lease,) = theirs.claim(worker_id="w")
    other.task()
    webhook = theirs.call("scoped_open_status_webhook", **item_of(lease), ttl_seconds=60)
    before = traces(other)
    for name in ("w", f"{other.slug}:w", f"../{other.slug}:w"):
        assert ATTACKS[function](mine, {**lease, "worker_id": name, "webhook_id": webhook["id"]})
    assert traces(other) == before
    assert theirs.report("complete_tasks", item(lease, response="done")) == ["ok"]


@pytest.mark.parametrize("function", sorted(set(DEEDS) | {"exchange_work", "open_status_webhook", "agents_to_call"}))
def test_every_function_does_its_work_for_the_own_organization(function: str, tenant: Tenant, mine: Scoped) -> None:
    tenant.task()
    (lease,) = mine.claim()
    assert tenant.read(lease["task"]["id"])["worker_id"] == f"{tenant.slug}:w"
    if function in DEEDS:
        assert mine.report(function, item(lease, **DEEDS[function])) == ["ok"]
    elif function == "exchange_work":
        tenant.task()
        answer = mine.call(
            "scoped_exchange_work",
            worker_id="w",
            request_id=str(uuid.uuid4()),
            report={"completed": [item(lease, response="x")]},
            max_tasks=5,
        )
        assert [outcome["outcome"] for outcome in answer["outcomes"]] == ["ok"]
        assert len(answer["tasks"]) == 1
    elif function == "agents_to_call":
        (found,) = mine.call("scoped_agents_to_call", task_id=lease["task"]["id"], slugs=[tenant.agent])
        assert found["slug"] == tenant.agent
    else:
        webhook = mine.call("scoped_open_status_webhook", **item_of(lease), ttl_seconds=60)
        assert [w["id"] for w in mine.call("scoped_read_status_webhooks", ids=[webhook["id"]])] == [webhook["id"]]
        mine.call("scoped_begin_remote_task", **item_of(lease), server="https://a.example")
        names = {"message_id": "m", "remote_task_id": "r", "context_id": "c"}
        mine.call("scoped_keep_remote_task", **item_of(lease), **names)
        kept = mine.call("scoped_begin_remote_task", **item_of(lease), server="https://a.example")
        assert kept["remote_task_id"] == "r"
        mine.call("scoped_forget_remote_task", **item_of(lease))


def test_a_mixed_report_acts_on_the_own_items_only(tenant: Tenant, other: Tenant, worker: Worker, mine: Scoped) -> None:
    tenant.task()
    (own,) = mine.claim()
    lease = foreign_lease(other, worker)
    before = traces(other)
    junk = [{"task_id": "no uuid"}, 7, {"task_id": None}]
    items = [item(lease, response="x"), item(own, response="y")]
    assert mine.report("complete_tasks", *items) == ["lost", "ok"]
    answer = mine.call("scoped_complete_tasks", worker_id="w", items=Jsonb([*items, *junk]))
    assert [o["outcome"] for o in answer][:2] == ["lost", "ok"]
    assert {o["outcome"] for o in answer[2:]} <= {"lost", "invalid"}
    assert traces(other) == before


def test_an_organizations_own_worker_cannot_speak_for_the_platforms(
    tenant: Tenant, worker: Worker, mine: Scoped
) -> None:
    tenant.task()
    lease = worker.claim_one(tenant)
    assert mine.report("complete_tasks", item(lease, response="x"), worker_id=worker.id) == ["lost"]
    with refused("PT409", "lease_lost"):
        mine.call("scoped_open_status_webhook", **item_of(lease), ttl_seconds=60)
    tenant.world.service.call("register_worker", worker_id=worker.id)
    mine.call("scoped_register_worker", worker_id=worker.id)
    mine.call("scoped_stop_worker", worker_id=worker.id)
    query = "select status, organizations from public.workers where id = %s"
    assert tenant.world.admin.row(query, worker.id) == {"status": "active", "organizations": None}
    assert tenant.world.admin.row(query, f"{tenant.slug}:{worker.id}")["organizations"] == [tenant.slug]


def test_another_workers_exchange_is_not_repeated_to_a_scoped_one(other: Tenant, worker: Worker, mine: Scoped) -> None:
    other.task()
    request = str(uuid.uuid4())
    assert worker.exchange(request, max_tasks=1, organizations=[other.slug])["tasks"]
    answer = mine.call("scoped_exchange_work", worker_id=worker.id, request_id=request, max_tasks=1)
    assert (answer["tasks"], answer["outcomes"]) == ([], [])


@pytest.mark.parametrize("function", ["claim_tasks", "exchange_work"])
def test_organizations_may_name_no_other(function: str, tenant: Tenant, other: Tenant, mine: Scoped) -> None:
    other.task()
    arguments: Row = {"worker_id": "w", "max_tasks": 5}
    arguments |= {"request_id": str(uuid.uuid4())} if function == "exchange_work" else {}
    for organizations in ([other.slug], [tenant.slug, other.slug], [""]):
        with refused("42501", "not_allowed"):
            mine.call(f"scoped_{function}", **arguments, organizations=organizations)
    for organizations in ([tenant.slug], []):
        answer = mine.call(f"scoped_{function}", **arguments, organizations=organizations)
        assert (answer if function == "claim_tasks" else answer["tasks"]) == []


def test_tasks_that_the_database_makes_are_left_to_the_platform(tenant: Tenant, mine: Scoped) -> None:
    admin = tenant.world.admin
    webhook = tenant.owner.call(
        "create_webhook", organization_slug=tenant.slug, url="https://example.com/h", events=["task.completed"]
    )
    tenant.owner.call("send_test_webhook", webhook_id=(webhook.get("webhook") or webhook)["id"])
    pending = "select count(*) from public.tasks where organization_slug = %s and status = 'pending'"
    assert admin.value(pending, tenant.slug) == 1
    assert mine.claim(10) == []
    assert mine.claim(10, methods=["deliver_webhook"]) == []
    assert admin.value(pending, tenant.slug) == 1


def test_a_scoped_exchange_does_no_housekeeping_and_hears_of_no_schedule(tenant: Tenant, mine: Scoped) -> None:
    exchange = "select public.{}exchange_work('w', gen_random_uuid(), '{{}}', 1)::jsonb as answer"
    due = "select last_run_at = '-infinity' as due from private.maintenance where name = 'reap_tasks'"
    # In one transaction, which keeps the row from everybody else's workers.
    with tenant.world.admin.transaction(keep=False) as connection:
        connection.execute("update private.maintenance set last_run_at = '-infinity' where name = 'reap_tasks'")
        connection.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            [ROLE, json.dumps(mine.claims)],
        )
        said = connection.execute(exchange.format("scoped_")).fetchone()
        assert said is not None
        assert said["answer"]["schedules_due"] is False
        connection.execute("select set_config('role', 'none', true)")
        assert connection.execute(due).fetchone() == {"due": True}
        connection.execute(exchange.format(""))
        assert connection.execute(due).fetchone() == {"due": False}


def test_a_scoped_exchange_is_told_only_of_its_own_organizations_next_task(
    tenant: Tenant, other: Tenant, mine: Scoped
) -> None:
    def next_poll() -> int:
        answer = mine.call("scoped_exchange_work", worker_id="w", request_id=str(uuid.uuid4()), max_tasks=1)
        return int(answer["next_poll_ms"])

    soon = tenant.world.admin.value("select now() + interval '20 seconds'")
    other.task(scheduled_at=soon)
    assert next_poll() == 300000
    tenant.task(scheduled_at=soon)
    assert next_poll() <= 20000


def test_the_reaper_takes_back_what_a_scoped_worker_lost(tenant: Tenant, mine: Scoped) -> None:
    task_id = tenant.task()
    (lease,) = mine.claim(lease_seconds=1)
    tenant.world.admin.execute(
        "update private.live_tasks set look_at = now() - interval '1 hour' where task_id = %s", task_id
    )
    tenant.world.admin.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 hour' where id = %s", task_id
    )
    tenant.world.admin.execute("select private.reap_late_tasks()")
    assert tenant.read(task_id)["status"] == "pending"
    assert mine.report("complete_tasks", item(lease, response="late")) == ["lost"]


# Tokens ---------------------------------------------------------------------------------------------------------------


def call_everything(session: Scoped) -> None:
    session.call("scoped_register_worker", worker_id="w")


@pytest.mark.parametrize("claims", [{"jti": str(uuid.uuid4())}, {"jti": "x"}, {"organization_slug": None}, {"jti": 7}])
def test_a_token_that_is_not_registered_is_refused(tenant: Tenant, claims: Row) -> None:
    with refused("PT401", "worker_token_refused") as refusal:
        call_everything(scoped(tenant, **claims))
    assert "not registered" in refusal.detail


def test_a_registered_token_is_good_for_its_own_organization_only(tenant: Tenant, other: Tenant) -> None:
    with refused("PT401", "worker_token_refused"):
        call_everything(scoped(tenant, organization_slug=other.slug))


def test_without_claims_nothing_is_answered(tenant: Tenant) -> None:
    nobody = Scoped(tenant.world.dsn, tenant.world.connection, ROLE)
    with refused("PT401", "worker_token_refused"):
        nobody.claim()


def test_a_token_ends_when_it_expires(mine: Scoped) -> None:
    call_everything(mine)
    with refused("PT401", "worker_token_refused") as refusal:
        mine.at("61 minutes").call("scoped_register_worker", worker_id="w")
    assert "expired" in refusal.detail


def test_a_token_ends_with_its_organizations_activity(tenant: Tenant, mine: Scoped) -> None:
    tenant.world.admin.update("organizations", {"slug": tenant.slug}, is_active=False)
    with refused("PT401", "worker_token_refused") as refusal:
        call_everything(mine)
    assert "deactivated" in refusal.detail


@pytest.mark.parametrize("role", ["viewer", "member", "developer"])
def test_only_admins_list_and_revoke_tokens(tenant: Tenant, other: Tenant, role: str) -> None:
    made = token(tenant)
    for caller in (tenant.join(role), other.owner):
        assert caller.rows("select from public.worker_tokens") == []
        with refused("PT404", "worker_token_not_found"):
            caller.call("revoke_worker_token", token_id=made["id"])


def test_every_function_refuses_a_token_from_the_moment_an_admin_revokes_it(
    tenant: Tenant, other: Tenant, worker: Worker, mine: Scoped
) -> None:
    lease = foreign_lease(other, worker)
    admin = tenant.join("admin")
    (row,) = admin.rows("select id, revoked_at from public.worker_tokens")
    assert row["revoked_at"] is None
    revoked = admin.call("revoke_worker_token", token_id=row["id"])
    assert revoked["revoked_by"] == admin.id
    assert tenant.owner.call("revoke_worker_token", token_id=row["id"]) == revoked
    for function, attack in ATTACKS.items():
        with pytest.raises((errors.RaiseException, AssertionError, errors.DatabaseError)) as raised:
            attack(mine, lease)
        assert "worker_token_refused" in str(raised.value), function


def test_use_of_a_token_is_noted_once_a_minute(tenant: Tenant, mine: Scoped) -> None:
    query = "select last_used_at from public.worker_tokens where organization_slug = %s"
    assert tenant.owner.value(query, tenant.slug) is None
    mine.claim()
    first = tenant.owner.value(query, tenant.slug)
    assert first is not None
    mine.claim()
    assert tenant.owner.value(query, tenant.slug) == first
    mine.at("2 minutes").call("scoped_claim_tasks", worker_id="w")
    assert tenant.owner.value(query, tenant.slug) > first


@pytest.mark.parametrize("minutes", [0, -1, 1441, None])
def test_tokens_are_short_lived(tenant: Tenant, minutes: int | None) -> None:
    with refused("22023", "minutes_out_of_range"):
        tenant.world.service.call("create_worker_token", organization_slug=tenant.slug, name="w", minutes=minutes)


def test_a_token_needs_a_name_and_an_organization(tenant: Tenant) -> None:
    service = tenant.world.service
    with refused("PT404", "organization_not_found"):
        service.call("create_worker_token", organization_slug="no-such", name="w")
    for name in ("", " ", "x" * 101, None):
        with refused("22023", "value_refused"):
            service.call("create_worker_token", organization_slug=tenant.slug, name=name)


def test_tokens_that_expired_long_ago_are_forgotten(tenant: Tenant) -> None:
    old, recent = token(tenant), token(tenant)
    tenant.world.admin.update("worker_tokens", {"id": old["id"]}, expires_at="2020-01-01T00:00:00Z")
    token(tenant)
    left = {row["id"] for row in tenant.owner.rows("select id::text from public.worker_tokens")}
    assert old["id"] not in left
    assert recent["id"] in left


# The role -------------------------------------------------------------------------------------------------------------


def test_the_role_cannot_log_in_and_reads_no_relation(scene: World) -> None:
    role = scene.admin.row(
        "select rolcanlogin, rolsuper, rolbypassrls, rolinherit from pg_roles where rolname = %s", ROLE
    )
    assert not any(role.values())
    rows = scene.admin.rows(
        "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname in ('public', 'private', 'auth', 'vault', 'storage', 'realtime')"
        " and c.relkind in ('r','p','v','m')"
        " and has_table_privilege(%s, c.oid, 'select, insert, update, delete, truncate')",
        ROLE,
    )
    assert rows == []
    assert not scene.admin.rows("select from pg_auth_members m where m.member = %s::text::regrole", ROLE)


@pytest.mark.parametrize(
    "function",
    [
        "pause_queue",
        "set_max_share",
        "claim_tasks",
        "exchange_work",
        "read_organization_secrets",
        "create_worker_token",
    ],
)
def test_functions_of_servers_and_operators_are_not_the_roles(mine: Scoped, function: str) -> None:
    arguments: dict[str, Row] = {
        "pause_queue": {"organization_slug": "x"},
        "claim_tasks": {"worker_id": "w"},
        "exchange_work": {"worker_id": "w", "request_id": str(uuid.uuid4())},
        "read_organization_secrets": {"organization_slug": mine.claims["organization_slug"], "names": ["A"]},
        "create_worker_token": {"organization_slug": mine.claims["organization_slug"], "name": "w"},
    }
    with refused("42501"):
        mine.call(function, **arguments.get(function, {}))


def test_an_organization_has_a_limited_number_of_workers(tenant: Tenant, mine: Scoped) -> None:
    world = tenant.world
    world.admin.execute(
        "insert into public.workers (id, last_seen_at) select %s || ':' || g, now() from generate_series(1, 1000) g",
        tenant.slug,
    )
    with refused("PT429", "over_limit"):
        mine.claim(worker_id="one-more")
    mine.call("scoped_register_worker", worker_id="7")
    world.admin.execute(
        "update public.workers set last_seen_at = now() - interval '2 days' where starts_with(id, %s)",
        f"{tenant.slug}:",
    )
    mine.call("scoped_register_worker", worker_id="7")
    assert world.admin.value("select count(*) from public.workers where starts_with(id, %s)", f"{tenant.slug}:") == 1


@pytest.mark.parametrize("worker_id", [None, "", " ", "x" * 131])
def test_a_worker_says_its_name(mine: Scoped, worker_id: str | None) -> None:
    with refused("22023", "worker_id_invalid"):
        mine.call("scoped_claim_tasks", worker_id=worker_id)


def test_a_scoped_worker_plans_and_its_completions_carry_a_project_on(tenant: Tenant, mine: Scoped) -> None:
    conversation = tenant.conversation()
    tenant.task(method="plan_project", params={"start": True}, agent_conversation_id=conversation)
    (lease,) = mine.claim()
    assert "problem" not in mine.call("scoped_read_plan_request", **item_of(lease))
    steps = [
        {"id": "one", "agent": tenant.agent, "prompt": "Begin."},
        {"id": "two", "agent": tenant.agent, "prompt": "Go on: {{ steps.one.result }}", "dependencies": ["one"]},
    ]
    written = mine.call("scoped_write_plan", **item_of(lease), plan={"steps": steps}, name="Ours")
    assert written.get("problem") is None, written
    assert mine.report("complete_tasks", item(lease, response="planned")) == ["ok"]
    for said in ("first", "second"):
        (step,) = mine.claim(5)
        assert step["task"]["method"] == "converse"
        assert mine.report("complete_tasks", item(step, response=said)) == ["ok"]
    (project,) = tenant.owner.rows("select status from public.projects")
    assert project["status"] == "completed"


def test_a_scoped_worker_ends_a_step_with_its_deliverable_which_the_overview_shows(
    tenant: Tenant, mine: Scoped
) -> None:
    project = started(tenant, [agent_step(tenant, "write", deliverable="report"), agent_step(tenant, "end", "write")])
    (lease,) = mine.claim()
    report = {"title": "Tides", "type": "report", "format": "markdown", "content": "# Tides"}
    assert mine.report("complete_tasks", item(lease, response="# Tides", deliverable=report)) == ["ok"]
    (made,) = tenant.owner.rows("select * from public.deliverables")
    assert (made["title"], made["type"], made["organization_slug"]) == ("Tides", "report", tenant.slug)
    shown = tenant.owner.call("project_overview", project_id=project.id)["steps"][0]["deliverables"]
    assert [found["id"] for found in shown] == [str(made["id"])]
    (end,) = mine.claim()
    assert mine.report("complete_tasks", item(end, response="x")) == ["ok"]
    assert project.status == "completed"


def test_a_scoped_workers_transaction_holds_no_project_of_others(other: Tenant, worker: Worker, mine: Scoped) -> None:
    project = started(other, [agent_step(other, "a"), agent_step(other, "b", "a")])
    lease = worker.claim_one(other)
    # Somebody is just changing the project: what follows from the end of its step is left for later.
    with other.world.admin.fresh() as editor, editor.transaction():
        editor.execute("select from public.projects where id = %s for update", project.id)
        assert worker.complete(lease) == "ok"
    with mine.fresh() as own, own.transaction():
        exchange = "select public.scoped_exchange_work('w', gen_random_uuid(), '{}', 1)"
        own.connection.execute(exchange)
        query = "select from public.projects where id = %s for update skip locked"
        assert len(other.world.admin.rows(query, project.id)) == 1
    assert project.steps()["b"]["status"] == "pending"
    (following,) = worker.exchange(max_tasks=1, organizations=[other.slug])["tasks"]
    assert str(project.steps()["b"]["task_id"]) == following["task"]["id"]


def test_a_scoped_workers_agents_share_data_and_leave_a_trace(tenant: Tenant, mine: Scoped) -> None:
    tenant.task()
    (lease,) = mine.claim()
    mine.call("scoped_write_workflow_data", **item_of(lease), key="draft", value=Jsonb({"n": 1}), tags=["final"])
    found = mine.call("scoped_read_workflow_data", **item_of(lease), key="draft")
    assert (found["value"], found["tags"], found["created_by_agent"]) == ({"n": 1}, ["final"], tenant.agent)
    assert mine.call("scoped_read_workflow_data", **item_of(lease), key="other") is None
    steps = [{"sequence_number": 1, "type": "tool_call", "output": "x" * 3000}]
    assert mine.report("add_run_steps", item(lease, steps=steps)) == ["ok"]
    (shown,) = tenant.owner.call("run_tree", run_id=lease["lease_token"])["steps"]
    assert (shown["type"], shown["is_cut"]) == ("tool_call", True)


def test_a_scoped_worker_writes_to_no_deliverable_of_others(tenant: Tenant, other: Tenant, mine: Scoped) -> None:
    theirs = scoped(other)
    made: dict[str, str] = {}
    for place, worker in ((tenant, mine), (other, theirs)):
        place.task()
        (lease,) = worker.claim()
        assert worker.report("complete_tasks", item(lease, **DEEDS["complete_tasks"])) == ["ok"]
        made[place.slug] = str(place.owner.value("select id from public.deliverables"))
    tenant.task()
    (lease,) = mine.claim()
    next_version = {**DEEDS["complete_tasks"]["deliverable"], "deliverable_id": made[other.slug]}
    assert mine.report("complete_tasks", item(lease, response="x", deliverable=next_version)) == ["invalid"]
    next_version["deliverable_id"] = made[tenant.slug]
    assert mine.report("complete_tasks", item(lease, response="x", deliverable=next_version)) == ["ok"]
    assert other.owner.value("select count(*) from public.deliverable_versions") == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"input_tokens": -1},
        {"cost": -1},
        {"cost": 1e30},
        {"cost": "NaN"},
        {"cost": "Infinity"},
        {"input_tokens": 2**63 - 1},
        {"provider": None},
    ],
)
def test_usage_that_cannot_be_is_not_counted(tenant: Tenant, mine: Scoped, bad: Row) -> None:
    usage = {"provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 1, "cost": 1, **bad}
    tenant.task()
    (lease,) = mine.claim()
    assert mine.report("complete_tasks", item(lease, response="x", usage=[usage])) == ["invalid"]
    assert tenant.owner.value("select count(*) from public.usage_events") == 0
    assert mine.report("complete_tasks", item(lease, response="x")) == ["ok"]


def test_what_a_scoped_worker_says_it_cost_counts_for_its_organization_alone(
    tenant: Tenant, other: Tenant, mine: Scoped
) -> None:
    huge = {"provider": "p", "model": "m", "input_tokens": 2**62, "output_tokens": 0, "cost": 99_999_999}
    huge |= {"organization_slug": other.slug, "agent_slug": other.agent, "user_id": other.owner.id}
    for _ in range(3):
        tenant.task()
        (lease,) = mine.claim()
        assert mine.report("complete_tasks", item(lease, response="x", usage=[huge])) == ["ok"]
    rows = "select distinct organization_slug, agent_slug, user_id::text from public.usage_events where cost = 99999999"
    found = tenant.world.admin.rows(rows + " and organization_slug = any (%s)", [tenant.slug, other.slug])
    assert found == [{"organization_slug": tenant.slug, "agent_slug": tenant.agent, "user_id": tenant.owner.id}]
    totals = tenant.owner.row("select * from public.organization_usage")
    assert (int(totals["total_tokens"]), float(totals["total_cost"])) == (2**63 - 1, 3 * 99_999_999.0), (
        "as far as it goes"
    )


@pytest.mark.parametrize("number", ["1e131000", "-1e400", "1e-16000"])
@pytest.mark.parametrize("function", ["add_task_events", "add_run_steps", "exchange_work"])
def test_numbers_that_fill_the_memory_when_they_are_printed_are_refused(
    tenant: Tenant, mine: Scoped, function: str, number: str
) -> None:
    tenant.task()
    (lease,) = mine.claim()
    bomb = f"[{', '.join([number] * 1000)}]"
    fence = json.dumps(item(lease))[:-1]
    event = f'{fence}, "type": "log", "data": {{"a": {bomb}}}}}'
    step = f'{fence}, "steps": [{{"sequence_number": 1, "type": "transform", "metadata": {{"a": {bomb}}}}}]}}'
    queries = {
        "add_task_events": ("select public.scoped_add_task_events('w', %s::jsonb)", f"[{event}]"),
        "add_run_steps": ("select public.scoped_add_run_steps('w', %s::jsonb)", f"[{step}]"),
        "exchange_work": (
            "select public.scoped_exchange_work('w', gen_random_uuid(), %s::jsonb)",
            f'{{"steps": [{step}]}}',
        ),
    }
    query, given = queries[function]
    with refused("22023", "json_not_plain"):
        mine.rows(query, given)
    with refused("22023", "json_not_plain"):
        mine.rows(
            "select public.scoped_write_workflow_data(%s, %s, %s, 'k', %s::jsonb)",
            *(lease["task"]["id"], lease["attempt"], lease["lease_token"], bomb),
        )


def test_nesting_that_nobody_could_read_is_refused(tenant: Tenant, mine: Scoped) -> None:
    tenant.task()
    (lease,) = mine.claim()
    for levels, taken in ((100, True), (1000, False)):
        deep = "[" * levels + "]" * levels
        given = f'[{json.dumps(item(lease))[:-1]}, "type": "log", "data": {{"a": {deep}}}}}]'
        query = "select public.scoped_add_task_events('w', %s::jsonb) as answer"
        if taken:
            assert mine.row(query, given)["answer"][0]["outcome"] == "ok"
        else:
            with refused("22023", "json_not_plain"):
                mine.row(query, given)


def test_what_a_worker_says_of_itself_is_short(mine: Scoped) -> None:
    for info in ({"hostname": "x" * 10_000}, {"methods": ["x"] * 10_000}):
        with refused("22023", "argument_out_of_range"):
            mine.call("scoped_register_worker", worker_id="w", info=info)
