"""What the worker and the database say to each other, as types.

What comes in is checked by pydantic at the border (`parse_answer`) and is frozen from there on. What goes out is
a `ReportItem`: which list of the report it belongs to, the lease it is fenced by, and its JSON body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from workers.errors import AnswerUnreadable, TaskFailure
from workers.ledger import UsageRow
from workers.lenient import holds_unreadable

ReportKind = Literal["heartbeats", "events", "completed", "failed", "released"]
OutcomeKind = Literal["heartbeat", "event", "completed", "failed", "released"]
OutcomeWord = Literal["ok", "lost", "cancelled", "invalid"]
EventType = Literal["progress", "message", "partial", "tool", "log"]
Format = Literal["markdown", "text", "json", "html"]
StopReason = Literal["lost", "cancelled", "released"]
Json = Any

# For an attempt without a limit of its own; the database's default is lower.
DEFAULT_TIMEOUT_SECONDS = 3600.0

REPORT_KINDS: tuple[ReportKind, ...] = ("heartbeats", "events", "completed", "failed", "released")
KIND_OF_OUTCOME: Mapping[OutcomeKind, ReportKind] = {
    "heartbeat": "heartbeats",
    "event": "events",
    "completed": "completed",
    "failed": "failed",
    "released": "released",
}


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write about one attempt of one task; every report item carries it."""

    task_id: str
    attempt: int
    lease_token: str


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The part of a row of `tasks` that its attempt needs; `timeout_seconds` bounds one attempt."""

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


@dataclass(frozen=True, slots=True)
class AgentRow:
    """A row of `agents`; its JSON columns are checked where they are used, never trusted."""

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


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of the task's conversation."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """An attempt this worker holds: the task, its agent as it was when claimed, and the lease."""

    task: TaskRow
    agent: AgentRow | None
    attempt: int
    lease_token: str
    run_id: str | None = None
    history: tuple[Turn, ...] = ()

    @property
    def lease(self) -> Lease:
        """The lease that fences every write about this attempt."""
        return Lease(self.task.id, self.attempt, self.lease_token)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item of the report."""

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

    def to_json(self) -> dict[str, Json]:
        """Return the item as it stands in its list of the report."""
        return {**asdict(self.lease), **self.body}


@dataclass(frozen=True, slots=True)
class ExchangeAnswer:
    """The database's answer to one exchange; `unreadable` ends attempts of tasks that cannot be read."""

    tasks: tuple[ClaimedTask, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    cancel: tuple[str, ...] = ()
    next_poll_ms: int = 1000
    unreadable: tuple[ReportItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Deliverable:
    """The document an attempt made."""

    title: str
    type: str
    format: Format
    content: str
    metadata: Mapping[str, Json] = field(default_factory=dict)


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
    if failure.usage:
        body["usage"] = [asdict(row) for row in failure.usage]
    return ReportItem("failed", lease, body)


def build_report(items: Sequence[ReportItem]) -> dict[str, list[dict[str, Json]]]:
    """Return the report of an exchange: one list per kind, only the kinds there are."""
    report: dict[str, list[dict[str, Json]]] = {}
    for kind in REPORT_KINDS:
        if listed := [item.to_json() for item in items if item.kind == kind]:
            report[kind] = listed
    return report


_CLAIMED = TypeAdapter(ClaimedTask)
_LEASE = TypeAdapter(Lease)
_OBJECT = TypeAdapter(dict[str, Any])
_OBJECTS = TypeAdapter(list[dict[str, Any]])
_OUTCOMES = TypeAdapter(tuple[Outcome, ...])
_IDS = TypeAdapter(tuple[str, ...])
_MILLISECONDS = TypeAdapter(int)


def parse_answer(raw: object, *, damaged: bool = False) -> ExchangeAnswer:
    """Check an answer of `exchange_work`; keys this version does not know are ignored.

    A task that cannot be read does not spoil the others: how its attempt ends stands in `unreadable`. `damaged` says
    that parts of the answer may have been left out (see `lenient`).

    Raises:
        AnswerUnreadable: the answer as a whole is not what was agreed.
    """
    if not isinstance(raw, dict):
        raise AnswerUnreadable("exchange_work answered with something that is not a JSON object")
    try:
        tasks, unreadable = _parse_tasks(raw.get("tasks") or [], damaged=damaged)
        return ExchangeAnswer(
            tasks=tuple(tasks),
            outcomes=_OUTCOMES.validate_python(raw.get("outcomes") or []),
            cancel=_IDS.validate_python(raw.get("cancel") or []),
            next_poll_ms=_MILLISECONDS.validate_python(raw.get("next_poll_ms", 1000)),
            unreadable=tuple(unreadable),
        )
    except ValidationError as error:
        raise AnswerUnreadable(f"exchange_work answered in an unknown form: {_where(error)}") from None


def _parse_tasks(raw: Sequence[Any], *, damaged: bool) -> tuple[list[ClaimedTask], list[ReportItem]]:
    tasks: list[ClaimedTask] = []
    unreadable: list[ReportItem] = []
    for entry in _OBJECTS.validate_python(raw):
        failure = _damage(entry) if damaged else None
        try:
            if failure is None:
                tasks.append(_CLAIMED.validate_python(entry))
                continue
        except ValidationError:
            failure = TaskFailure("internal_error", "This worker's version cannot read the task.", retryable=True)
        task = _OBJECT.validate_python(entry.get("task"))
        lease = _LEASE.validate_python({**entry, "task_id": task.get("id")})
        unreadable.append(failed(lease, failure))
    return tasks, unreadable


def _damage(entry: Mapping[str, Any]) -> TaskFailure | None:
    """Return why an entry from which something was left out cannot run."""
    problem = "holds JSON that is nested deeper than 200 levels or a number of more than 4000 digits"
    if holds_unreadable(entry.get("task")):
        return TaskFailure("input_invalid", f"The task {problem}.")
    if holds_unreadable(entry.get("agent")):
        return TaskFailure("agent_misconfigured", f"The agent {problem}.")
    return None


def _where(error: ValidationError) -> str:
    """Return where an answer is wrong, without the values in it."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
