"""The database's side of the contract, in memory: leases, fencing, attempts, repeatable requests, cancel.

It is called from the exchange's thread and looked at from the test's, so everything is under one lock.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.unit.fake_schedules import FakeSchedules
from workers.backend import Backend, ExchangeRequest
from workers.contract import ExchangeAnswer
from workers.errors import BackendError, BackendUnavailable
from workers.parsing import parse_answer


async def _at_once(_request: ExchangeRequest) -> None:
    """Wait for nothing."""
    await asyncio.sleep(0)


@dataclass
class FakeTask:
    id: str
    row: dict[str, Any]
    agent: dict[str, Any] | None
    status: str = "pending"
    attempt: int = 0
    lease_token: str | None = None
    lease_expires_at: float = 0.0
    worker_id: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    progress: list[int] = field(default_factory=list)
    completions: int = 0
    questions: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: dict[str, Any] | None = None


class FakeBackend(FakeSchedules):
    """See the module."""

    def __init__(self, next_poll_ms: int = 50) -> None:
        super().__init__()
        self.next_poll_ms = next_poll_ms
        self.lock = threading.RLock()
        self.tasks: dict[str, FakeTask] = {}
        self.requests: list[ExchangeRequest] = []
        self.registered: list[Mapping[str, Any]] = []
        self.stopped: list[str] = []
        # What agents may call, and what answers.
        self.functions: dict[str, Callable[[Mapping[str, Any]], Any]] = {"read_organization_secrets": lambda _: []}
        self.calls_at: list[float] = []
        # Called before a request acts and after it has acted; an error from it reaches the worker.
        self.before: Callable[[ExchangeRequest], BackendError | None] = lambda _request: None
        self.after: Callable[[ExchangeRequest], BackendError | None] = lambda _request: None
        self.refuse_item: Callable[[str, Mapping[str, Any]], str | None] = lambda _kind, _item: None
        # Whether the row of an item's task is locked by somebody else just now.
        self.busy: Callable[[str, Mapping[str, Any]], bool] = lambda _kind, _item: False
        # Awaited before a request acts and before its answer is given out: what they wait for, the request waits for.
        self.on_the_way: Callable[[ExchangeRequest], Awaitable[None]] = _at_once
        self.on_the_way_back: Callable[[ExchangeRequest], Awaitable[None]] = _at_once
        self.most_held = 0  # How many leases a worker held at most, at the end of an exchange.
        self._answers: dict[tuple[str, str], dict[str, Any]] = {}
        self._cancelled: set[str] = set()

    # What the test does.

    def add_task(self, method: str = "echo", **row: Any) -> FakeTask:
        agent = row.pop("agent", None)
        task = FakeTask(id=str(uuid.uuid4()), row={}, agent=agent)
        task.row = {
            "id": task.id,
            "organization_slug": "demo-org",
            "method": method,
            "prompt": "hello",
            "max_attempts": 3,
            "timeout_seconds": 60,
            "params": {},
            "deliverable_type": "text",
            **row,
        }
        with self.lock:
            self.tasks[task.id] = task
        return task

    def cancel(self, task: FakeTask) -> None:
        with self.lock:
            task.status = "cancelled"
            task.lease_token = None
            self._cancelled.add(task.id)

    def answer(self, task: FakeTask, response: Any) -> None:
        """Answer the question that a paused task waits for."""
        with self.lock:
            told = {"id": str(uuid.uuid4()), "request_type": "input", "prompt": "?", "status": "answered"}
            task.questions.append({**told, "response": response, "responded_by": None, "responded_at": None})
            task.status = "pending"

    def take_away(self, task: FakeTask) -> None:
        """Let the lease end as the reaper would, with nobody else taking the task."""
        with self.lock:
            task.lease_token = None
            task.status = "failed"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Backend]:
        yield self

    # The contract.

    async def register_worker(self, worker_id: str, info: Mapping[str, Any]) -> None:
        self._may_act(ExchangeRequest(request_id=worker_id, report=b"{}", max_tasks=0, lease_seconds=0))
        self.registered.append(info)

    async def stop_worker(self, worker_id: str) -> None:
        self._may_act(ExchangeRequest(request_id=worker_id, report=b"{}", max_tasks=0, lease_seconds=0))
        self.stopped.append(worker_id)

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        return self.functions[function](arguments)

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:
        await self.on_the_way(request)
        self._may_act(request)
        answer = self.exchange_now(worker_id, request)
        await self.on_the_way_back(request)
        error = self.after(request)
        if error is not None:
            raise error
        return parse_answer(json.dumps(answer).encode())

    def exchange_now(self, worker_id: str, request: ExchangeRequest) -> dict[str, Any]:
        """Act once per request id and return the answer as JSON."""
        with self.lock:
            key = (worker_id, request.request_id)
            if key not in self._answers:
                self._answers[key] = self._exchange(worker_id, request)
            return self._answers[key]

    def _may_act(self, request: ExchangeRequest) -> None:
        self.calls_at.append(time.monotonic())
        self.requests.append(request)
        error = self.before(request)
        if error is not None:
            raise error

    def _exchange(self, worker_id: str, request: ExchangeRequest) -> dict[str, Any]:
        self._reap()
        outcomes = []
        for kind, singular in (
            ("heartbeats", "heartbeat"),
            ("events", "event"),
            ("completed", "completed"),
            ("failed", "failed"),
            ("paused", "paused"),
            ("released", "released"),
        ):
            for item in report_of(request).get(kind, []):
                detail = self.refuse_item(kind, item)
                word = "invalid" if detail else self._apply(kind, item, request.lease_seconds)
                outcomes.append(
                    {"task_id": item["task_id"], "kind": singular, "outcome": word, "detail": detail, "attempt": 0}
                )
        cancel = [task_id for task_id in self._cancelled if self.tasks[task_id].worker_id == worker_id]
        self._cancelled.difference_update(cancel)
        tasks = self._claim(worker_id, request)
        held = sum(task.lease_token is not None and task.worker_id == worker_id for task in self.tasks.values())
        self.most_held = max(self.most_held, held)
        return {
            "tasks": tasks,
            "outcomes": outcomes,
            "cancel": cancel,
            "next_poll_ms": self.next_poll_ms,
            "schedules_due": self.schedules_due,
            "a_key_of_a_later_version": True,
        }

    def _apply(self, kind: str, item: Mapping[str, Any], lease_seconds: int) -> str:
        task = self.tasks[item["task_id"]]
        if self.busy(kind, item):
            return "busy"
        if task.status == "cancelled":
            return "cancelled"
        if task.lease_token is None or (task.attempt, task.lease_token) != (item["attempt"], item["lease_token"]):
            return "lost"
        now = time.monotonic()
        if kind == "heartbeats":
            task.lease_expires_at = now + lease_seconds
            if "progress" in item:
                task.progress.append(item["progress"])
                task.writes.append(now)
        elif kind == "events":
            task.events.append({key: item[key] for key in ("type", "message", "data") if key in item})
            task.writes.append(now)
        else:
            self._end(task, kind, item)
        return "ok"

    def _end(self, task: FakeTask, kind: str, item: Mapping[str, Any]) -> None:
        task.lease_token = None
        task.result = dict(item)
        if kind == "released":
            task.status = "pending"
            task.attempt -= 1
        elif kind == "paused":
            task.status = "paused"
            task.attempt -= 1
            task.checkpoint = item.get("checkpoint")
        elif kind == "completed":
            task.status = "completed"
            task.completions += 1
        elif item["retryable"] and task.attempt < task.row["max_attempts"]:
            task.status = "pending"
        else:
            task.status = "timeout" if item["error_code"] == "timeout" else "failed"

    def _reap(self) -> None:
        for task in self.tasks.values():
            if task.status == "in_progress" and task.lease_expires_at < time.monotonic():
                task.status = "pending"
                task.lease_token = None

    def _claim(self, worker_id: str, request: ExchangeRequest) -> list[dict[str, Any]]:
        claimed: list[dict[str, Any]] = []
        for task in self.tasks.values():
            if len(claimed) >= request.max_tasks:
                break
            if task.status != "pending" or (request.methods and task.row["method"] not in request.methods):
                continue
            task.status = "in_progress"
            task.attempt += 1
            task.lease_token = str(uuid.uuid4())
            task.lease_expires_at = time.monotonic() + request.lease_seconds
            task.worker_id = worker_id
            claimed.append(
                {
                    "task": {**task.row, "attempt": task.attempt},
                    "agent": task.agent,
                    "attempt": task.attempt,
                    "lease_token": task.lease_token,
                    "lease_expires_at": "2025-01-01T00:00:00+00:00",
                    "run_id": str(uuid.uuid4()),
                    "history": [],
                    "input": task.questions,
                    "checkpoint": task.checkpoint,
                }
            )
        return claimed


def report_of(request: ExchangeRequest) -> dict[str, list[dict[str, Any]]]:
    """Return the lists of the report that a request carries."""
    report: dict[str, list[dict[str, Any]]] = json.loads(request.report)
    report.pop("understands", None)
    report.pop("slots", None)
    return report


def away(request: ExchangeRequest) -> BackendError:
    """Be a database that nobody reaches."""
    return BackendUnavailable(f"no answer to {request.request_id}")
