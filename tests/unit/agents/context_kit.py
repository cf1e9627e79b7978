"""What tests of context agents share: an agent on one provider's address, what it says, the database it asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.unit.door_scene import NO_TLS
from tests.unit.fake_backend import FakeBackend
from tests.unit.wire import MODELS
from workers.agents.context import ContextAgents
from workers.agents.providers import Providers
from workers.contract import EventType
from workers.door import Door
from workers.secrets import Secrets
from workers.settings import load_settings

KEY = "sk-test-secret"


class Heard:
    """What an agent said while it ran."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.text = ""
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def progress(self, percent: float, message: str | None = None) -> None:
        assert message
        self.steps.append(percent)

    def partial(self, text: str) -> None:
        self.text += text

    def event(self, event_type: EventType, message: str, data: Mapping[str, Any] | None = None) -> None:
        assert message
        self.events.append((event_type, data or {}))


class AnsweringBackend(FakeBackend):
    """A database that answers calls of agents from a table: the function's name, and what it gives or raises."""

    def __init__(self, **answers: Any) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        self.asked.append((function, dict(arguments)))
        answer = self.answers[function]
        if isinstance(answer, Exception):
            raise answer
        return answer


class GivenSecrets(Secrets):
    """Secrets that the test gives, by name."""

    def __init__(self, **values: str) -> None:
        rows = [{"name": name, "value": value, "version": 1} for name, value in values.items()]
        super().__init__(AnsweringBackend(read_organization_secrets=rows))


@dataclass
class Surroundings:
    """What a context agent has around it."""

    database: AnsweringBackend = field(default_factory=AnsweringBackend)
    secrets: GivenSecrets = field(default_factory=GivenSecrets)
    door: Door = field(default_factory=lambda: Door(allow_private=True, tls=NO_TLS))


@asynccontextmanager
async def context_agents(
    provider: str, url: str, around: Surroundings | None = None, offline_seconds: float | None = None
) -> Any:
    """Yield agents that reach `provider` at `url`."""
    around = around or Surroundings()
    name = provider.upper()
    path = "/v1" if provider in {"openai", "ollama"} else ""
    env = {"SUPABASE_URL": "http://x", "SUPABASE_SERVICE_ROLE_KEY": "k"}
    settings = load_settings({**env, f"{name}_API_KEY": KEY, f"{name}_BASE_URL": url + path})
    async with Providers(settings.providers, read_timeout=2) as providers, around.door as door:
        yield ContextAgents(
            providers, door=door, secrets=around.secrets, database=around.database, offline_seconds=offline_seconds
        )


def llm_config(provider: str, **more: Any) -> dict[str, Any]:
    """Return an `llm_config` for the provider's model of the tests."""
    return {"provider": provider, "model": MODELS[provider], **more}


def names(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the tools in an OpenAI request."""
    return [tool["function"]["name"] for tool in tools]
