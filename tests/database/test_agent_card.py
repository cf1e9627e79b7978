"""The A2A 1.0 card of an agent, read with A2A's own types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from a2a.types import AgentCard
from google.protobuf.json_format import ParseDict

from tests.database.kit import Row, Session, Tenant, World, refused

AGENTS: dict[str, Row] = {
    "plain": {},
    "described": {
        "tags": ["seo", "blog"],
        "capabilities": ["blog-writing", "editing"],
        "io_schema": {"output": {"type": "object"}},
        "metadata": {
            "documentation_url": "https://example.com/docs",
            "icon_url": "https://example.com/icon.png",
            "a2a_url": "https://agents.example.com/writer",
            "usage_examples": [{"input": {"prompt": "Write about tides."}}, {"output": "x"}, 7],
        },
    },
    "without capabilities": {"capabilities": [], "tags": None},
    "with odd metadata": {"metadata": {"usage_examples": {"a": 1}, "icon_url": None}},
    "with empty names among its lists": {"capabilities": ["writing", None], "tags": ["seo", None]},
}


@pytest.fixture(scope="module")
def place(scene: World) -> Tenant:
    return scene.tenant()


def card_of(session: Session, slug: str) -> Row:
    card: Row = session.call("agent_card", slug=slug)
    return card


def parse(card: Row) -> Any:
    """Read a card strictly: an unknown field or a wrong type raises ParseError."""
    return ParseDict(card, AgentCard())


@pytest.mark.parametrize("kind", AGENTS)
def test_a_card_has_every_required_field(place: Tenant, kind: str) -> None:
    card = card_of(place.owner, place.add_agent(**AGENTS[kind]))
    parsed = parse(card)
    for field in ("name", "description", "version"):
        assert isinstance(card[field], str)
        assert card[field]
    for interface in card["supportedInterfaces"]:
        assert all(
            isinstance(interface[f], str) and interface[f] for f in ("url", "protocolBinding", "protocolVersion")
        )
    assert isinstance(card["capabilities"], dict)
    for field in ("defaultInputModes", "defaultOutputModes"):
        assert card[field]
        assert all(isinstance(mode, str) for mode in card[field])
    for skill in card["skills"]:
        assert all(isinstance(skill[f], str) and skill[f] for f in ("id", "name", "description"))
        assert skill["tags"]
        assert all(isinstance(tag, str) for tag in skill["tags"])
    assert len({skill["id"] for skill in card["skills"]}) == len(parsed.skills) >= 1


def test_a_card_says_what_the_agent_is(place: Tenant) -> None:
    slug = place.add_agent(**AGENTS["described"])
    parsed = parse(card_of(place.owner, slug))
    assert (parsed.name, parsed.description, parsed.version) == ("Writer", "Writes.", "1.0.0")
    assert [(i.url, i.protocol_binding, i.protocol_version) for i in parsed.supported_interfaces] == [
        ("https://agents.example.com/writer", "JSONRPC", "1.0")
    ]
    assert [(s.id, s.name, list(s.tags), list(s.examples)) for s in parsed.skills] == [
        ("blog-writing", "Blog Writing", ["seo", "blog"], ["Write about tides."]),
        ("editing", "Editing", ["seo", "blog"], ["Write about tides."]),
    ]
    assert list(parsed.default_output_modes) == ["application/json"]
    assert parsed.documentation_url == "https://example.com/docs"
    assert parsed.icon_url == "https://example.com/icon.png"
    assert parsed.provider.organization == place.slug
    assert parsed.capabilities.streaming
    assert parsed.security_schemes["bearer"].http_auth_security_scheme.scheme == "Bearer"
    assert [list(r.schemes) for r in parsed.security_requirements] == [["bearer"]]


def test_the_address_is_the_one_the_caller_used(place: Tenant) -> None:
    headers = {"x-forwarded-proto": "https", "x-forwarded-host": "api.example.com", "host": "127.0.0.1"}
    with place.owner.transaction() as connection:
        connection.execute("select set_config('request.headers', %s, true)", [json.dumps(headers)])
        row = connection.execute("select public.agent_card(%s) as card", [place.agent]).fetchone()
    assert row
    assert row["card"]["supportedInterfaces"][0]["url"] == f"https://api.example.com/a2a/{place.slug}/{place.agent}"


def test_a_card_shows_nothing_of_how_the_agent_works(place: Tenant) -> None:
    secret = {"url": "https://secret.example.com", "headers": {"X-Key": "s3cret"}}
    slug = place.add_agent(agent_type="api", llm_config=None, endpoint=secret, context="Hidden words.")
    text = json.dumps(card_of(place.owner, slug))
    assert not [word for word in ("secret.example.com", "s3cret", "Hidden words.") if word in text]


def test_only_those_who_see_the_agent_see_its_card(place: Tenant) -> None:
    assert card_of(place.join("viewer"), place.agent)["name"] == "Writer"
    for session, slug in ((place.world.tenant().owner, place.agent), (place.owner, "no-such-agent")):
        with refused("PT404", "agent_not_found"):
            card_of(session, slug)
    with refused("42501"):
        card_of(place.world.anon, place.agent)


def test_a_private_agent_has_a_card_without_provider(place: Tenant) -> None:
    maker = place.join("developer")
    card = card_of(maker, place.add_agent(organization_slug=[], owner_user_id=maker.id))
    assert "provider" not in card
    assert parse(card).name == "Writer"


def test_every_agent_of_the_seeds_has_a_card(place: Tenant) -> None:
    slugs = [
        r["slug"]
        for r in place.world.service.rows("select slug from public.agents where organization_slug @> '{demo-org}'")
    ]
    assert slugs
    for slug in slugs:
        assert parse(card_of(place.world.service, slug)).version
