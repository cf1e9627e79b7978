"""Whose key a model is called with: the organization's own, else the operator's, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.agents.context_kit import AnsweringBackend, GivenSecrets, Heard
from tests.unit.fake_backend import FakeBackend
from tests.unit.http_server import Reply, Seen, Server, json_reply, serve, sse_reply
from tests.unit.wire import EVENTS
from workers.agents.context import ContextAgents
from workers.agents.providers import Providers
from workers.agents.result import AgentResult
from workers.contract import AgentRow, ClaimedTask, TaskRow
from workers.door import Door
from workers.errors import TaskFailure
from workers.keyring import new_key
from workers.secrets import Secrets
from workers.settings import load_settings

OPERATORS, OWN = "sk-of-the-operator", "sk-of-the-organization"
ENV = {"SUPABASE_URL": "http://x", "SUPABASE_SERVICE_ROLE_KEY": "k"}


def answer(seen: Seen) -> Reply:
    """Accept every key but one that is refused."""
    if "refused" in seen.headers["authorization"]:
        return json_reply({"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}, 401)
    return sse_reply(EVENTS["openai"](["Hello"]))


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(answer) as server:
        yield server


def secrets_of(**organizations: dict[str, Any]) -> Secrets:
    """Give the secret OPENAI_API_KEY of organizations, as the database would."""
    backend = FakeBackend()

    def read(arguments: Any) -> list[dict[str, Any]]:
        row = organizations.get(arguments["organization_slug"])
        return [{"name": "OPENAI_API_KEY", "version": 1, **row}] if row is not None else []

    backend.functions["read_organization_secrets"] = read
    return Secrets(backend, key=new_key())


async def ask(providers: Providers, organization: str) -> AgentResult:
    config = {"provider": "openai", "model": "gpt-4o"}
    agent = AgentRow("a", "A", "context", "Be kind.", "active", io_schema={}, llm_config=config)
    claimed = ClaimedTask(TaskRow("t1", organization, "process", "Hello?", 3), agent, 1, "token")
    async with Door(allow_private=True) as door:
        agents = ContextAgents(providers, door=door, secrets=GivenSecrets(), database=AnsweringBackend())
        return await agents.run(claimed, agent, Heard())


def providers_on(server: Server, secrets: Secrets | None, **env: str) -> Providers:
    settings = load_settings({**ENV, "OPENAI_BASE_URL": server.url + "/v1", **env})
    return Providers(settings.providers, secrets=secrets, read_timeout=5)


async def failure(providers: Providers, organization: str) -> TaskFailure:
    with pytest.raises(TaskFailure) as caught:
        await ask(providers, organization)
    assert OPERATORS not in caught.value.message
    assert "refused" not in caught.value.message
    return caught.value


async def test_the_organizations_own_key_goes_first_and_the_operators_is_lent_to_the_others(server: Server) -> None:
    secrets = secrets_of(acme={"value": OWN})
    async with providers_on(server, secrets, OPENAI_API_KEY=OPERATORS) as providers:
        for organization in ("acme", "rival", "acme"):
            await ask(providers, organization)
        used = [seen.headers["authorization"] for seen in server.seen]
        assert used == [f"Bearer {key}" for key in (OWN, OPERATORS, OWN)]
        first = await providers.model("openai", "gpt-4o", "acme")
        assert await providers.model("openai", "gpt-4o", "acme") is first
        assert await providers.model("openai", "gpt-4o", "rival") is not first


async def test_where_the_operator_lends_no_key_only_the_organizations_own_is_used(server: Server) -> None:
    secrets = secrets_of(acme={"value": OWN})
    lent = {"OPENAI_API_KEY": OPERATORS, "ORCHESTRATOR_PLATFORM_KEYS": "0"}
    async with providers_on(server, secrets, **lent) as providers:
        await ask(providers, "acme")
        missing = await failure(providers, "rival")
    assert (missing.code, missing.retryable) == ("provider_key_missing", False)
    assert "organization's secret OPENAI_API_KEY" in missing.message
    assert "ORCHESTRATOR_PLATFORM_KEYS" in missing.message
    assert len(server.seen) == 1


async def test_a_refused_key_is_named_with_who_can_change_it(server: Server) -> None:
    secrets = secrets_of(acme={"value": "sk-refused-own"})
    async with providers_on(server, secrets, OPENAI_API_KEY="sk-refused-lent") as providers:
        own, lent = await failure(providers, "acme"), await failure(providers, "rival")
    assert own.code == lent.code == "provider_auth_failed"
    assert "the organization's secret OPENAI_API_KEY (an admin sets it)" in own.message
    assert "OPENAI_API_KEY (the operator of the worker sets it)" in lent.message


async def test_an_own_key_that_cannot_be_read_is_not_replaced_by_the_operators(server: Server) -> None:
    secrets = secrets_of(acme={"ciphertext": "gAAAA" + "x" * 80})
    async with providers_on(server, secrets, OPENAI_API_KEY=OPERATORS) as providers:
        failed = await failure(providers, "acme")
    assert (failed.code, failed.data) == ("agent_misconfigured", {"secrets": ["OPENAI_API_KEY"]})
    assert server.seen == []
