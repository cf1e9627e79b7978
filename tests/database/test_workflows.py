"""Workflows: versions that only rise, one in force; and executions, which take everything from their workflow."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, World, in_parallel, refused, when_it_waited
from tests.database.workflow_kit import add_code, add_workflow, execution

ALL = "select * from public.workflows where organization_slug = %s order by string_to_array(version, '.')::integer[]"


def add(session: Session, tenant: Tenant, version: str = "1.0.0", **columns: Any) -> Row:
    return add_workflow(session, tenant, **{"version": version, **columns})


def versions(tenant: Tenant) -> list[tuple[str, bool]]:
    return [(row["version"], row["is_active"]) for row in tenant.owner.rows(ALL, tenant.slug)]


def test_a_new_version_takes_over(tenant: Tenant) -> None:
    developer = tenant.join("developer")
    first = add(developer, tenant)
    assert (str(first["created_by"]), first["is_active"]) == (developer.id, True)
    add(developer, tenant, "1.1.0")
    add(developer, tenant, "1.10.0", is_active=False)
    assert versions(tenant) == [("1.0.0", False), ("1.1.0", True), ("1.10.0", False)]
    assert developer.update("workflows", {"id": first["id"]}, is_active=True) == 1
    assert versions(tenant) == [("1.0.0", True), ("1.1.0", False), ("1.10.0", False)]
    assert developer.update("workflows", {"id": first["id"]}, is_active=False) == 1
    assert [active for _, active in versions(tenant)] == [False] * 3


@pytest.mark.parametrize("version", ["1.10.0", "1.9.9", "0.11.0", "1.2.11"])
@pytest.mark.parametrize("caller", ["owner", "service"])
def test_versions_only_rise(scene: World, version: str, caller: str) -> None:
    tenant = scene.tenant()
    add(tenant.owner, tenant, "1.10.0")
    with refused("22023", "version_must_rise"):
        add(tenant.owner if caller == "owner" else scene.service, tenant, version, is_active=False)
    assert versions(tenant) == [("1.10.0", True)]


def test_names_and_agents_have_versions_of_their_own(tenant: Tenant) -> None:
    add(tenant.owner, tenant, "2.0.0")
    add(tenant.owner, tenant, "1.0.0", name="Other")
    add(tenant.owner, tenant, "1.0.0", agent_slug=tenant.add_agent())
    assert [active for _, active in versions(tenant)] == [True] * 3


def test_of_ten_versions_at_once_one_is_in_force_and_it_is_the_highest(tenant: Tenant) -> None:
    numbers = iter(range(1, 11))
    results = in_parallel([tenant.owner] * 10, lambda s: add(s, tenant, f"1.0.{next(numbers)}")["version"])
    refusals = {r.sqlstate for r in results if isinstance(r, psycopg.Error)}
    assert refusals <= {"22023", "23505"}
    found = versions(tenant)
    assert sorted(r for r in results if isinstance(r, str)) == sorted(version for version, _ in found)
    assert [active for _, active in found] == [False] * (len(found) - 1) + [True]


def test_a_version_that_waited_for_a_higher_one_is_refused(tenant: Tenant) -> None:
    def insert(session: Session, version: str) -> None:
        session.connection.execute(
            "insert into public.workflows (organization_slug, agent_slug, name, workflow_data, workflow_type,"
            " framework, version, is_active) values (%s, %s, 'Publish', %s, 'code', 'crewai', %s, false)",
            [tenant.slug, tenant.agent, Jsonb({"endpoint": {"url": "https://crew.example.com"}}), version],
        )

    def late(session: Session) -> None:
        with session.transaction():
            insert(session, "1.5.0")

    error = when_it_waited(tenant.owner, lambda s: insert(s, "2.0.0"), tenant.owner, late)
    assert isinstance(error, psycopg.Error)
    assert error.diag.message_primary == "version_must_rise"


def test_of_ten_who_choose_a_version_at_once_none_meets_a_deadlock(tenant: Tenant) -> None:
    ids = [add(tenant.owner, tenant, f"1.0.{n}", is_active=False)["id"] for n in range(5)]
    chosen = iter(ids * 2)

    def choose(session: Session) -> int:
        return session.update("workflows", {"id": next(chosen)}, is_active=True)

    results = in_parallel([tenant.owner] * 10, choose)
    assert {r.sqlstate for r in results if isinstance(r, psycopg.Error)} <= {"23505"}
    assert [active for _, active in versions(tenant)].count(True) == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("workflow_data", {"changed": True}),
        ("version", "2.0.0"),
        ("name", "Other"),
        ("agent_slug", "x"),
        ("organization_slug", "demo-org"),
        ("workflow_type", "code"),
        ("framework", "n8n"),
    ],
)
def test_what_a_version_says_does_not_change(scene: World, column: str, value: Any) -> None:
    tenant = scene.tenant()
    workflow = add(tenant.owner, tenant)
    with refused("PT409", "version_is_immutable"):
        scene.service.update("workflows", {"id": workflow["id"]}, **{column: value})
    with refused("42501"):
        tenant.owner.update("workflows", {"id": workflow["id"]}, **{column: value})
    assert tenant.owner.update("workflows", {"id": workflow["id"]}, description="D") == 1


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"version": "1.0"}, "version_is_semantic"),
        ({"version": "01.0.0"}, "version_is_semantic"),
        ({"workflow_type": "other"}, "workflow_type_is_known"),
        ({"framework": "other"}, "framework_is_known"),
        ({"name": " "}, "name_is_not_blank"),
        ({"workflow_data": Jsonb([])}, "workflow_data_is_an_object"),
    ],
    ids=str,
)
def test_a_malformed_workflow_is_refused(scene: World, columns: Row, constraint: str) -> None:
    tenant = scene.tenant()
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        add(tenant.owner, tenant, **columns)
    assert caught.value.diag.constraint_name == constraint


def test_the_last_ten_versions_are_kept(tenant: Tenant) -> None:
    for minor in range(12):
        add(tenant.owner, tenant, f"1.{minor}.0")
    add(tenant.owner, tenant, name="Other")
    kept = [version for version, _ in versions(tenant) if version != "1.0.0"]
    assert kept == [f"1.{minor}.0" for minor in range(2, 12)]
    assert [w["version"] for w in tenant.owner.rows(ALL, tenant.slug) if w["name"] == "Other"] == ["1.0.0"]


def test_older_versions_stay_while_they_are_active_or_have_executions(tenant: Tenant) -> None:
    first, second = (add_code(tenant.owner, tenant, version=f"1.0.{n}") for n in range(2))
    assert tenant.owner.update("workflows", {"id": first["id"]}, is_active=True) == 1
    run = start(tenant.owner, first)
    tenant.owner.call("cancel_execution", execution_id=run["id"])
    assert tenant.owner.update("workflows", {"id": second["id"]}, is_active=True) == 1
    for minor in range(1, 12):
        add_code(tenant.owner, tenant, version=f"1.{minor}.0", is_active=False)
    assert [version for version, _ in versions(tenant)] == ["1.0.0", "1.0.1"] + [f"1.{n}.0" for n in range(2, 12)]
    assert execution(tenant.owner, run["id"])["status"] == "cancelled"
    # History is retention's to take; the next version then takes the old one along.
    tenant.world.service.execute("delete from public.workflow_executions where id = %s", run["id"])
    add_code(tenant.owner, tenant, version="2.0.0")
    assert [version for version, _ in versions(tenant)] == [f"1.{n}.0" for n in range(3, 12)] + ["2.0.0"]


def test_a_workflow_or_agent_with_a_running_execution_is_not_deleted(tenant: Tenant) -> None:
    agent = tenant.add_agent()
    workflow = add_code(tenant.owner, tenant, agent_slug=agent)
    run = start(tenant.owner, workflow)
    for query, key in (("workflows where id = %s", workflow["id"]), ("agents where slug = %s", agent)):
        with refused("PT409", "workflow_running") as refusal:
            tenant.owner.execute(f"delete from public.{query}", key)
        assert str(run["id"]) in refusal.detail
    tenant.owner.call("cancel_execution", execution_id=run["id"])
    assert tenant.owner.execute("delete from public.agents where slug = %s", agent) == 1
    assert tenant.owner.rows("select from public.workflow_executions") == []


def test_an_organization_goes_with_what_runs_in_it(tenant: Tenant) -> None:
    for workflow in (add_code(tenant.owner, tenant), add(tenant.owner, tenant)):
        start(tenant.owner, workflow)
    tenant.world.admin.execute("delete from public.organizations where slug = %s", tenant.slug)
    for table in ("workflows", "workflow_executions", "projects", "tasks"):
        rows = tenant.world.admin.rows(f"select from public.{table} where organization_slug = %s", tenant.slug)
        assert rows == [], table


def test_a_workflow_is_of_an_agent_of_its_organization(world: World, tenant: Tenant) -> None:
    for agent in (world.tenant().agent, "no-such-agent"):
        with refused("PT404", "agent_not_found"):
            add(tenant.owner, tenant, agent_slug=agent)
    for role in ("viewer", "member"):
        with refused("42501"):
            add(tenant.join(role), tenant)
    with refused("PT404", "agent_not_found"):
        add(tenant.owner, tenant, organization_slug=world.tenant().slug)


# Executions


def start(session: Session, workflow: Row, **columns: Any) -> Row:
    return session.insert("workflow_executions", workflow_id=workflow["id"], **columns)


def test_a_members_execution_takes_everything_from_its_workflow(tenant: Tenant) -> None:
    workflow = add(tenant.owner, tenant)
    member = tenant.join("member")
    row = start(member, workflow, execution_data={"input": 1}, max_retries=1, timeout_at="2130-01-01")
    assert (row["organization_slug"], row["agent_slug"], str(row["created_by"])) == (
        tenant.slug,
        tenant.agent,
        member.id,
    )
    assert (row["status"], row["retry_count"], row["started_at"]) == ("queued", 0, None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("organization_slug", "demo-org"),
        ("agent_slug", "blog-post-writer"),
        ("created_by", uuid.uuid4()),
        ("correlation_id", uuid.uuid4()),
        ("retry_count", 1),
    ],
)
def test_a_client_fills_none_of_it(scene: World, column: str, value: Any) -> None:
    tenant = scene.tenant()
    with refused("42501"):
        start(tenant.owner, add(tenant.owner, tenant), **{column: value})


def test_a_server_cannot_start_it_elsewhere(tenant: Tenant) -> None:
    other = tenant.world.tenant()
    workflow = add(tenant.owner, tenant)
    row = start(tenant.world.service, workflow, organization_slug=other.slug, agent_slug=other.agent)
    assert (row["organization_slug"], row["agent_slug"], row["created_by"]) == (tenant.slug, tenant.agent, None)


def test_who_may_not_start_an_execution(tenant: Tenant) -> None:
    workflow = add(tenant.owner, tenant)
    with refused("42501", "not_allowed"):
        start(tenant.join("viewer"), workflow)
    with refused("PT404", "workflow_not_found"):
        start(tenant.world.tenant().owner, workflow)
    with refused("PT404", "workflow_not_found"):
        start(tenant.owner, {"id": uuid.uuid4()})


def test_an_execution_is_seen_by_whoever_started_it_and_admins(tenant: Tenant) -> None:
    workflow = add(tenant.owner, tenant)
    member = tenant.join("member")
    tenant.world.service.insert("workflow_executions", workflow_id=workflow["id"], created_by=member.id)
    seen = {
        name: len(session.rows("select from public.workflow_executions"))
        for name, session in {
            "starter": member,
            "admin": tenant.join("admin"),
            "owner": tenant.owner,
            "developer": tenant.join("developer"),
            "stranger": tenant.world.tenant().owner,
        }.items()
    }
    assert seen == {"starter": 1, "admin": 1, "owner": 1, "developer": 0, "stranger": 0}


def test_a_parent_is_an_execution_of_the_same_organization_that_the_caller_sees(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    member = tenant.join("member", other.join("member"))
    workflow = add(tenant.owner, tenant)
    own = start(member, workflow)
    assert start(member, workflow, parent_execution_id=own["id"])["parent_execution_id"] == own["id"]
    colleagues = start(tenant.owner, workflow)
    elsewhere = start(member, add(other.owner, other))
    for parent in (colleagues["id"], elsewhere["id"], uuid.uuid4()):
        with pytest.raises(psycopg.Error) as caught:
            start(member, workflow, parent_execution_id=parent)
        assert caught.value.sqlstate in {"42501", "PT404"}


def test_correlation_ids_are_unique(tenant: Tenant) -> None:
    workflow = add(tenant.owner, tenant)
    first, second = (start(tenant.world.service, workflow) for _ in range(2))
    assert first["correlation_id"] != second["correlation_id"]
    with pytest.raises(psycopg.errors.UniqueViolation):
        start(tenant.world.service, workflow, correlation_id=first["correlation_id"])


def test_parents_are_at_most_five_deep(tenant: Tenant) -> None:
    workflow = add_code(tenant.owner, tenant)
    parent = None
    for _ in range(6):
        parent = start(tenant.owner, workflow, parent_execution_id=parent)["id"]
    with refused("PT409", "executions_too_deep"):
        start(tenant.owner, workflow, parent_execution_id=parent)


@pytest.mark.parametrize(
    ("columns", "code", "token"),
    [
        ({"execution_data": {"output": 1}}, "22023", "execution_data_invalid"),
        ({"execution_data": {"input": "x" * 1048576}}, "PT413", "params_too_large"),
        ({"execution_data": Jsonb([1])}, "23514", None),
        ({"timeout_at": "2020-01-01"}, "22023", "timeout_has_passed"),
        ({"conversation_id": uuid.uuid4()}, "PT404", "conversation_not_found"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_what_an_execution_is_not_started_with(scene: World, columns: Row, code: str, token: str | None) -> None:
    tenant = scene.tenant()
    workflow = add_code(tenant.owner, tenant)
    with refused(code, token):
        start(tenant.owner, workflow, **columns)
    assert tenant.owner.rows("select from public.workflow_executions") == []


def test_a_version_that_is_not_active_is_not_started(tenant: Tenant) -> None:
    workflow = add(tenant.owner, tenant, is_active=False)
    with refused("PT409", "workflow_inactive"):
        start(tenant.owner, workflow)


@pytest.mark.parametrize("max_retries", [-1, 101])
def test_max_retries_is_small(scene: World, max_retries: int) -> None:
    tenant = scene.tenant()
    with refused("23514"):
        start(scene.service, add(scene.service, tenant), max_retries=max_retries)
