"""The exchange: requests that tell the database what happened and take work.

Runs on an event loop in a thread of its own, so that an agent that blocks the agents' loop does not cost it its
leases. A few requests are under way at a time: what the tasks of one have come to travels with the claim of the next.
A request that got no answer is sent again as it was until it is answered, so nothing is reported twice and nothing
is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

from structlog.typing import FilteringBoundLogger

from workers.answers import Answers
from workers.backend import Backend, ExchangeRequest
from workers.backoff import Backoff
from workers.departure import Departure
from workers.errors import AnswerUnreadable, BackendRejected, BackendTooLarge, BackendUnavailable
from workers.flights import Flight, Flights
from workers.line import Line
from workers.packing import build_report
from workers.polls import Polls
from workers.ports import Agents, ExchangeOptions
from workers.reports import Batch, ReportQueue
from workers.schedules import Scheduler
from workers.slots import Slots, count_slots

Connect = Callable[[], AbstractAsyncContextManager[Backend]]


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
        # So many last words make a request of their own while others are under way; fewer wait a moment for more.
        self._enough = max(1, min(options.max_items, options.concurrency // options.max_in_flight))
        # Of more at once, each request takes a part, so that the database works on some while agents do on others.
        self._most = min(options.max_items, max(self._enough, options.fair_items))
        self.queue = ReportQueue(self.wake, enough=self._enough)
        self._options = options
        self._info = info
        self._log = log
        self._line = Line(log, backoff, self.wake)
        self._flights = Flights(self.wake)
        self._answers = Answers(self.queue, agents, log)
        self._departure = Departure(options, self.queue, agents, self._line, log)
        self._polls = Polls(options.poll_interval)
        self._scheduler = Scheduler(options.worker_id, log, self.poll_now)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._wake_sent = False
        self._registered = False
        self._ask_at = 0.0  # When to ask, while attempts run, whether people have cancelled any.
        self._careful = 0  # How many exchanges still carry one item and take one task.

    def wake(self) -> None:
        """Make the exchange look again; from any thread."""
        loop = self._loop
        # Waking a loop costs a system call, so once is enough until it has looked.
        if self._wake_sent or loop is None or loop.is_closed():
            return
        self._wake_sent = True
        loop.call_soon_threadsafe(self._woken.set)

    def poll_now(self) -> None:
        """Ask for work as soon as there is a free slot; from any thread, as often as you like."""
        self._polls.request()
        self.wake()

    def drain(self) -> None:
        """Claim no more, give running attempts their time, then give them back and leave; from any thread."""
        self._departure.begin()
        self.wake()

    @property
    def draining(self) -> bool:
        """Whether the exchange has stopped claiming."""
        return self._departure.begun

    async def run(self, connect: Connect) -> None:
        """Work until drained, or with `once` until nothing is pending.

        Raises:
            BackendError: the database cannot be worked with at all (key, missing functions).
        """
        self._loop = asyncio.get_running_loop()
        async with connect() as backend:
            try:
                self._flights.launch(Flight(Batch(), 0), self._register(backend))
                while not self._finished():
                    self._launch_what_is_due(backend)
                    await self._sleep()
            finally:
                await self._flights.cancel()
                await self._scheduler.close()
            await self._say_goodbye(backend)

    def _finished(self) -> bool:
        """Look at what has ended, and say whether this worker is to leave."""
        # What was said before this is looked at after it, and what is said from now on ends the next sleep.
        self._woken.clear()
        self._wake_sent = False
        self._flights.check()
        idle = self.queue.empty and not len(self._flights)
        if idle and self._options.once and not self._scheduler.busy:
            if self._polls.found_nothing:
                self.drain()
            else:
                self._polls.request()
        self._departure.advance()
        return self._departure.overdue or (idle and self.draining)

    async def _sleep(self) -> None:
        """Sleep until something is due, or until woken."""
        times = [self._due_at(), self._departure.next_at]
        due = min((at for at in times if at is not None), default=None)
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            return

    def _due_at(self) -> float | None:
        """Return when the next request is to be sent; None when there is no reason in sight, or no room."""
        options = self._options
        # While requests wait to be sent again, new ones would fare no better.
        if not self._registered or self._line.waiting or len(self._flights) > options.max_in_flight:
            return None
        look = self.queue.next_beat if self._flights_full else self.queue.next_due
        times = [look(self._heartbeat_seconds, options.grace_seconds)]
        if self.queue.running:
            times.append(self._ask_at)
        if not self._flights_full and self._tasks_wanted(0) > 0:
            times.append(self._polls.due_at)
        due = min((at for at in times if at is not None), default=None)
        if due is None or not len(self._flights) or self.queue.last_words >= self._enough:
            return due
        return due + options.linger_seconds

    def _launch_what_is_due(self, backend: Backend) -> None:
        while (due := self._due_at()) is not None and due <= time.monotonic():
            if not self._launch(backend):
                return

    def _launch(self, backend: Backend) -> bool:
        """Send what is due and ask for work, if there is reason for either."""
        options = self._options
        # One more than allowed carries heartbeats alone, so that no stuck request costs the others their leases.
        only_heartbeats = self._flights_full
        batch = self.queue.take(
            heartbeat_seconds=self._heartbeat_seconds,
            grace_seconds=options.grace_seconds,
            max_items=1 if self._careful else self._most,
            max_bytes=options.max_bytes,
            only_heartbeats=only_heartbeats,
        )
        now = time.monotonic()
        asked = 0 if only_heartbeats else self._tasks_wanted(batch.finals)
        if asked > batch.finals > 0:
            # Work for the slots that it frees, and for half of the others: a stuck request is not to keep them all.
            asked = batch.finals + (asked - batch.finals + 1) // 2
        polls = asked > 0 and now >= self._polls.due_at
        asks = self.queue.running > 0 and now >= self._ask_at
        if not (batch.items or polls or asks):
            return False
        self._ask_at = now + options.ask_seconds
        self._careful = max(0, self._careful - 1)
        flight = Flight(batch, asked, self._count_slots(batch) if asked else None)
        if asked and not batch.finals:
            self._polls.begun()
        self._flights.launch(flight, self._exchange(backend, flight))
        return True

    def _tasks_wanted(self, finals: int) -> int:
        """Return how many tasks a request may ask for whose report makes room for `finals`.

        However the requests under way end, this worker then holds no more leases than it may.
        """
        if self.draining:
            return 0
        room = self._options.concurrency - self.queue.held - self._flights.surplus + finals
        return max(0, min(room, 1 if self._careful else self._options.max_tasks))

    def _count_slots(self, batch: Batch) -> Slots:
        """Count the slots as a request may tell them that carries this batch."""
        flights = self._flights
        free = self._options.concurrency - self.queue.held + flights.finals + batch.finals
        return count_slots(free, self.queue.holders, batch.freed, flights.slots, flights.given_up)

    async def _exchange(self, backend: Backend, flight: Flight) -> None:
        """Make a request and carry out its answer."""
        options = self._options
        request = ExchangeRequest(
            request_id=str(uuid4()),
            report=build_report(flight.batch.items, flight.slots),
            max_tasks=flight.asked,
            lease_seconds=options.lease_seconds,
            methods=options.methods,
            organizations=options.organizations,
        )
        try:
            answer = await self._line.insist(lambda: backend.exchange_work(options.worker_id, request))
        except BackendRejected as error:
            self._refused(flight.batch, error)
        except AnswerUnreadable as error:
            # The report was carried out: said again it is answered `lost`. Tasks in the answer wait for their lease.
            self._log.error("answer_unreadable", error=str(error))
            self._careful = options.careful_exchanges
            self._polls.postpone()
            self.queue.put_back(flight.batch)
        else:
            self._answers.apply(answer, flight.batch, draining=self.draining)
            self._polls.answered(answer, flight.asked)
            if answer.schedules_due and not self.draining:
                self._scheduler.begin(backend)
                self._polls.found_nothing = False  # Not before another look.

    def _refused(self, batch: Batch, error: BackendRejected) -> None:
        """Find the item that the database refuses a whole exchange for, by sending one at a time."""
        self._log.error("exchange_refused", error=str(error), items=len(batch.items))
        if not batch.items and not isinstance(error, BackendTooLarge):
            raise error
        self._polls.postpone()
        if len(batch.items) == 1:
            self.queue.settle(batch)
            self._answers.refuse(batch.items[0], error.token)
        else:
            self._careful = max(len(batch.items), self._options.careful_exchanges)
            self.queue.put_back(batch)

    @property
    def _flights_full(self) -> bool:
        return len(self._flights) >= self._options.max_in_flight

    @property
    def _heartbeat_seconds(self) -> float:
        return self._options.lease_seconds / self._options.heartbeats_per_lease

    async def _register(self, backend: Backend) -> None:
        await self._line.insist(lambda: backend.register_worker(self._options.worker_id, self._info))
        self._registered = True

    async def _say_goodbye(self, backend: Backend) -> None:
        """Tell that this worker has stopped.

        Raises:
            BackendUnavailable: nobody answered in time.
        """
        try:
            async with asyncio.timeout(self._departure.seconds_left):
                await self._line.insist(lambda: backend.stop_worker(self._options.worker_id))
        except TimeoutError:
            raise BackendUnavailable("the database is away and was not told that this worker stops") from None
