"""Carries out what the database answered to an exchange."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from structlog.typing import FilteringBoundLogger

from workers.contract import (
    DEFAULT_TIMEOUT_SECONDS,
    KIND_OF_OUTCOME,
    ClaimedTask,
    ExchangeAnswer,
    Lease,
    Outcome,
    ReportItem,
    ReportKind,
    StopReason,
    failed,
)
from workers.errors import not_accepted
from workers.packing import PackedItem
from workers.ports import Agents
from workers.reports import Batch, ReportQueue

_PLAIN = frozenset({"heartbeats", "steps", "events"})


class Answers:
    """Moves answers on: outcomes to the queue, tasks and cancellations to the agents."""

    def __init__(self, queue: ReportQueue, agents: Agents, log: FilteringBoundLogger) -> None:
        self._queue = queue
        self._agents = agents
        self._log = log

    def apply(self, answer: ExchangeAnswer, batch: Batch, *, draining: bool) -> None:
        """Carry out the answer to `batch`; while draining, tasks that still came are given back."""
        told = [] if all(outcome.outcome == "ok" for outcome in answer.outcomes) else list(_pair(batch, answer))
        self._queue.settle(batch, [item for item, outcome in told if outcome.outcome == "busy"])
        for item, outcome in told:
            self._apply_outcome(item, outcome)
        for task_id in answer.cancel:
            # Not a lease that another answer has brought meanwhile: that is the retry of what was cancelled.
            self._drop(self._queue.lease_of(task_id, known_to=batch), "cancelled")
        for ending in answer.unreadable:
            self._log.error("task_unreadable", task_id=ending.lease.task_id, error_code=ending.body["error_code"])
            self._queue.add(ending)
        if draining:
            for claimed in answer.tasks:
                self._queue.add(ReportItem("released", claimed.lease))
        elif answer.tasks:
            self._start(answer.tasks)

    def refuse(self, item: PackedItem, detail: str) -> None:
        """Deal with an item that the database does not accept, whoever says it."""
        self._log.error("report_invalid", task_id=item.lease.task_id, kind=item.kind, detail=detail)
        problem = not_accepted(item.kind, detail)
        if problem is not None:
            self._queue.add(failed(item.lease, problem))

    def _apply_outcome(self, item: PackedItem, outcome: Outcome) -> None:
        if outcome.outcome in {"lost", "cancelled"}:
            reason: StopReason = "cancelled" if outcome.outcome == "cancelled" else "lost"
            if item.kind not in _PLAIN:
                self._log.warning("result_not_taken", task_id=outcome.task_id, kind=item.kind, reason=reason)
            self._drop(item.lease, reason)
        elif outcome.outcome == "invalid":
            self.refuse(item, outcome.detail or "invalid")

    def _start(self, tasks: Sequence[ClaimedTask]) -> None:
        fresh: list[ClaimedTask] = []
        for claimed in tasks:
            held = self._queue.lease_of(claimed.task.id)
            if held is not None and held.attempt > claimed.attempt:
                continue  # This answer is so late that the attempt which it brings was taken back since.
            self._drop(held, "lost")
            seconds = claimed.task.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
            self._queue.open(claimed.lease, seconds, claimed.task.organization_slug)
            fresh.append(claimed)
        self._agents.start(fresh)

    def _drop(self, lease: Lease | None, reason: StopReason) -> None:
        if lease is not None:
            self._queue.forget(lease)
            self._agents.stop(lease, reason)


def _pair(batch: Batch, answer: ExchangeAnswer) -> Iterator[tuple[PackedItem, Outcome]]:
    """Yield each item with what became of it; several items of one kind and task are answered in their order."""
    outcomes: dict[tuple[ReportKind, str], deque[Outcome]] = {}
    for outcome in answer.outcomes:
        outcomes.setdefault((KIND_OF_OUTCOME[outcome.kind], outcome.task_id), deque()).append(outcome)
    for item in batch.items:
        if waiting := outcomes.get((item.kind, item.lease.task_id)):
            yield item, waiting.popleft()
