"""One attempt's visit to a framework's server: what is to be run there, and what adapters need to run it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from workers.agents.external.links import Link, Links
from workers.agents.external.wire import quote
from workers.agents.frameworks.settings import Framework, Remote
from workers.agents.frameworks.wire import Wire, known_id
from workers.agents.result import MAX_RESPONSE_CHARS, AgentResult, Reporter
from workers.agents.status_webhooks import StatusWebhooks
from workers.backoff import Backoff
from workers.contract import AgentRow, ClaimedTask, Turn
from workers.errors import TaskFailure
from workers.secrets import Secrets

CALLED, ANSWERED = 20.0, 95.0
_MAX_STEPS = 100
_CANCEL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run: a prompt, data for the framework's own inputs, and the conversation so far."""

    prompt: str
    data: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Turn, ...] = ()


class Adapter(Protocol):
    """Speaks one framework's API."""

    async def run(self) -> AgentResult:
        """Bring the run to its end, going on with one that an earlier attempt began.

        Raises:
            InputNeeded: it waits for a person.
            TaskFailure: it failed; `visit.over` says whether the run there has ended.
        """

    async def cancel(self) -> None:
        """Tell the server to stop the run."""


@dataclass(slots=True)
class Visit:
    """What an adapter works with. `over` is set once the run has ended there, so that a retry begins a new one."""

    framework: Framework
    claimed: ClaimedTask
    agent: AgentRow
    order: Order
    remote: Remote
    wire: Wire
    links: Links
    link: Link
    reporter: Reporter
    secrets: Secrets
    webhooks: StatusWebhooks
    polls: Callable[[], Backoff]
    over: bool = False
    _kept: Link | None = None
    _chars: int = 0
    _steps: int = 0

    @property
    def what(self) -> str:
        """How messages call the server."""
        return self.wire.what

    @property
    def fresh(self) -> bool:
        """Whether no earlier attempt can have begun the run."""
        return self.link.remote_task_id is None and self.link.message_id.endswith(f".{self.claimed.attempt}")

    def redact(self, text: str) -> str:
        """Hide the organization's secrets in a text."""
        return self.secrets.redact(text, self.claimed.task.organization_slug)

    async def keep(self, run_id: Any, context_id: str | None = None) -> str:
        """Keep under which ids the run goes on, for the next attempt; return the run's."""
        known = known_id(run_id, self.what)
        self.link = replace(self.link, remote_task_id=known, context_id=context_id or self.link.context_id)
        if self.link != self._kept:
            await self.links.keep(self.claimed, self.link)
            self._kept = self.link
        return known

    def stream(self, text: str) -> None:
        """Pass on a piece of the answer.

        Raises:
            TaskFailure: response_too_large.
        """
        if not text:
            return
        self._chars += len(text)
        if self._chars > MAX_RESPONSE_CHARS:
            raise TaskFailure("response_too_large", f"The answer is longer than {MAX_RESPONSE_CHARS} characters.")
        self.reporter.partial(text)

    def step(self, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Say that a step of the run is done; how many there will be nobody knows."""
        self._steps += 1
        if self._steps > _MAX_STEPS:
            return
        said = quote(self.redact(name), 200)
        self.reporter.progress(ANSWERED - (ANSWERED - CALLED) * 0.8**self._steps, said)
        self.reporter.event("log", said, data)

    async def until(self, look: Callable[[], Awaitable[Any]], done: Callable[[Any], bool]) -> Any:
        """Return what is seen of the run once it is done; between looks the waits grow."""
        waits = self.polls()
        while True:
            seen = await self.wire.surely(look, self.polls().next)
            if done(seen):
                return seen
            await asyncio.sleep(waits.next())

    async def quietly(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Do what is to be done at the end, as far as it can be within a few seconds."""
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                await call()
        except (TaskFailure, TimeoutError):
            # It is over already, cannot be stopped, or is away: nobody here waits for it any more.
            return
