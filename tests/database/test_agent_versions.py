"""Versions of agents, and what restores them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.database.kit import AGENT, Row, Session, Tenant, World, in_parallel, refused, when_it_waited

ENDPOINT = {"url": "https://example.com/agent", "method": "POST"}
CHANGES: dict[str, Any] = {
    "name": "Author",
    "description": "Writes more.",
    "department": "letters",
    "tags": ["seo"],
    "io_schema": {"input": {"type": "object"}},
    "capabilities": ["writing", "editing"],
    "context": "You write more.",
    "llm_config": {"provider": "openai", "model": "other-model"},
    "metadata": {"license": "MIT"},
    "framework": "crewai",
    "build_type": "visual",
}
NO_CONFIGURATION: dict[str, Any] = {
    "status": "inactive",
    "container_id": "c1",
    "deployed_at": "2026-01-01",
    "resource_limits": {"cpu_limit": 1},
}


def version(tenant: Tenant, agent: str) -> str:
    return str(tenant.world.admin.value("select version from public.agents where slug = %s", agent))


def versions(tenant: Tenant, agent: str, schema: str = "public") -> list[str]:
    rows = tenant.world.admin.rows(
        f"select version from {schema}.agent_versions where agent_slug = %s"
        " order by string_to_array(version, '.')::integer[]",
        agent,
    )
    return [row["version"] for row in rows]


def restore(session: Session, agent: str, wanted: str) -> Row:
    row: Row = session.call("restore_agent_version", agent_slug=agent, version=wanted)
    return row


@pytest.mark.parametrize("column", CHANGES)
def test_a_changed_configuration_gets_the_next_patch_number(scene: World, column: str) -> None:
    tenant = scene.tenant()
    tenant.owner.update("agents", {"slug": tenant.agent}, **{column: CHANGES[column]})
    assert version(tenant, tenant.agent) == "1.0.1"
    assert versions(tenant, tenant.agent) == ["1.0.0", "1.0.1"]


@pytest.mark.parametrize("column", NO_CONFIGURATION)
def test_a_changed_state_is_no_new_version(scene: World, column: str) -> None:
    tenant = scene.tenant()
    tenant.world.service.update("agents", {"slug": tenant.agent}, **{column: NO_CONFIGURATION[column]})
    tenant.world.service.update("agents", {"slug": tenant.agent}, name=AGENT["name"], description="Writes.")
    assert (version(tenant, tenant.agent), versions(tenant, tenant.agent)) == ("1.0.0", ["1.0.0"])


@pytest.mark.parametrize("higher", ["1.0.1", "1.1.0", "2.0.0", "1.0.10", "1.10.0", "10.0.0"])
def test_a_higher_version_is_taken_as_sent(tenant: Tenant, higher: str) -> None:
    tenant.owner.update("agents", {"slug": tenant.agent}, name="Author", version=higher)
    assert versions(tenant, tenant.agent) == ["1.0.0", higher]
    tenant.owner.update("agents", {"slug": tenant.agent}, name="Writer")
    major, minor, patch = higher.split(".")
    assert version(tenant, tenant.agent) == f"{major}.{minor}.{int(patch) + 1}"


@pytest.mark.parametrize("lower", ["1.9.9", "1.10.2", "0.99.99", "1.2.10"])
@pytest.mark.parametrize("caller", ["owner", "service"])
def test_a_lower_version_is_refused_to_everybody(scene: World, lower: str, caller: str) -> None:
    tenant = scene.tenant()
    agent = tenant.add_agent(version="1.10.3")
    session = tenant.owner if caller == "owner" else scene.service
    with refused("22023", "version_must_rise"):
        session.update("agents", {"slug": agent}, version=lower, name="Author")
    assert versions(tenant, agent) == ["1.10.3"]


def test_a_version_is_the_configuration_and_who_made_it(tenant: Tenant) -> None:
    developer = tenant.join("developer")
    developer.update("agents", {"slug": tenant.agent}, tags=["seo"], metadata={"a": [1]})
    first, second = tenant.owner.rows("select * from public.agent_versions order by created_at, version")
    assert second["configuration"] == {
        **AGENT,
        "tags": ["seo"],
        "metadata": {"a": [1]},
        "endpoint": None,
        "framework": None,
        "build_type": None,
        "max_concurrent_tasks": None,
    }
    assert (first["created_by"], str(second["created_by"])) == (None, developer.id)
    tenant.world.admin.execute("delete from auth.users where id = %s", developer.id)
    assert [r["created_by"] for r in tenant.owner.rows("select created_by from public.agent_versions")] == [None, None]


def test_a_version_does_not_change(tenant: Tenant) -> None:
    for column, value in {
        "configuration": {},
        "version": "9.0.0",
        "agent_slug": "x",
        "created_at": "2030-01-01",
    }.items():
        with refused("PT409", "append_only"):
            tenant.world.service.update("agent_versions", {"agent_slug": tenant.agent}, **{column: value})
        with refused("42501"):
            tenant.owner.update("agent_versions", {"agent_slug": tenant.agent}, **{column: value})


def test_the_last_ten_are_kept_and_the_rest_archived(tenant: Tenant) -> None:
    for n in range(1, 13):
        tenant.world.service.update("agents", {"slug": tenant.agent}, name=f"Writer {n}")
    assert versions(tenant, tenant.agent) == [f"1.0.{n}" for n in range(3, 13)]
    assert versions(tenant, tenant.agent, "archive") == ["1.0.0", "1.0.1", "1.0.2"]
    archived = tenant.world.admin.rows(
        "select configuration ->> 'name' as name from archive.agent_versions where agent_slug = %s order by version",
        tenant.agent,
    )
    assert [row["name"] for row in archived] == ["Writer", "Writer 1", "Writer 2"]
    for session in (tenant.owner, tenant.world.service):
        with refused("42501"):
            session.rows("select from archive.agent_versions")


# Restoring


def test_a_restored_configuration_is_a_new_version(tenant: Tenant) -> None:
    before = tenant.owner.row("select * from public.agents where slug = %s", tenant.agent)
    developer = tenant.join("developer")
    developer.update("agents", {"slug": tenant.agent}, **CHANGES)
    developer.update("agents", {"slug": tenant.agent}, status="inactive")
    for _ in range(2):  # the second call finds nothing to do
        restored = restore(developer, tenant.agent, "1.0.0")
        assert restored["version"] == "1.0.2"
        assert restored["status"] == "inactive"
        assert {c: restored[c] for c in CHANGES} == {c: before[c] for c in CHANGES}
    assert versions(tenant, tenant.agent) == ["1.0.0", "1.0.1", "1.0.2"]


def test_restoring_the_version_in_force_changes_nothing(tenant: Tenant) -> None:
    tenant.owner.update("agents", {"slug": tenant.agent}, name="Author")
    assert restore(tenant.owner, tenant.agent, "1.0.1")["version"] == "1.0.1"
    assert versions(tenant, tenant.agent) == ["1.0.0", "1.0.1"]


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_who_may_not_change_an_agent_does_not_restore_it(tenant: Tenant, role: str) -> None:
    tenant.owner.update("agents", {"slug": tenant.agent}, name="Author")
    with refused("42501", "not_allowed"):
        restore(tenant.join(role), tenant.agent, "1.0.0")
    assert version(tenant, tenant.agent) == "1.0.1"


def test_what_the_caller_does_not_see_is_not_found(tenant: Tenant) -> None:
    stranger = tenant.world.tenant().owner
    for session, agent, wanted in (
        (stranger, tenant.agent, "1.0.0"),
        (tenant.owner, tenant.agent, "9.9.9"),
        (tenant.owner, "no-such-agent", "1.0.0"),
    ):
        with refused("PT404", "version_not_found"):
            restore(session, agent, wanted)


def test_a_developer_of_one_of_two_organizations_restores_nothing(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    shared = tenant.add_agent(organization_slug=[tenant.slug, other.slug])
    developer = tenant.join("developer")
    world.service.update("agents", {"slug": shared}, name="Author")
    with refused("42501", "not_allowed"):
        restore(developer, shared, "1.0.0")
    other.join("developer", developer)
    assert restore(developer, shared, "1.0.0")["name"] == "Writer"


def test_of_many_who_restore_at_once_one_makes_the_version(tenant: Tenant) -> None:
    tenant.owner.update("agents", {"slug": tenant.agent}, name="Author")
    results = in_parallel([tenant.owner] * 8, lambda s: restore(s, tenant.agent, "1.0.0")["version"])
    assert results == ["1.0.2"] * 8
    assert versions(tenant, tenant.agent) == ["1.0.0", "1.0.1", "1.0.2"]


def test_a_restore_that_waited_for_a_change_comes_after_it(tenant: Tenant) -> None:
    tenant.owner.update("agents", {"slug": tenant.agent}, name="Author")

    def change(session: Session) -> None:
        session.connection.execute("update public.agents set name = 'Editor' where slug = %s", [tenant.agent])

    restored = when_it_waited(tenant.owner, change, tenant.owner, lambda s: restore(s, tenant.agent, "1.0.0"))
    assert (restored["version"], restored["name"]) == ("1.0.3", "Writer")


def test_a_version_from_before_a_change_of_type_is_refused_plainly(tenant: Tenant) -> None:
    service = tenant.world.service
    service.update("agents", {"slug": tenant.agent}, agent_type="api", endpoint=ENDPOINT, llm_config=None)
    with refused("PT409") as refusal:
        restore(tenant.owner, tenant.agent, "1.0.0")
    assert "Failing row" not in refusal.detail
