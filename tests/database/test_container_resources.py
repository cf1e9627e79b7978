"""What an agent's container may use: derived from its owner's tier, whoever writes and however many write at once."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.database.kit import AGENT, Row, Session, Tenant, World, new_name, refused, when_it_waited

TIERS = {"basic": (1, 2048, "shared"), "pro": (4, 8192, "shared"), "enterprise": (16, 32768, "isolated")}


def resources(world: World, agent: str) -> tuple[str, tuple[int, int, str]]:
    row = world.admin.row("select * from public.container_resources where agent_slug = %s", agent)
    return row["subscription_tier"], (row["cpu_limit"], row["memory_limit_mb"], row["network_isolation"])


def set_tier(tenant: Tenant, tier: str) -> None:
    tenant.world.service.update("organizations", {"slug": tenant.slug}, subscription_tier=tier)


@pytest.mark.parametrize("tier", TIERS)
def test_resources_follow_the_organizations_tier(tenant: Tenant, tier: str) -> None:
    assert resources(tenant.world, tenant.agent) == ("basic", TIERS["basic"])
    set_tier(tenant, tier)
    later = tenant.add_agent()
    assert resources(tenant.world, tenant.agent) == resources(tenant.world, later) == (tier, TIERS[tier])
    set_tier(tenant, "basic")
    assert resources(tenant.world, tenant.agent) == ("basic", TIERS["basic"])


def test_of_several_organizations_the_highest_tier_counts(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    set_tier(other, "enterprise")
    shared = tenant.add_agent(organization_slug=[tenant.slug, other.slug])
    assert resources(world, shared)[0] == "enterprise"
    set_tier(other, "pro")
    assert resources(world, shared)[0] == "pro"
    world.service.update("agents", {"slug": shared}, organization_slug=[tenant.slug])
    assert resources(world, shared)[0] == "basic"


def test_resources_of_a_private_agent_follow_its_user(tenant: Tenant) -> None:
    maker = tenant.join("developer")
    set_tier(tenant, "enterprise")
    private = tenant.add_agent(organization_slug=[], owner_user_id=maker.id)
    assert resources(tenant.world, private)[0] == "basic"
    tenant.world.service.update("users", {"id": maker.id}, subscription_tier="pro")
    assert resources(tenant.world, private) == ("pro", TIERS["pro"])


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"cpu_limit": 2}, "check_resource_limits"),
        ({"memory_limit_mb": 8192}, "check_resource_limits"),
        ({"network_isolation": "isolated"}, "check_network_isolation"),
        ({"subscription_tier": "pro"}, "check_resource_limits"),
    ],
    ids=str,
)
def test_resources_that_do_not_fit_the_tier_are_refused(scene: World, columns: Row, constraint: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        scene.service.update("container_resources", {"agent_slug": scene.tenant().agent}, **columns)
    assert caught.value.diag.constraint_name == constraint


def test_a_change_of_tier_changes_every_agent_at_once(tenant: Tenant) -> None:
    service = tenant.world.service
    with service.transaction() as connection:  # one statement that adds many
        connection.execute(
            "insert into public.agents (slug, organization_slug, name, description, agent_type, department, io_schema,"
            " capabilities, context, llm_config) select slug || '-' || n, organization_slug, name, description,"
            " agent_type, department, io_schema, capabilities, context, llm_config"
            " from public.agents, generate_series(1, 200) n where slug = %s",
            [tenant.agent],
        )
    set_tier(tenant, "enterprise")
    counted = tenant.world.admin.rows(
        "select subscription_tier, cpu_limit, count(*) as agents from public.container_resources where agent_slug in"
        " (select slug from public.agents where organization_slug = array[%s]) group by 1, 2",
        tenant.slug,
    )
    assert counted == [{"subscription_tier": "enterprise", "cpu_limit": 16, "agents": 201}]


def test_a_change_of_tier_that_fails_changes_nothing(tenant: Tenant) -> None:
    with tenant.world.service.transaction(keep=False) as connection:
        connection.execute("update public.organizations set subscription_tier = 'pro' where slug = %s", [tenant.slug])
    assert resources(tenant.world, tenant.agent) == ("basic", TIERS["basic"])


def add_agent(tenant: Tenant, session: Session, **columns: Any) -> str:
    slug = new_name("agent")
    session.insert("agents", **{**AGENT, "slug": slug, "organization_slug": [tenant.slug], **columns})
    return slug


def test_an_agent_added_while_the_tier_changes_gets_the_new_one(tenant: Tenant) -> None:
    service = tenant.world.service

    def change(session: Session) -> None:
        query = "update public.organizations set subscription_tier = 'pro' where slug = %s"
        session.connection.execute(query, [tenant.slug])

    slug = when_it_waited(service, change, service, lambda session: add_agent(tenant, session))
    assert resources(tenant.world, slug) == ("pro", TIERS["pro"])


def test_a_tier_that_changes_while_an_agent_is_added_reaches_it(tenant: Tenant) -> None:
    service, slug = tenant.world.service, new_name("agent")

    def add(session: Session) -> None:
        session.connection.execute(
            "insert into public.agents (slug, organization_slug, name, description, agent_type, department, io_schema,"
            " capabilities, context, llm_config) select %s, organization_slug, name, description, agent_type,"
            " department, io_schema, capabilities, context, llm_config from public.agents where slug = %s",
            [slug, tenant.agent],
        )

    when_it_waited(
        service, add, service, lambda s: s.update("organizations", {"slug": tenant.slug}, subscription_tier="pro")
    )
    assert resources(tenant.world, slug) == ("pro", TIERS["pro"])


def test_two_owners_that_fall_at_once_do_not_keep_each_others_old_tier(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    for one in (tenant, other):
        set_tier(one, "pro")
    shared = tenant.add_agent(organization_slug=[tenant.slug, other.slug])

    def fall(session: Session) -> None:
        query = "update public.organizations set subscription_tier = 'basic' where slug = %s"
        session.connection.execute(query, [tenant.slug])

    service = world.service
    when_it_waited(
        service, fall, service, lambda s: s.update("organizations", {"slug": other.slug}, subscription_tier="basic")
    )
    assert resources(world, shared) == ("basic", TIERS["basic"])


@pytest.mark.parametrize("role", ["member", "developer", "owner"])
def test_no_member_writes_them(tenant: Tenant, role: str) -> None:
    somebody = tenant.owner if role == "owner" else tenant.join(role)
    with refused("42501"):
        somebody.update("container_resources", {"agent_slug": tenant.agent}, cpu_limit=16)
    with refused("42501"):
        somebody.execute("delete from public.container_resources where agent_slug = %s", tenant.agent)
    with refused("42501"):
        somebody.update("agents", {"slug": tenant.agent}, resource_limits={"cpu_limit": 1})


def container(tenant: Tenant, session: Session) -> Row:
    return session.row("select * from public.agent_containers where agent_slug = %s", tenant.agent)


def test_operators_read_the_limits_that_hold(tenant: Tenant) -> None:
    service = tenant.world.service
    service.update("agents", {"slug": tenant.agent}, resource_limits={"cpu_limit": 2, "memory_limit_mb": 999_999})
    row = container(tenant, service)
    assert (row["cpu_limit"], row["memory_limit_mb"]) == (1, 2048)  # more than the tier counts for nothing
    set_tier(tenant, "pro")
    row = container(tenant, service)
    assert (row["cpu_limit"], row["memory_limit_mb"], row["network_isolation"]) == (2, 8192, "shared")
    assert row["environment"] == {
        "AGENT_SLUG": tenant.agent,
        "AGENT_VERSION": "1.0.0",
        "CPU_LIMIT": "2",
        "MEMORY_LIMIT_MB": "8192",
        "NETWORK_ISOLATION": "shared",
        "SUBSCRIPTION_TIER": "pro",
    }
    assert container(tenant, tenant.join("viewer")) == row
    assert (
        tenant.world.tenant().owner.rows("select from public.agent_containers where agent_slug = %s", tenant.agent)
        == []
    )


@pytest.mark.parametrize(
    "limits", [{"cpu": 1}, {"cpu_limit": 0}, {"cpu_limit": 1.5}, {"cpu_limit": "1"}, {"memory_limit_mb": None}], ids=str
)
def test_limits_that_nobody_understands_are_refused(scene: World, limits: Row) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        scene.service.update("agents", {"slug": scene.tenant().agent}, resource_limits=limits)
    assert caught.value.diag.constraint_name == "resource_limits_are_cpu_limit_and_memory_limit_mb"
