"""What a turn or a command asks of the database, by its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserPromptPart,
)
from pydantic_ai.usage import RunUsage

from workers.agents.checkpoint import Resumed
from workers.agents.limits import usage_of
from workers.backend import Backend
from workers.clean import clean_json
from workers.contract import Turn
from workers.errors import BackendError, BackendUnavailable, TaskFailure
from workers.job import Job

_TRIES, _WAIT_SECONDS = 4, 0.2


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Chief(_Model):
    """The orchestrator."""

    id: str
    system_prompt: str | None
    archived: bool
    max_tool_calls: int
    max_cost: float | None


class Instance(_Model):
    """The agent that is commanded; without an agent_slug it runs on the orchestrator's."""

    id: str
    name: str
    agent_slug: str | None
    model: str
    system_prompt: str | None
    archived: bool


class _Entry(_Model):
    prompt: str
    response: str
    messages: list[Any] | None


class _Session(_Model):
    summary: str | None
    entries: list[_Entry]


class _Transcript(_Model):
    messages: list[Any]
    used: dict[str, int] = {}


class _Billed(_Model):
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Begun(_Model):
    """What a turn or a command begins with, or goes on from."""

    orchestrator: Chief
    instance: Instance | None
    session: _Session
    history: list[Turn]
    transcript: _Transcript | None
    billed: _Billed

    def session_messages(self) -> list[ModelMessage]:
        """Return what an instance has said and heard before, oldest first."""
        messages: list[ModelMessage] = []
        if self.session.summary is not None:
            messages += _said(f"What you did earlier in this session, in short:\n{self.session.summary}", "I know.")
        for entry in self.session.entries:
            try:
                messages += ModelMessagesTypeAdapter.validate_python(entry.messages)
            except ValidationError:  # None, or of another version of the worker.
                messages += _said(entry.prompt, entry.response)
        return messages

    def reached(self) -> Resumed | None:
        """Return how far an attempt got that was lost; its last answer counts if it called tools.

        Raises:
            TaskFailure: checkpoint_unreadable.
        """
        if self.transcript is None or not self.transcript.messages:
            return None
        try:
            messages = ModelMessagesTypeAdapter.validate_python(self.transcript.messages)
        except ValidationError:
            problem = "The task's transcript holds what this version of the worker cannot read."
            raise TaskFailure("checkpoint_unreadable", problem, retryable=True) from None
        if isinstance(messages[-1], ModelResponse) and not messages[-1].tool_calls:
            messages.pop()  # It is asked for once more.
        if not messages:
            return None
        total = usage_of(self.transcript.used)
        billed = RunUsage(
            requests=total.requests,
            input_tokens=self.billed.input_tokens,
            output_tokens=self.billed.output_tokens,
            cache_read_tokens=self.billed.cached_tokens,
        )
        for name in ("input_tokens", "output_tokens", "cache_read_tokens"):
            setattr(total, name, max(getattr(total, name), getattr(billed, name)))
        return Resumed(messages, None, billed, total)


@dataclass(frozen=True, slots=True)
class Desk:
    """The database, for one attempt. Every call may be repeated: it acts once."""

    job: Job
    database: Backend

    async def begin(self) -> Begun:
        """Read what there is to do.

        Raises:
            TaskFailure: internal_error, retryable, here and in the other calls.
        """
        try:
            return Begun.model_validate(await self._call("begin", {}))
        except ValidationError:
            raise _failure("answered in a form that this version cannot read") from None

    async def save(self, messages: Sequence[ModelMessage], used: Mapping[str, int]) -> None:
        """Keep what was said so far, for the next attempt or the session."""
        dumped = ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")
        for message in dumped:
            message.pop("instructions", None)  # The agent's, which the next run has again.
        await self._call("save", {"messages": self.job.veil.json(dumped), "used": dict(used)})

    async def tool(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> Any:
        """Do what a tool does; a refusal is the answer {error: {code, message, hint}}."""
        return await self._call("tool", {"call_id": call_id, "name": name, "arguments": dict(arguments)})

    async def log(self, number: int, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append to the log; `number` is that of the first entry within this attempt, from 1."""
        await self._call("log", {"number": number, "entries": self.job.veil.json(list(entries))})

    async def _call(self, action: str, arguments: Mapping[str, Any]) -> Any:
        lease = self.job.claimed.lease
        asked = {"task_id": lease.task_id, "attempt": lease.attempt, "lease_token": lease.lease_token, "action": action}
        sent = clean_json(arguments)  # Models and pages say what jsonb cannot keep.
        for attempt in range(1, _TRIES + 1):
            try:
                return await self.database.call("call_orchestrator", asked | {"arguments": sent})
            except BackendUnavailable:
                if attempt == _TRIES:
                    raise _failure("could not be reached") from None
                await asyncio.sleep(_WAIT_SECONDS * attempt)
            except BackendError as error:
                raise _failure(f"refused it ({str(error)[:200]})") from None
        raise AssertionError  # pragma: no cover - the last try returns or raises


def _said(prompt: str, response: str) -> list[ModelMessage]:
    return [ModelRequest(parts=[UserPromptPart(prompt)]), ModelResponse(parts=[TextPart(response)])]


def _failure(what: str) -> TaskFailure:
    return TaskFailure("internal_error", f"The orchestrator's database {what}.", retryable=True)
