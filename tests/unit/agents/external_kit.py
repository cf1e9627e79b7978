"""Runs attempts of external agents in this process, against servers of the tests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.a2a_server import Remote
from workers.agents.external import ExternalAgents
from workers.agents.result import AgentResult
from workers.backoff import Backoff
from workers.contract import AgentRow, ClaimedTask, EventType, TaskRow, Turn
from workers.door import Door
from workers.errors import InputNeeded, TaskFailure
from workers.questions import Answer
from workers.redaction import Redactor, Veil
from workers.reports import ReportQueue
from workers.secrets import Secrets
from workers.trace import Step, Trace, Tracing, follow

SECRET = "hunter2-key"
RIVALS_SECRET = "because"  # Of another organization: hidden here, it would garble texts or be found out by trial.
# Made once: reading all root certificates takes longer than most attempts.
_TLS = ssl.create_default_context()


class Shelf:
    """The database's functions for remote tasks, for one task; they are tested in tests/database."""

    def __init__(self, context_id: str | None = None) -> None:
        self.context_id = context_id
        self.link: dict[str, Any] | None = None
        self.calls: list[str] = []

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        self.calls.append(function)
        lease = {"task_id", "attempt", "lease_token"}
        match function:
            case "begin_remote_task":
                first = {"message_id": f"{arguments['task_id']}.{arguments['attempt']}", "remote_task_id": None}
                self.link = self.link or {**first, "context_id": self.context_id}
                return self.link
            case "keep_remote_task":
                self.link = {key: value for key, value in arguments.items() if key not in lease}
            case "forget_remote_task":
                self.link = None
            case "read_organization_secrets":
                return [{"name": "TOKEN", "value": SECRET}]
            case _:
                raise AssertionError(function)
        return None

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"an agent has no business with {name}")


class Heard:
    """What an attempt said while it ran."""

    def __init__(self) -> None:
        self.text = ""
        self.events: list[tuple[str, str]] = []

    def progress(self, percent: float, message: str | None = None) -> None:
        assert message
        assert 0 <= percent <= 100

    def partial(self, text: str) -> None:
        self.text += text

    def event(self, event_type: EventType, message: str, data: Mapping[str, Any] | None = None) -> None:
        self.events.append((event_type, message))
        assert data


class Bench:
    """One task of one agent, attempt after attempt."""

    def __init__(self, url: str, prompt: str, *, context_id: str | None = None, **endpoint: Any) -> None:
        self.endpoint = {"url": url, **endpoint}
        self.prompt = prompt
        self.shelf = Shelf(context_id)
        self.heard = Heard()
        self.params: Any = None
        self.history: tuple[Turn, ...] = ()
        self.output: Any = None

    async def run(
        self, attempt: int = 1, checkpoint: Any = None, answer: Answer | None = None, door: Door | None = None
    ) -> AgentResult:
        """Run one attempt of three."""
        agent = AgentRow("a", "A", "external", "", "active", io_schema={"output": self.output}, endpoint=self.endpoint)
        task = TaskRow("t1", "demo-org", "process", self.prompt, 3, params=self.params)
        answers = () if answer is None else (answer,)
        claimed = ClaimedTask(task, agent, attempt, "token", history=self.history, input=answers, checkpoint=checkpoint)
        redactor = Redactor()
        redactor.remember(SECRET, "demo-org")
        redactor.remember(RIVALS_SECRET, "rival-org")
        async with door or Door(allow_private=True, tls=_TLS) as way_out:
            secrets = Secrets(self.shelf, redactor=redactor)
            waits = lambda: Backoff(0.02, 0.05)  # noqa: E731
            agents = ExternalAgents(way_out, secrets, self.shelf, poll_waits=waits)
            async with asyncio.timeout(20):
                return await agents.run(claimed, agent, self.heard)

    async def fails(self, attempt: int = 1, **options: Any) -> TaskFailure:
        """Run an attempt that must fail; return how. No failure may show the organization's secret."""
        with pytest.raises(TaskFailure) as caught:
            await self.run(attempt, **options)
        assert SECRET not in f"{caught.value.message} {caught.value.data}"
        return caught.value

    async def asks(self, **options: Any) -> InputNeeded:
        """Run an attempt that must ask a person; return what."""
        with pytest.raises(InputNeeded) as caught:
            await self.run(**options)
        return caught.value


class _Witness:
    """Takes note of every step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def step_ended(self, _claimed: ClaimedTask, step: Step, _veil: Veil) -> None:
        self.steps.append(step)

    def run_ended(self, _claimed: ClaimedTask, _began_at: float, _error_code: str | None) -> None:
        """Nothing is noted of runs."""


@contextmanager
def traced() -> Iterator[list[Step]]:
    """Give the steps that are recorded within."""
    witness = _Witness()
    claimed = ClaimedTask(TaskRow("t1", "demo-org", "process", "", 3), None, 1, "token")
    follow(Trace(claimed, ReportQueue(lambda: None), Veil(), Tracing(store=False, watcher=witness)))
    yield witness.steps


def answered(response: Any, number: int = 1) -> Answer:
    return Answer(f"q{number}", "input", "Which colour?", "answered", response, "u1", "2026-01-01T00:00:00+00:00")


def bench(remote: Remote, prompt: str, **options: Any) -> Bench:
    return Bench(remote.url, prompt, **options)
