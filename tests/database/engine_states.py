"""What the model knows of tasks, their attempts and questions, and of what bounds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from tests.database.engine_checks import FINAL
from tests.database.kit import Row


@dataclass(frozen=True)
class Lease:
    """What a worker was given; `token` is the run's name here."""

    task_id: str
    attempt: int
    token: str
    worker: str


@dataclass
class Run:
    """One attempt: who has it, how it ended ("running" until then) and the tokens it spent."""

    lease: Lease
    status: str = "running"
    ended_by_report: bool = False
    ended_at: datetime | None = None
    tokens: int = 0


@dataclass
class Question:
    """What a paused task asked people."""

    expires_at: datetime | None
    on_expiry: str
    status: str = "pending"
    response: object = None


@dataclass(repr=False)
class Task:
    """One task as it should stand in the table."""

    id: str
    position: int
    organization: str
    user: str
    agent: str | None
    conversation: str | None
    priority: int
    due: tuple[datetime, datetime]
    max_attempts: int
    timeout_seconds: int
    backoff_seconds: int
    key: str | None
    status: str = "pending"
    attempt: int = 0
    progress: int = 0
    progress_message: str | None = None
    error_code: str | None = None
    started_at: datetime | None = None
    lease_expires_at: datetime | None = None
    runs: list[Run] = field(default_factory=list)
    trail: list[tuple[str, int, Row]] = field(default_factory=lambda: [("status", 0, {"to": "pending"})])
    versions: int = 0
    replies: int = 0
    questions: list[Question] = field(default_factory=list)
    checkpoint: Row | None = None
    came_back: int | None = None

    def __repr__(self) -> str:
        return f"task {self.position} ({self.status}, attempt {self.attempt}, priority {self.priority}, key {self.key})"

    @property
    def run(self) -> Run | None:
        """The run that goes on now."""
        return self.runs[-1] if self.status == "in_progress" else None

    @property
    def unfinished(self) -> bool:
        return self.status not in FINAL


@dataclass
class Organization:
    """A tenant with what bounds it: limits of its own, of its agents and of its keys (None: none)."""

    slug: str
    active: bool = True
    limit: int | None = None
    agent_limits: dict[str, int | None] = field(default_factory=dict)
    key_limits: dict[str, int] = field(default_factory=dict)


def same_key(one: Task, other: Task) -> bool:
    return one.key == other.key and one.organization == other.organization


def places(task: Task) -> list[int]:
    """Where it may stand in its key: by its insertion, or by its return."""
    return [task.position] if task.came_back is None else [task.position, task.came_back]


def order(task: Task) -> tuple[int, datetime]:
    """Priority, then age: what goes first within an organization."""
    return task.priority, task.due[0]
