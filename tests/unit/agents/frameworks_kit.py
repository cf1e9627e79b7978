"""Runs attempts of a framework's agent in this process, against servers of the tests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.unit.agents.external_kit import Heard, Shelf
from tests.unit.http_server import Reply, Seen
from workers.agents.external import ExternalAgents
from workers.agents.frameworks import Frameworks
from workers.agents.frameworks.agents import FrameworkAgents
from workers.agents.result import AgentResult
from workers.agents.status_webhooks import StatusWebhooks
from workers.backoff import Backoff
from workers.contract import AgentRow, ClaimedTask, TaskRow, Turn
from workers.door import Door
from workers.errors import InputNeeded, TaskFailure
from workers.questions import Answer
from workers.redaction import Redactor
from workers.secrets import Secrets

SECRET = "hunter2-key"
# Made once: reading all root certificates takes longer than most attempts.
_TLS = ssl.create_default_context()


class Database(Shelf):
    """Remote tasks and status webhooks of one task; `outcomes` is what its reads answer in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = False
        self.outcomes: list[Mapping[str, Any]] = []

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        match function:
            case "open_status_webhook":
                opened = {"id": "w1", "secret": "whsec_x", "expires_at": "2030-01-01T00:00:00Z"}
                return {**opened, "expires_in": 30, "under_way": self.under_way}
            case "read_status_webhooks":
                return [{"id": "w1", **self.outcomes.pop(0)}] if self.outcomes else []
            case _:
                return await super().call(function, arguments)


class Story(Heard):
    """What an attempt said; entries of the trail may come without data."""

    def __init__(self) -> None:
        super().__init__()
        self.percents: list[float] = []

    def progress(self, percent: float, message: str | None = None) -> None:
        assert message is None or message
        self.percents.append(percent)

    def event(self, event_type: Any, message: str, data: Mapping[str, Any] | None = None) -> None:
        assert data is None or isinstance(data, dict)
        self.events.append((event_type, message))


class Bench:
    """One task of one agent, attempt after attempt."""

    def __init__(self, framework: str, url: str, prompt: str = "hello", **endpoint: Any) -> None:
        self.framework = framework
        self.endpoint = {"url": url, **endpoint}
        self.prompt = prompt
        self.database = Database()
        self.story = Story()
        self.params: Any = None
        self.history: tuple[Turn, ...] = ()
        self.output: Any = None
        self.task_id = "t1"

    async def run(
        self, attempt: int = 1, checkpoint: Any = None, answer: Answer | None = None, door: Door | None = None
    ) -> AgentResult:
        """Run one attempt of three."""
        agent = AgentRow(
            "a", "A", "external", "", "active",
            io_schema={"output": self.output}, endpoint=self.endpoint, framework=self.framework,
        )  # fmt: skip
        task = TaskRow(self.task_id, "demo-org", "process", self.prompt, 3, params=self.params)
        answers = () if answer is None else (answer,)
        claimed = ClaimedTask(task, agent, attempt, "token", history=self.history, input=answers, checkpoint=checkpoint)
        redactor = Redactor()
        redactor.remember(SECRET, "demo-org")
        webhooks = StatusWebhooks(self.database, url="http://here", anon_key="anon", poll_seconds=0.2)
        async with door or Door(allow_private=True, tls=_TLS) as way_out, webhooks:
            secrets = Secrets(self.database, redactor=redactor)
            waits = lambda: Backoff(0.05, 0.2)  # noqa: E731
            frameworks = Frameworks(way_out, secrets, self.database, webhooks, poll_waits=waits)
            agents = FrameworkAgents(frameworks, ExternalAgents(way_out, secrets, self.database))
            async with asyncio.timeout(30):
                return await agents.run(claimed, agent, self.story)

    async def fails(self, attempt: int = 1, **options: Any) -> TaskFailure:
        """Run an attempt that must fail; return how. No failure may show the organization's secret."""
        with pytest.raises(TaskFailure) as caught:
            await self.run(attempt, **options)
        assert SECRET not in f"{caught.value.message} {caught.value.data}"
        return caught.value

    async def asks(self, attempt: int = 1, **options: Any) -> InputNeeded:
        """Run an attempt that must ask a person; return what."""
        with pytest.raises(InputNeeded) as caught:
            await self.run(attempt, **options)
        return caught.value


def answered(response: Any, number: int = 1) -> Answer:
    return Answer(f"q{number}", "input", "?", "answered", response, "u1", "2026-01-01T00:00:00+00:00")


SETTINGS: dict[str, dict[str, Any]] = {
    "langgraph": {"assistant_id": "echo"},
    "agno": {"agent_id": "helper"},
    "crewai": {},
    "n8n": {"webhook_path": "webhook/flow"},
}


def bench(framework: str, url: str, prompt: str = "hello", **endpoint: Any) -> Bench:
    return Bench(framework, url, prompt, **{**SETTINGS[framework], **endpoint})


def in_turn(*replies: Reply) -> Callable[[Seen], Reply]:
    """Answer one after another, the last one for ever."""
    left = list(replies)
    return lambda _seen: left.pop(0) if len(left) > 1 else left[0]


def posts(seen: Sequence[Seen]) -> list[Seen]:
    return [one for one in seen if one.method == "POST"]
