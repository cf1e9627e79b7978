"""What the worker and the database say to each other, as types.

What comes in is checked by pydantic at the border (see `parsing`) and is frozen from there on. What goes out is
a `ReportItem`: which list of the report it belongs to, the lease it is fenced by, and its JSON body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from workers.calls import ReturnedCall
from workers.errors import AgentsNeeded, InputNeeded, PauseNeeded, TaskFailure
from workers.ledger import UsageRow
from workers.questions import Answer

ReportKind = Literal["heartbeats", "steps", "events", "completed", "failed", "paused", "released"]
OutcomeKind = Literal["heartbeat", "step", "event", "completed", "failed", "paused", "released"]
OutcomeWord = Literal["ok", "lost", "cancelled", "invalid", "busy"]
EventType = Literal["progress", "message", "partial", "tool", "log"]
Format = Literal["markdown", "text", "json", "html"]
StopReason = Literal["lost", "cancelled", "released"]
Json = Any

# For an attempt without a limit of its own; the database's default is lower.
DEFAULT_TIMEOUT_SECONDS = 3600.0

REPORT_KINDS: tuple[ReportKind, ...] = ("heartbeats", "steps", "events", "completed", "failed", "paused", "released")
KIND_OF_OUTCOME: Mapping[OutcomeKind, ReportKind] = {
    "heartbeat": "heartbeats",
    "step": "steps",
    "event": "events",
    "completed": "completed",
    "failed": "failed",
    "paused": "paused",
    "released": "released",
}


class Lease(NamedTuple):
    """The right to write about one attempt of one task; every report item carries it."""

    task_id: str
    attempt: int
    lease_token: str


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The part of a row of `tasks` that its attempt needs.

    `timeout_seconds` bounds one attempt; `queue_seconds` is how long the task was due before this claim.
    `trace_context` is a W3C traceparent; None when the task begins a trace of its own.
    """

    id: str
    organization_slug: str
    method: str
    prompt: str
    max_attempts: int
    user_id: str | None = None
    params: Json = None
    deliverable_type: str | None = None
    deliverable_metadata: Json = None
    timeout_seconds: float | None = None
    agent_conversation_id: str | None = None
    agent_slug: str | None = None
    agent_name: str | None = None
    metadata: Json = None
    queue_seconds: float | None = None
    trace_context: str | None = None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """A row of `agents`; its JSON columns are checked where they are used, never trusted.

    `is_private`: it belongs to a user, who is perhaps no more than a member of the task's organization.
    """

    slug: str
    name: str
    agent_type: str
    context: str
    status: str
    description: str | None = None
    version: str | None = None
    io_schema: Json = None
    capabilities: Json = None
    endpoint: Json = None
    llm_config: Json = None
    metadata: Json = None
    framework: str | None = None
    is_private: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the task's conversation."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """An attempt this worker holds: the task, its agent as it was when claimed, and the lease.

    `input` are the task's closed questions, oldest first; `checkpoint` is what its last pause kept. `allowed_hosts` is
    where agents of the organization may send requests (settings.network.allowed_hosts); None for everywhere public.
    `agent_calls` is what came of the agents that the last pause called; `call_stack` are the agents above this one.
    """

    task: TaskRow
    agent: AgentRow | None
    attempt: int
    lease_token: str
    run_id: str | None = None
    history: tuple[Turn, ...] = ()
    input: tuple[Answer, ...] = ()
    checkpoint: Json = None
    allowed_hosts: tuple[str, ...] | None = None
    agent_calls: tuple[ReturnedCall, ...] = ()
    call_stack: tuple[str, ...] = ()

    @property
    def lease(self) -> Lease:
        """The lease that fences every write about this attempt."""
        return Lease(self.task.id, self.attempt, self.lease_token)

    @property
    def answer(self) -> Answer | None:
        """What became of the last question; None when nothing was asked."""
        return self.input[-1] if self.input else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item of the report; `busy` says that nothing was done and it is to be said again."""

    task_id: str
    kind: OutcomeKind
    outcome: OutcomeWord
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ReportItem:
    """One thing to tell the database, fenced by its lease."""

    kind: ReportKind
    lease: Lease
    body: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExchangeAnswer:
    """The database's answer to one exchange.

    `next_poll_ms` says how long a worker with free slots may wait until it asks again. `schedules_due` asks this worker
    to fire schedules. `unreadable` ends the attempts of tasks that cannot be read; it is made on this side.
    """

    tasks: tuple[ClaimedTask, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    cancel: tuple[str, ...] = ()
    next_poll_ms: int = 1000
    schedules_due: bool = False
    unreadable: tuple[ReportItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Deliverable:
    """The document an attempt made; `file_attachments` are {name, media_type, url} or {…, content, encoding, size}."""

    title: str
    type: str
    format: Format
    content: str
    metadata: Mapping[str, Json] = field(default_factory=dict)
    file_attachments: Sequence[Mapping[str, Json]] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """All that a finished attempt leaves behind, written by the database in one transaction."""

    response: str
    response_metadata: Mapping[str, Json] = field(default_factory=dict)
    llm_metadata: Mapping[str, Json] = field(default_factory=dict)
    deliverable: Deliverable | None = None
    messages: Sequence[Mapping[str, Json]] = ()
    usage: Sequence[UsageRow] = ()


def completed(lease: Lease, completion: Completion) -> ReportItem:
    """Return the item that finishes an attempt; optional parts that are empty are left out."""
    body: dict[str, Json] = {"response": completion.response}
    if completion.response_metadata:
        body["response_metadata"] = dict(completion.response_metadata)
    if completion.llm_metadata:
        body["llm_metadata"] = dict(completion.llm_metadata)
    if completion.deliverable is not None:
        body["deliverable"] = asdict(completion.deliverable)
    if completion.messages:
        body["messages"] = [dict(message) for message in completion.messages]
    if completion.usage:
        body["usage"] = [asdict(row) for row in completion.usage]
    return ReportItem("completed", lease, body)


def failed(lease: Lease, failure: TaskFailure) -> ReportItem:
    """Return the item that ends an attempt as failed."""
    body: dict[str, Json] = {
        "error_code": failure.code,
        "error_message": failure.message,
        "retryable": failure.retryable,
    }
    if failure.data is not None:
        body["error_data"] = failure.data
    if failure.retry_after is not None:
        body["retry_after"] = failure.retry_after
    if failure.rejected:
        body["rejected"] = True
    if failure.usage:
        body["usage"] = [asdict(row) for row in failure.usage]
    return ReportItem("failed", lease, body)


def paused(lease: Lease, needed: PauseNeeded) -> ReportItem:
    """Return the item that asks a person, or calls agents, and lets go of the task."""
    body: dict[str, Json] = {}
    if isinstance(needed, InputNeeded):
        body["input_request"] = asdict(needed.request)
    elif isinstance(needed, AgentsNeeded):
        body["agent_calls"] = [asdict(call) for call in needed.calls]
    if needed.checkpoint is not None:
        body["checkpoint"] = needed.checkpoint
    if needed.usage:
        body["usage"] = [asdict(row) for row in needed.usage]
    return ReportItem("paused", lease, body)
