"""The database's side of the model test: callers who live in a time of its own, tenants to try, and the comparison.

Time stands still between steps: every transaction sees exactly the model's time as private.clock().
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.database.engine_checks import Queue, broken_promises, read_queue
from tests.database.engine_model import Model
from tests.database.engine_states import Organization, Task
from tests.database.kit import Connection, Row, Session, Tenant, Worker, World

Event = tuple[str, int, Row]
# What a foreign key takes away from a finished task, and the time of that.
LOOSE = frozenset({"agent_conversation_id", "agent_slug", "updated_at", "scheduled_at"})


@dataclass(frozen=True)
class TimedSession(Session):
    """A caller for whom it is exactly the model's time."""

    model: Model = field(default_factory=lambda: Model(datetime.now(UTC)), repr=False)

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Generator[Connection]:
        with super().transaction(keep=keep) as connection:
            connection.execute(
                "select set_config('orchestrator.clock_offset', (%s::timestamptz - now())::text, true)",
                [self.model.now],
            )
            yield connection


@dataclass
class Place:
    """One organization: its owner and a second member, and the conversations and agents that tasks may name."""

    tenant: Tenant
    users: list[TimedSession]
    agents: list[str]
    conversations: list[tuple[str, str]]  # (conversation, its user)

    @property
    def slug(self) -> str:
        return self.tenant.slug


class Stage:
    """A world, and the model of what happened in it."""

    def __init__(self, dsn: str, connection: Connection, workers: int) -> None:
        self.world = World(dsn, connection)
        self.model = Model(datetime.now(UTC).replace(microsecond=0))
        self.service = self.timed(self.world.service)
        self.workers = [Worker(self.service, self.world.worker().id) for _ in range(workers)]
        self.places: dict[str, Place] = {}
        self.finished: dict[str, Row] = {}

    def timed(self, session: Session) -> TimedSession:
        return TimedSession(session.dsn, session.connection, session.role, session.id, session.email, model=self.model)

    def build(self, limit: int | None, agent_limit: int | None, key_limits: dict[str, int]) -> Place:
        """Make an organization with two users, an agent without and one with a limit, and a conversation for each."""
        tenant = self.world.tenant(**({} if limit is None else {"max_concurrent_tasks": limit}))
        users = [self.timed(tenant.owner), self.timed(tenant.join("member"))]
        place = Place(tenant, users, [tenant.agent], [])
        self.places[tenant.slug] = place
        organization = Organization(tenant.slug, limit=limit, key_limits=key_limits)
        organization.agent_limits[tenant.agent] = None
        self.model.organizations[tenant.slug] = organization
        self.add_agent(place, agent_limit)
        for user in users:
            self.add_conversation(place, user)
        return place

    def add_agent(self, place: Place, limit: int | None) -> None:
        slug = place.tenant.add_agent(max_concurrent_tasks=limit)
        place.agents.append(slug)
        self.model.organizations[place.slug].agent_limits[slug] = limit

    def add_conversation(self, place: Place, user: Session) -> None:
        row = user.insert("agent_conversations", organization_slug=place.slug, agent_slug=place.agents[0])
        place.conversations.append((str(row["id"]), user.id))

    def insert(self, place: Place, user: Session, **columns: Any) -> Task:
        """Insert a task that is due now or later, and tell the model."""
        delay, backoff = columns.pop("delay"), columns.pop("backoff_seconds")
        due = self.model.now + delay
        limits = self.model.organizations[place.slug].key_limits
        row = {"organization_slug": place.slug, "method": "process", "prompt": "Write.", **columns}
        if columns["concurrency_key"] is not None:
            row["concurrency_limit"] = limits[columns["concurrency_key"]]
        task_id = str(user.insert("tasks", scheduled_at=due, backoff=f"{backoff} seconds", **row)["id"])
        task = Task(
            task_id,
            0,
            place.slug,
            user.id,
            columns["agent_slug"],
            columns["agent_conversation_id"],
            columns["priority"],
            (due, due),
            columns["max_attempts"],
            columns["timeout_seconds"],
            backoff,
            columns["concurrency_key"],
        )
        self.model.add(task)
        return task

    def open_question(self, task: Task) -> str:
        query = "select id::text from public.input_requests where task_id = %s and status = 'pending'"
        return str(self.world.admin.value(query, task.id))

    def let_reap(self, due: bool) -> None:
        """Decide whether the next exchange finds the reaper due."""
        last = "-infinity" if due else "infinity"
        self.world.admin.execute("update private.maintenance set last_run_at = %s, rests_until = '-infinity'", last)

    def compare(self) -> None:
        """Read everything; no promise may be broken, and every task must be as the model says."""
        queue = read_queue(self.world.admin, self.places)
        broken = broken_promises(queue)
        assert not broken, "\n".join(broken)
        assert queue.tasks.keys() == self.model.tasks.keys()
        for task in self.model.tasks.values():
            row = queue.tasks[task.id]
            now, right = seen(queue, task), expected(task)
            wrong = {name: (value, right[name]) for name, value in now.items() if value != right[name]}
            assert not wrong, f"{task} has (now, expected) {wrong}"
            due = datetime.fromisoformat(row["scheduled_at"])
            assert task.due[0] <= due <= task.due[1], f"{task} waits until {due}, not {task.due}"
            task.due = (due, due)
            if task.status == "completed":
                kept = {name: value for name, value in row.items() if name not in LOOSE}
                assert self.finished.setdefault(task.id, kept) == kept, f"{task} changed after its end"

    def close(self) -> None:
        self.let_reap(due=True)
        self.world.close()


def seen(queue: Queue, task: Task) -> Row:
    """Give what the database holds of a task, in the model's terms."""
    row = queue.tasks[task.id]
    names = ("status", "attempt", "max_attempts", "progress", "progress_message", "error_code", "agent_slug")
    tokens: dict[str, int] = {}
    for usage in queue.usage[task.id]:
        tokens[usage["run_id"]] = tokens.get(usage["run_id"], 0) + usage["input_tokens"] + usage["output_tokens"]
    return {name: row[name] for name in names} | {
        "questions": [question["status"] for question in queue.questions[task.id]],
        "conversation": row["agent_conversation_id"],
        "worker": row["worker_id"],
        "started_at": moment(row["started_at"]),
        "lease_expires_at": moment(row["lease_expires_at"]),
        "runs": [
            (run["id"], run["attempt"], run["worker_id"], run["status"], tokens.get(run["id"], 0))
            for run in queue.runs[task.id]
        ],
        "trail": told([(event["type"], event["attempt"], event["data"]) for event in queue.events[task.id]]),
        "versions": len(queue.versions[task.id]),
        "replies": len([m for m in queue.messages[task.id] if m["sender_type"] == "agent"]),
    }


def expected(task: Task) -> Row:
    """Give what the model says of a task, in the same terms."""
    names = ("status", "attempt", "max_attempts", "progress", "progress_message", "error_code", "conversation")
    return {name: getattr(task, name) for name in names} | {
        "questions": [question.status for question in task.questions],
        "agent_slug": task.agent,
        "worker": task.runs[-1].lease.worker if task.runs else None,
        "started_at": task.started_at,
        "lease_expires_at": task.lease_expires_at,
        "runs": [(run.lease.token, run.lease.attempt, run.lease.worker, run.status, run.tokens) for run in task.runs],
        "trail": told(task.trail),
        "versions": task.versions,
        "replies": task.replies,
    }


def told(trail: list[Event]) -> list[Event]:
    """Leave the last of progress events in a row: several heartbeats in one list may write one event."""
    following = [*trail[1:], ("", 0, {})]
    return [event for event, after in zip(trail, following, strict=True) if (event[0], after[0]) != ("progress",) * 2]


def moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
