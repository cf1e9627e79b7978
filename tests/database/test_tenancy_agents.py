"""Agents between tenants, and the limits of settings.limits under concurrency."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import AGENT, Session, Tenant, World, in_parallel, new_name, refused, when_it_waited


def add_agent(session: Session, slugs: list[str], **columns: Any) -> str:
    return str(
        session.insert("agents", **{**AGENT, "slug": new_name("agent"), "organization_slug": slugs, **columns})["slug"]
    )


def sees(session: Session, agent: str) -> bool:
    return bool(session.rows("select from public.agents where slug = %s", agent))


def test_an_agent_belongs_to_organizations_where_its_maker_is_a_developer(world: World) -> None:
    first, second, foreign, user = world.tenant(), world.tenant(), world.tenant(), world.user()
    first.join("developer", user)
    second.join("admin", user)
    foreign.join("member", user)
    assert sees(first.owner, add_agent(user, [first.slug, second.slug]))
    for slugs in ([foreign.slug], [first.slug, foreign.slug], ["no-such-organization"], ["demo-org"]):
        with refused("42501", "not_allowed"):
            add_agent(user, slugs)


def test_an_unknown_organization_is_told_to_a_server(world: World) -> None:
    with refused("PT404", "organization_not_found"):
        add_agent(world.service, ["no-such-organization"])


def test_an_agent_is_not_moved_into_a_foreign_organization(world: World, tenant: Tenant) -> None:
    foreign = world.tenant()
    for slugs in ([foreign.slug], [tenant.slug, foreign.slug]):
        with refused("42501", "not_allowed"):
            tenant.owner.update("agents", {"slug": tenant.agent}, organization_slug=slugs)
    assert not sees(foreign.owner, tenant.agent)


def test_a_shared_agent_is_changed_only_by_developers_of_all_its_organizations(world: World, tenant: Tenant) -> None:
    other = world.tenant()
    shared = tenant.add_agent(organization_slug=[tenant.slug, other.slug])
    assert sees(tenant.owner, shared)
    assert tenant.owner.update("agents", {"slug": shared}, name="Mine") == 0
    assert tenant.owner.update("agents", {"slug": shared}, organization_slug=[tenant.slug]) == 0
    assert tenant.owner.execute("delete from public.agents where slug = %s", shared) == 0
    other.join("developer", tenant.owner)
    assert tenant.owner.update("agents", {"slug": shared}, name="Ours") == 1


def test_a_private_agent_is_seen_and_changed_by_its_owner_alone(world: World, tenant: Tenant) -> None:
    maker = tenant.join("developer")
    private = add_agent(maker, [], owner_user_id=maker.id)
    assert maker.update("agents", {"slug": private}, name="Mine") == 1
    for other in (tenant.owner, world.tenant().owner):
        assert not sees(other, private)
        assert other.update("agents", {"slug": private}, name="Theirs") == 0
    with refused("42501"):
        add_agent(maker, [], owner_user_id=tenant.owner.id)


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"organization_slug": []}, "owned_by_a_user_or_by_organizations"),
        ({"organization_slug": None}, "organization_slug"),
        ({"llm_config": None}, "context_agents_have_llm_config_and_no_endpoint"),
        ({"endpoint": {"url": "https://x"}}, "context_agents_have_llm_config_and_no_endpoint"),
        ({"agent_type": "api"}, "api_and_external_agents_have_endpoint_and_no_llm_config"),
        ({"agent_type": "external", "llm_config": None}, "api_and_external_agents_have_endpoint_and_no_llm_config"),
        ({"agent_type": "tool"}, "agent_type_is_known"),
        ({"llm_config": {"provider": "acme", "model": "m"}}, "llm_config_names_provider_and_model"),
        ({"llm_config": {"provider": "openai"}}, "llm_config_names_provider_and_model"),
        ({"llm_config": {"provider": "openai", "model": " "}}, "llm_config_names_provider_and_model"),
        ({"llm_config": {"provider": "openai", "model": "m", "parameters": 1}}, "llm_config_names_provider_and_model"),
        ({"io_schema": {"input": 7}}, "io_schema_is_an_object"),
        ({"io_schema": Jsonb([])}, "io_schema_is_an_object"),
        ({"slug": "No Slug"}, "slug_is_lower_case_words"),
        ({"name": " "}, "name_is_not_blank"),
        ({"version": "1.0"}, "version_is_semantic"),
        ({"version": "01.0.0"}, "version_is_semantic"),
        ({"status": "asleep"}, "status_is_known"),
        ({"framework": "other"}, "framework_is_known"),
        ({"context": "x" * 262_145}, "agent_is_not_too_large"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_malformed_agent_is_refused(scene: World, columns: dict[str, Any], constraint: str) -> None:
    tenant = scene.tenant()
    with pytest.raises(psycopg.errors.IntegrityError) as caught:
        add_agent(scene.service, **{"slugs": [tenant.slug], **columns})
    assert constraint in {caught.value.diag.constraint_name, caught.value.diag.column_name}


@pytest.mark.parametrize(
    "endpoint",
    [
        {"url": "ftp://x"},
        {"url": "https://x", "method": "BREW"},
        {"url": "https://x", "headers": []},
        {"url": "https://x", "authentication": {"type": "magic"}},
        {"url": "https://x", "authentication": {}},
        {"url": "https://x", "authentication": {"type": "bearer", "config": "token"}},
        {"url": "https://x", "method": "DELETE"},
        {"url": "https://x", "header": {}},
        {"url": "https://x", "headers": {"X": 5}},
        {"url": "https://x", "headers": {"X": ["y"]}},
        {"url": "https://x", "timeout": "30"},
        {"url": "https://x", "timeout": 0},
        {"url": "https://x", "timeout": 3601},
        {"url": "https://x", "request_transform": 5},
        {"url": "https://x", "request_transform": ["{{ prompt }}"]},
        {"url": "https://x", "response_transform": {}},
        {"url": "https://x", "status_webhook": "https://y"},
        {"url": "https://x", "status_webhook": {}},
        {"url": "https://x", "status_webhook": {"ttl_seconds": 604_801}},
        {"url": "https://x", "status_webhook": {"ttl_seconds": "60"}},
        {"url": "https://x", "status_webhook": {"ttl_seconds": 60, "url": "https://y"}},
        {},
    ],
    ids=str,
)
def test_a_malformed_endpoint_is_refused(tenant: Tenant, endpoint: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        tenant.add_agent(agent_type="api", llm_config=None, endpoint=endpoint)


@pytest.mark.parametrize(
    "more",
    [
        {"authentication": {"type": "bearer", "config": {}}},
        {"url": "${BASE}/run", "headers": {"X": "${KEY}"}, "timeout": 0.5, "status_webhook": False},
        {"request_transform": {"a": ["{{ task.prompt }}"]}, "response_transform": ".a", "status_webhook": True},
        {"request_transform": "{{ task.prompt }}", "status_webhook": {"ttl_seconds": 86_400}},
    ],
    ids=str,
)
def test_a_well_formed_endpoint_is_taken(tenant: Tenant, more: dict[str, Any]) -> None:
    endpoint = {"url": "https://x", "method": "POST", "headers": {}, **more}
    assert tenant.add_agent(agent_type="api", llm_config=None, endpoint=endpoint)


LITERAL: list[tuple[dict[str, Any], str]] = [
    ({"authentication": {"type": "bearer", "config": {"token": "abc"}}}, "authentication.config.token"),
    ({"authentication": {"type": "api-key", "config": {"key": "abc", "header": "X-Key"}}}, "authentication.config.key"),
    ({"authentication": {"type": "basic", "config": {"username": "u", "password": "p"}}}, "config.password"),
    ({"authentication": {"type": "bearer", "config": {"token": "$API_TOKEN"}}}, "authentication.config.token"),
    ({"authentication": {"type": "bearer", "config": {"token": {"deep": "abc"}}}}, "authentication.config.token"),
    ({"headers": {"Authorization": "Bearer abc"}}, "headers.Authorization"),
    ({"headers": {"x-goog-api-key": "abc"}}, "headers.x-goog-api-key"),
    ({"headers": {"Cookie": "session=abc"}}, "headers.Cookie"),
    ({"url": "https://user:pass@example.com/"}, "url"),
    ({"url": "https://example.com/hook?id=1&api_key=abc"}, "url"),
    ({"url": "https://example.com/hook?X-Amz-Signature=abc"}, "url"),
]
NAMED: list[dict[str, Any]] = [
    {"authentication": {"type": "bearer", "config": {"token": "${API_TOKEN}", "header": "X-Token"}}},
    {"authentication": {"type": "basic", "config": {"username": "u", "password": "${PASSWORD}"}}},
    {"headers": {"Authorization": "Token ${API_TOKEN}", "Idempotency-Key": "x", "X-Monkey": "y", "Author": "z"}},
    {"url": "https://example.com/hook?key=${KEY}&page=2&monkey=1#token=x"},
    {"url": "https://${USER_AND_PASSWORD}@example.com/a@b"},
    {"url": "${HOOK}"},
]


def api_agent(tenant: Tenant, endpoint: dict[str, Any]) -> dict[str, Any]:
    row = {**AGENT, "slug": new_name("agent"), "organization_slug": [tenant.slug], "agent_type": "api"}
    return {**row, "llm_config": None, "endpoint": {"url": "https://example.com/", **endpoint}}


@pytest.mark.parametrize(("endpoint", "field"), LITERAL, ids=str)
def test_a_credential_that_a_member_writes_into_an_endpoint_is_refused(
    tenant: Tenant, endpoint: dict[str, Any], field: str
) -> None:
    with refused("22023", "credential_is_literal") as caught:
        tenant.owner.insert("agents", **api_agent(tenant, endpoint))
    assert field in caught.detail
    assert "abc" not in caught.detail + caught.hint
    agent = tenant.owner.insert("agents", **api_agent(tenant, {}))
    with refused("22023", "credential_is_literal"):
        tenant.owner.update("agents", {"slug": agent["slug"]}, endpoint={"url": "https://example.com/", **endpoint})


@pytest.mark.parametrize("endpoint", NAMED, ids=str)
def test_the_name_of_a_secret_is_taken(tenant: Tenant, endpoint: dict[str, Any]) -> None:
    row = tenant.owner.insert("agents", **api_agent(tenant, endpoint))
    seen = tenant.join("viewer").row("select * from public.agents where slug = %s", row["slug"])
    assert seen["endpoint"].items() >= endpoint.items()


def with_servers(*servers: Any) -> dict[str, Any]:
    config: Any = AGENT["llm_config"]
    return {**config, "tools": {"mcp_servers": list(servers)}}


@pytest.mark.parametrize(
    "server",
    [
        {"url": "https://x", "headers": {"Authorization": "Bearer abc"}},
        {"url": "https://u:abc@x/mcp"},
        {"url": "https://x/mcp?api_key=abc"},
    ],
    ids=str,
)
def test_a_credential_for_an_mcp_server_is_refused_too(tenant: Tenant, server: dict[str, Any]) -> None:
    named = {"url": "https://x?key=${KEY}", "headers": {"Authorization": "Bearer ${TOKEN}"}}
    row = {**AGENT, "slug": new_name("agent"), "organization_slug": [tenant.slug], "llm_config": with_servers(named)}
    agent = tenant.owner.insert("agents", **row)
    with refused("22023", "credential_is_literal") as caught:
        tenant.owner.update("agents", {"slug": agent["slug"]}, llm_config=with_servers(named, server))
    assert "llm_config.tools.mcp_servers.1." in caught.detail
    assert "abc" not in caught.detail + caught.hint
    with refused("22023", "credential_is_literal"):
        tenant.owner.insert("agents", **{**row, "slug": new_name("agent"), "llm_config": with_servers(server)})
    # What is no list of objects is for others to refuse; when nothing of it changes, nobody asks.
    assert tenant.owner.update("agents", {"slug": agent["slug"]}, description="Writes more.") == 1


def test_servers_write_what_they_like(tenant: Tenant) -> None:
    assert tenant.world.service.insert("agents", **api_agent(tenant, LITERAL[0][0]))


# Limits


def insert_agent(session: Session, tenant: Tenant) -> str:
    return add_agent(session, [tenant.slug])


def insert_conversation(session: Session, tenant: Tenant) -> Any:
    return session.insert("agent_conversations", organization_slug=tenant.slug, agent_slug=tenant.agent)


LIMITS = {"max_agents": (insert_agent, "agents"), "max_conversations": (insert_conversation, "agent_conversations")}


def count(tenant: Tenant, table: str) -> int:
    """Count the rows that the owner sees, all of this organization."""
    return int(tenant.owner.value(f"select count(*) from public.{table}"))


@pytest.mark.parametrize("limit", LIMITS)
def test_fifty_inserts_at_once_never_exceed_a_limit(world: World, limit: str) -> None:
    tenant = world.tenant(**{limit: 7})
    insert, table = LIMITS[limit]

    def twice(session: Session) -> list[str]:
        outcomes = []
        for _ in range(2):
            try:
                insert(session, tenant)
                outcomes.append("made")
            except psycopg.Error as error:
                outcomes.append(error.diag.sqlstate or "")
        return outcomes

    results = in_parallel([tenant.owner] * 25, twice)
    outcomes = [outcome for result in results for outcome in result]
    assert set(outcomes) == {"made", "PT429"}
    assert len(outcomes) == 50
    assert count(tenant, table) == 7


@pytest.mark.parametrize("limit", LIMITS)
def test_a_refusal_over_a_limit_says_the_limit_and_the_count(world: World, limit: str) -> None:
    tenant = world.tenant(**{limit: 2})
    insert, _ = LIMITS[limit]
    with refused("PT429", "over_limit") as refusal:
        for _ in range(3):
            insert(tenant.owner, tenant)
    assert "2 of at most 2" in refusal.detail
    assert limit in refusal.detail
    assert limit in refusal.hint


def test_rows_of_one_statement_count_too(world: World) -> None:
    tenant = world.tenant(max_conversations=3)
    with refused("PT429", "over_limit"):
        tenant.owner.execute(
            "insert into public.agent_conversations (organization_slug, agent_slug)"
            " select %s, %s from generate_series(1, 4)",
            tenant.slug,
            tenant.agent,
        )
    assert count(tenant, "agent_conversations") == 0


def test_sharing_an_agent_counts_where_it_is_shared(world: World) -> None:
    tenant, full = world.tenant(), world.tenant(max_agents=1)
    full.join("developer", tenant.owner)
    with refused("PT429", "over_limit"):
        tenant.owner.update("agents", {"slug": tenant.agent}, organization_slug=[tenant.slug, full.slug])


@pytest.mark.parametrize("limit", LIMITS)
def test_deleting_makes_room_and_no_limit_means_none(world: World, limit: str) -> None:
    tenant = world.tenant(**{limit: 1})
    insert, table = LIMITS[limit]
    if table == "agent_conversations":
        insert(tenant.owner, tenant)
    with refused("PT429"):
        insert(tenant.owner, tenant)
    tenant.owner.update("organizations", {"slug": tenant.slug}, settings={})
    insert(tenant.owner, tenant)


def test_an_organization_deleted_meanwhile_gets_no_agent(world: World, tenant: Tenant) -> None:
    error = when_it_waited(
        tenant.owner,
        lambda s: s.execute("delete from public.organizations where slug = %s", tenant.slug),
        world.service,
        lambda s: add_agent(s, [tenant.slug]),
    )
    assert error.diag.message_primary == "organization_not_found"
