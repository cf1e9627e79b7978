"""Finding agents: by department, tags, capabilities, in JSON and by words, each user in what the user may see."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from tests.api.helpers import Caller, Json, Tenant, agent_row, found, ok, sign_up, unique
from tests.stack import Stack


@dataclass(frozen=True)
class Market:
    """An organization with agents to choose from, a viewer of it, and a stranger with an agent just like them."""

    tenant: Tenant
    viewer: Caller
    stranger: Tenant
    prefix: str

    def find(self, who: Caller, **query: str) -> list[str]:
        """Return what is found, without what makes the names of this test its own."""
        rows = who.rows("agents", select="slug", order="slug", **query)
        slugs = [row["slug"].removeprefix(self.prefix) for row in rows]
        return [slug for slug in slugs if not slug.startswith("agent-")]


AGENTS: dict[str, Json] = {
    "blogger": {"department": "marketing", "tags": ["blog", "seo"], "capabilities": ["writing", "editing"]},
    "editor": {"department": "marketing", "tags": ["seo"], "capabilities": ["editing"]},
    "coder": {"department": "engineering", "tags": None, "capabilities": ["coding"], "metadata": {"license": "MIT"}},
    "draft": {"department": "marketing", "tags": ["blog"], "capabilities": ["writing"], "status": "draft"},
}


@pytest.fixture(scope="module")
def market(stack: Stack, http: httpx.Client) -> Market:
    tenant, stranger = (found(sign_up(http, stack.anon_key)) for _ in "12")
    viewer, prefix = sign_up(http, stack.anon_key), unique("m") + "-"
    for name, columns in AGENTS.items():
        row = agent_row(prefix + name, tenant.organization) | {"name": name.title(), **columns}
        ok(tenant.owner.insert("agents", row))
    twin = agent_row(f"{prefix}twin", stranger.organization) | AGENTS["blogger"]
    ok(stranger.owner.insert("agents", twin))
    invited = {"organization_slug": tenant.organization, "email": viewer.email, "role": "viewer"}
    ok(viewer.rpc("accept_invitation", token=ok(tenant.owner.rpc("create_invitation", **invited))["token"]))
    return Market(tenant, viewer, stranger, prefix)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"department": "eq.marketing"}, ["blogger", "draft", "editor"]),
        ({"department": "eq.marketing", "status": "eq.active"}, ["blogger", "editor"]),
        ({"tags": "cs.{blog}"}, ["blogger", "draft"]),
        ({"tags": "cs.{blog,seo}"}, ["blogger"]),
        ({"tags": "ov.{blog,seo}"}, ["blogger", "draft", "editor"]),
        ({"capabilities": "cs.{editing}"}, ["blogger", "editor"]),
        ({"capabilities": "ov.{coding,writing}", "status": "eq.active"}, ["blogger", "coder"]),
        ({"metadata": 'cs.{"license":"MIT"}'}, ["coder"]),
        ({"llm_config": 'cs.{"provider":"anthropic"}', "department": "eq.engineering"}, ["coder"]),
        ({"name": "ilike.*edit*"}, ["editor"]),
        ({"tags": "cs.{nothing}"}, []),
    ],
    ids=str,
)
def test_members_find_agents_by_what_they_are(market: Market, query: dict[str, str], expected: list[str]) -> None:
    assert market.find(market.tenant.owner, **query) == expected
    assert market.find(market.viewer, **query) == expected


def test_strangers_find_their_own_only(market: Market) -> None:
    assert market.find(market.stranger.owner, tags="cs.{blog}") == ["twin"]
    assert market.find(market.stranger.owner, capabilities="ov.{coding,editing}") == ["twin"]


def test_a_viewer_reads_whole_agents_and_no_credential(market: Market) -> None:
    endpoint = {"url": "https://example.com/agent", "headers": {"Authorization": "Bearer ${API_TOKEN}"}}
    row = agent_row(f"{market.prefix}api", market.tenant.organization)
    row |= {"agent_type": "api", "llm_config": None, "endpoint": endpoint}
    ok(market.tenant.owner.insert("agents", row))
    (seen,) = market.viewer.rows("agents", slug=f"eq.{market.prefix}api")
    assert seen["endpoint"] == endpoint
    literal = {**endpoint, "headers": {"Authorization": "Bearer abc"}}
    refused = market.tenant.owner.update("agents", {"endpoint": literal}, slug=f"eq.{market.prefix}api")
    assert (refused.status_code, refused.json()["message"]) == (400, "credential_is_literal")
    assert "abc" not in refused.text
    ok(
        market.tenant.owner.http.delete(
            f"/rest/v1/agents?slug=eq.{market.prefix}api", headers=market.tenant.owner.headers
        )
    )
