"""The exchange: one request after another that tells the database what happened and takes work.

Runs on an event loop in a thread of its own, so that an agent that blocks the agents' loop does not cost it its
leases. One request is in flight at a time; while the database is away the same request is sent again until it is
answered, so nothing is reported twice and nothing is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar
from uuid import uuid4

from structlog.typing import FilteringBoundLogger

from workers.backend import Backend, ExchangeRequest
from workers.backoff import Backoff
from workers.contract import (
    DEFAULT_TIMEOUT_SECONDS,
    KIND_OF_OUTCOME,
    ClaimedTask,
    ExchangeAnswer,
    Lease,
    Outcome,
    ReportItem,
    StopReason,
    build_report,
    failed,
)
from workers.errors import AnswerUnreadable, BackendRejected, BackendTooLarge, BackendUnavailable, TaskFailure
from workers.ports import Agents, ExchangeOptions
from workers.reports import ReportQueue

Connect = Callable[[], AbstractAsyncContextManager[Backend]]
T = TypeVar("T")


class Exchange:
    """One worker's conversation with the database, from registering to leaving."""

    def __init__(
        self,
        options: ExchangeOptions,
        agents: Agents,
        info: Mapping[str, Any],
        log: FilteringBoundLogger,
        backoff: Backoff | None = None,
    ) -> None:
        self.queue = ReportQueue(self.wake)
        self._options = options
        self._agents = agents
        self._info = info
        self._log = log
        self._backoff = backoff or Backoff()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._wake_sent = False
        self._drain_at: float | None = None  # When the running attempts are given back; None while working.
        self._leave_at: float | None = None  # When to leave although things are unsaid.
        self._poll_at = 0.0
        self._ask_at = 0.0  # When to ask, while attempts run, whether people have cancelled any.
        self._careful = 0  # How many exchanges still carry one item and take one task.

    def wake(self) -> None:
        """Make the exchange look again; from any thread."""
        loop = self._loop
        # Streams call this for every piece of text; waking a loop costs a system call, so once is enough.
        if self._wake_sent or loop is None or loop.is_closed():
            return
        self._wake_sent = True
        loop.call_soon_threadsafe(self._woken.set)

    def drain(self) -> None:
        """Claim no more, give running attempts their time, then give them back and leave; from any thread."""
        # No lock and no log here: a signal handler calls this in the middle of anything.
        if self._drain_at is None:
            self._drain_at = time.monotonic() + self._options.drain_seconds
        self.wake()

    @property
    def draining(self) -> bool:
        """Whether the exchange has stopped claiming."""
        return self._drain_at is not None

    async def run(self, connect: Connect) -> None:
        """Work until drained, or with `once` until nothing is pending.

        Raises:
            BackendError: the database cannot be worked with at all (key, missing functions).
        """
        self._loop = asyncio.get_running_loop()
        options = self._options
        async with connect() as backend:
            await self._insist(lambda: backend.register_worker(options.worker_id, self._info))
            while not self._finished():
                await self._wait_until_due()
                self._give_back_when_time_is_up()
                await self._exchange(backend)
            self._leave_at = self._leave_at or time.monotonic() + self._options.goodbye_seconds
            await self._insist(lambda: backend.stop_worker(options.worker_id))

    def _finished(self) -> bool:
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            return True
        return self.draining and self.queue.empty

    async def _wait_until_due(self) -> None:
        """Wait until somebody has something to say, a poll is due or the drain's time is up."""
        self._listen()
        times = [
            self.queue.next_due(self._heartbeat_seconds, self._options.grace_seconds),
            self._leave_at or self._drain_at,
        ]
        if self._wanted_tasks():
            times.append(self._poll_at)
        if self.queue.running:
            times.append(self._ask_at)
        await self._sleep_until(min((at for at in times if at is not None), default=None))

    def _listen(self) -> None:
        """Begin to notice wakes; what was said before this is to be looked at after it, and before sleeping."""
        self._woken.clear()
        self._wake_sent = False

    async def _sleep_until(self, due: float | None) -> None:
        """Sleep until `due` on the monotonic clock, or until woken since the event was last cleared."""
        seconds = None if due is None else due - time.monotonic()
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    def _give_back_when_time_is_up(self) -> None:
        if self._drain_at is None or self._leave_at is not None or time.monotonic() < self._drain_at:
            return
        self._log.info("giving_back", tasks=self.queue.running)
        self._leave_at = time.monotonic() + self._options.goodbye_seconds
        for lease in self.queue.give_back_all():
            self._agents.stop(lease, "released")

    async def _exchange(self, backend: Backend) -> None:
        """Send what is due and take work, if there is either."""
        options = self._options
        batch = self.queue.take(
            heartbeat_seconds=self._heartbeat_seconds,
            grace_seconds=self._options.grace_seconds,
            max_items=1 if self._careful else options.max_items,
            max_bytes=options.max_bytes,
        )
        max_tasks = self._wanted_tasks()
        now = time.monotonic()
        polls = max_tasks > 0 and now >= self._poll_at
        asks = self.queue.running > 0 and now >= self._ask_at
        if not (batch.items or polls or asks):
            return
        self._ask_at = now + options.ask_seconds
        request = ExchangeRequest(
            request_id=str(uuid4()),
            report=build_report(batch.items),
            max_tasks=max_tasks,
            lease_seconds=options.lease_seconds,
            methods=options.methods,
            organizations=options.organizations,
        )
        self._careful = max(0, self._careful - 1)
        try:
            answer = await self._insist(lambda: backend.exchange_work(options.worker_id, request))
        except BackendRejected as error:
            self._refused(batch.items, error)
        except AnswerUnreadable as error:
            # The report was carried out: said again it is answered `lost`. Tasks in the answer wait for their lease.
            self._log.error("answer_unreadable", error=str(error))
            self._careful = self._options.careful_exchanges
            self._poll_at = time.monotonic() + options.poll_interval
            self.queue.put_back(batch.items)
        else:
            self._apply(answer, batch.items, max_tasks)

    def _refused(self, items: tuple[ReportItem, ...], error: BackendRejected) -> None:
        """Find the item that the database refuses a whole exchange for, by sending one at a time."""
        self._log.error("exchange_refused", error=str(error), items=len(items))
        if not items and not isinstance(error, BackendTooLarge):
            raise error
        self._poll_at = time.monotonic() + self._options.poll_interval
        if len(items) == 1:
            self._invalid(items[0], error.token)
        else:
            self._careful = max(len(items), self._options.careful_exchanges)
            self.queue.put_back(items)

    def _apply(self, answer: ExchangeAnswer, items: tuple[ReportItem, ...], asked: int) -> None:
        sent = {(item.kind, item.lease.task_id): item for item in items}
        for outcome in answer.outcomes:
            item = sent.get((KIND_OF_OUTCOME[outcome.kind], outcome.task_id))
            if item is not None:
                self._apply_outcome(item, outcome)
        for task_id in answer.cancel:
            for lease in self.queue.leases_of(task_id):
                self._drop(lease, "cancelled")
        for ending in answer.unreadable:
            self._log.error("task_unreadable", task_id=ending.lease.task_id, error_code=ending.body["error_code"])
            self.queue.add(ending)
        for claimed in answer.tasks:
            self._start(claimed)
        self._plan_poll(answer, asked)

    def _apply_outcome(self, item: ReportItem, outcome: Outcome) -> None:
        if outcome.outcome in {"lost", "cancelled"}:
            reason: StopReason = "cancelled" if outcome.outcome == "cancelled" else "lost"
            if item.kind in {"completed", "failed", "released"}:
                self._log.warning("result_not_taken", task_id=outcome.task_id, kind=item.kind, reason=reason)
            self._drop(item.lease, reason)
        elif outcome.outcome == "invalid":
            self._invalid(item, outcome.detail or "invalid")

    def _invalid(self, item: ReportItem, detail: str) -> None:
        self._log.error("report_invalid", task_id=item.lease.task_id, kind=item.kind, detail=detail)
        if item.kind == "completed":
            problem = TaskFailure("result_invalid", f"The database did not accept the result: {detail}")
            self.queue.add(failed(item.lease, problem))

    def _start(self, claimed: ClaimedTask) -> None:
        for older in self.queue.leases_of(claimed.task.id):
            self._drop(older, "lost")
        if self.draining:
            self.queue.add(ReportItem("released", claimed.lease))
            return
        self.queue.open(claimed.lease, claimed.task.timeout_seconds or DEFAULT_TIMEOUT_SECONDS)
        self._agents.start(claimed)

    def _drop(self, lease: Lease, reason: StopReason) -> None:
        self.queue.forget(lease)
        self._agents.stop(lease, reason)

    def _plan_poll(self, answer: ExchangeAnswer, asked: int) -> None:
        now = time.monotonic()
        if asked and len(answer.tasks) >= asked:
            self._poll_at = now  # More may be pending: ask as soon as a slot is free.
        elif asked:
            self._poll_at = now + min(max(answer.next_poll_ms, 0) / 1000, self._options.poll_interval)
            if self._options.once and not answer.tasks and self.queue.empty:
                self.drain()

    def _wanted_tasks(self) -> int:
        if self.draining:
            return 0
        return min(self._free_slots, 1) if self._careful else self._free_slots

    @property
    def _free_slots(self) -> int:
        return max(0, self._options.concurrency - self.queue.running)

    @property
    def _heartbeat_seconds(self) -> float:
        return self._options.lease_seconds / self._options.heartbeats_per_lease

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until somebody answers; says once that the database is away and once that it is back.

        Raises:
            BackendUnavailable: this worker is leaving and the time for that is up.
        """
        away_since: float | None = None
        while True:
            try:
                answer = await call()
            except BackendUnavailable as error:
                if self.draining and not self.queue.running:
                    self._leave_at = self._leave_at or time.monotonic()  # Nothing to wait for.
                if away_since is None:
                    away_since = time.monotonic()
                    self._log.warning("database_away", error=str(error))
                await self._back_off(error)
            else:
                if away_since is not None:
                    self._log.info("database_back", away_seconds=round(time.monotonic() - away_since, 1))
                self._backoff.reset()
                return answer

    async def _back_off(self, error: BackendUnavailable) -> None:
        """Wait before the next try.

        Raises:
            BackendUnavailable: `error`, when this worker is leaving and the time for that is up.
        """
        resume_at = time.monotonic() + self._backoff.next()
        while time.monotonic() < resume_at:
            self._listen()
            self._give_back_when_time_is_up()
            if self._leave_at is not None and time.monotonic() >= self._leave_at:
                raise error
            await self._sleep_until(min(resume_at, self._leave_at or self._drain_at or resume_at))
