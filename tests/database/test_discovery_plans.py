"""How agents are found: a member's search reads the agents of the member's organizations, not everybody's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.database.kit import Connection, connect
from tests.database.test_plans import WHO, act_as, explain

# 200 organizations with 30 agents each; the member belongs to one.
FILL = """
insert into auth.users (id, email) values (md5('plan-member')::uuid, 'plan-member@example.com');
insert into public.organizations (slug, name) select 'find-' || n, 'n' from generate_series(1, 200) n;
insert into public.organization_members (organization_slug, user_id, role)
values ('find-1', md5('plan-member')::uuid, 'viewer');
insert into public.agents (
  slug, organization_slug, name, description, agent_type, department, tags, capabilities, io_schema, context, llm_config
)
select 'find-agent-' || n, array['find-' || 1 + n % 200], 'a', 'd', 'context', 'department-' || n % 5,
  array['tag-' || n % 7], array['skill-' || n % 11], '{}', 'c', '{"provider": "openai", "model": "m"}'
from generate_series(1, 6000) n
"""
SEARCHES = {
    "department": "department = 'department-0'",
    "tags": "tags @> '{tag-1}'",
    "either tag": "tags && '{tag-1,tag-2}'",
    "capabilities": "capabilities @> '{skill-1}'",
    "model": 'llm_config @> \'{"provider": "openai"}\'',
    "all": "true",
}


@pytest.fixture(scope="module")
def market(dsn: str) -> Iterator[Connection]:
    """Give a connection in whose open transaction the agents stand."""
    with connect(dsn) as connection, connection.transaction(force_rollback=True):
        tables = ("users", "organizations", "organization_members", "agents")
        for table in tables:
            connection.execute(f"alter table public.{table} disable trigger user".encode())
        for statement in FILL.split(";\n"):
            connection.execute(statement.encode())
        for table in tables:
            connection.execute(f"alter table public.{table} enable trigger user".encode())
            connection.execute(f"analyze public.{table}".encode())
        yield connection


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_reads_about_the_agents_of_the_members_organizations(market: Connection, name: str) -> None:
    assert "member" in WHO
    with market.transaction(force_rollback=True):
        act_as(market, "member")
        returned, nodes = explain(market, f"select * from public.agents where {SEARCHES[name]}")
    read = [node for node in nodes if node.relation == "agents"]
    assert 0 < returned <= 30
    assert [node for node in read if node.kind == "Seq Scan"] == []
    assert sum(node.rows for node in read) <= 60, read


def test_a_server_searches_tags_and_capabilities_by_their_indexes(market: Connection) -> None:
    for name in ("tags", "capabilities"):
        market.execute("set local enable_seqscan = off")
        _, nodes = explain(market, f"select slug from public.agents where {SEARCHES[name]}")
        assert f"idx_agents_{name}" in {node.index for node in nodes}
