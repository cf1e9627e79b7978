"""Runs one attempt of an api agent, with secrets and without a database."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.unit.door_scene import NO_TLS
from tests.unit.http_server import Reply, Seen, Server, json_reply, serve
from workers.agents.api import ApiAgents
from workers.agents.result import AgentResult
from workers.agents.status_webhooks import StatusWebhooks
from workers.agents.transforms import TransformLimits
from workers.contract import AgentRow, ClaimedTask, EventType, TaskRow, Turn
from workers.door import Door
from workers.errors import TaskFailure
from workers.secrets import Secrets

SECRET = "a-very-secret-token"
OK = json_reply({"content": "done"})


SECRETS = {
    "API_TOKEN": SECRET,
    "TENANT": "acme/1",
    "CRLF": "a\r\nInjected: yes",
    "EVIL_HOST": ".evil.example",
    "EVIL_USER": "@evil.example",
    "NO_ORIGIN": "evil",
    "WITH_USER": "http://user:pass@127.0.0.1",
}
LIMITS = TransformLimits(cpu_seconds=0.3, wall_seconds=5, processes=1)


class TestSecrets(Secrets):
    """The organization's secrets from a table of this file instead of the database."""

    __test__ = False

    def __init__(self, more: Mapping[str, str]) -> None:
        self._secrets = {**SECRETS, **more}

    async def fill(self, organization: str, value: Any) -> Any:
        """Replace `${NAME}` in every text; keys are left."""
        if isinstance(value, dict):
            return {key: await self.fill(organization, inner) for key, inner in value.items()}
        if isinstance(value, str):
            for name in re.findall(r"\$\{([^}]*)\}", value):
                if name not in self._secrets:
                    raise TaskFailure("agent_misconfigured", f"The organization has no secret {name}.")
                value = value.replace(f"${{{name}}}", self._secrets[name])
        return value

    def redact(self, text: str, organization: str) -> str:
        assert organization == "demo-org"
        for value in self._secrets.values():
            text = text.replace(value, "[redacted]")
        return text


class CountingDoor(Door):
    """A door that notes whose share each client takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shares: list[str] = []

    def client(self, *arguments: Any, **limits: Any) -> httpx.AsyncClient:
        self.shares.append(limits.get("organization", ""))
        return super().client(*arguments, **limits)


class NoDatabase:
    """These agents are not to need the database."""

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        raise AssertionError(f"{function} was called with {arguments}")


class Heard:
    def __init__(self) -> None:
        self.steps: list[float] = []

    def progress(self, percent: float, message: str | None = None) -> None:
        assert message
        self.steps.append(percent)

    def partial(self, text: str) -> None:
        raise AssertionError(f"unexpected text {text}")

    def event(self, event_type: EventType, message: str, data: Mapping[str, Any] | None = None) -> None:
        raise AssertionError(f"unexpected event {event_type} {message} {data}")


@asynccontextmanager
async def agents(secrets: Mapping[str, str] | None = None, limit: int = 10_000) -> AsyncIterator[ApiAgents]:
    """Give the runner of api agents."""
    webhooks = StatusWebhooks(NoDatabase(), url="http://127.0.0.1:1", anon_key=None)
    async with (
        Door(allow_private=True, tls=NO_TLS) as door,
        ApiAgents(door, TestSecrets(secrets or {}), webhooks, limits=LIMITS, max_response_bytes=limit) as running,
    ):
        yield running


async def call(
    endpoint: Any,
    heard: Heard | None = None,
    *,
    io_schema: Any = None,
    limit: int = 10_000,
    secrets: Mapping[str, str] | None = None,
) -> AgentResult:
    """Run one attempt against an endpoint."""
    task = TaskRow("t1", "demo-org", "process", "Hello ü?", 3, params={"tone": "dry"})
    agent = AgentRow("a", "A", "api", "Be kind.", "active", io_schema=io_schema, endpoint=endpoint)
    claimed = ClaimedTask(task, agent, 1, "token", history=(Turn("user", "Before"),))
    async with agents(secrets, limit) as running:
        return await running.run(claimed, agent, heard or Heard())


async def answered(reply: Reply, **changes: Any) -> AgentResult:
    with serve(lambda _seen: reply) as server:
        return await call({"url": server.url}, **changes)


async def failure(
    answer: Reply | Callable[[Seen], Reply], endpoint: Mapping[str, Any] | None = None, **changes: Any
) -> tuple[TaskFailure, Server]:
    """Run one attempt that must fail; no failure may show the credentials."""
    reply: Callable[[Seen], Reply] = answer if callable(answer) else lambda _seen: answer
    bearer = {"type": "bearer", "config": {"token": SECRET}}
    with serve(reply) as server, pytest.raises(TaskFailure) as caught:
        await call({"url": server.url + "/run", "authentication": bearer, **(endpoint or {})}, **changes)
    assert SECRET not in json.dumps([caught.value.message, caught.value.data])
    return caught.value, server
