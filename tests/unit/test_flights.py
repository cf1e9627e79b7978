"""Several requests under way at once: answers that are late, lost, doubled, out of order, or never come."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.fake_backend import FakeBackend, report_of
from tests.unit.helpers import echo, running, until
from workers.backend import ExchangeRequest
from workers.contract import ClaimedTask, Completion, ExchangeAnswer, Outcome, TaskRow
from workers.errors import BackendError, BackendUnavailable
from workers.job import Job

# Each result is a request of its own, so that a few of them are all that may be under way.
STUCK: dict[str, Any] = {"concurrency": 13, "max_items": 1}


class Gate:
    """Holds the requests that match, until it is opened; callable from the exchange's loop only."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self._open = threading.Event()

    async def pass_through(self) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.to_thread(self._open.wait, 20)
        self.waiting -= 1

    def open(self) -> None:
        self._open.set()


async def endless(_job: Job) -> Completion:
    await asyncio.sleep(60)
    return Completion(response="")


async def test_a_few_requests_are_under_way_at_once_and_no_more() -> None:
    backend = FakeBackend()
    tasks = [backend.add_task() for _ in range(12)]
    gate = Gate()

    async def hold(request: ExchangeRequest) -> None:
        if report_of(request).get("completed"):
            await gate.pass_through()

    backend.on_the_way = hold
    async with running(backend, concurrency=12, max_items=1):
        await until(lambda: gate.waiting == 3)
        gate.open()
        await until(lambda: all(task.status == "completed" for task in tasks))
    assert gate.most == 3
    assert {task.completions for task in tasks} == {1}


async def test_a_stuck_request_does_not_stop_the_others() -> None:
    backend = FakeBackend()
    stuck, gate = backend.add_task(prompt="stuck"), Gate()

    async def hold(request: ExchangeRequest) -> None:
        if any(item["response"] == "stuck" for item in report_of(request).get("completed", [])):
            await gate.pass_through()

    backend.on_the_way = hold
    async with running(backend):
        await until(lambda: gate.waiting == 1)
        others = [backend.add_task() for _ in range(30)]
        await until(lambda: all(task.status == "completed" for task in others))
        assert stuck.status == "in_progress"
        gate.open()
        await until(lambda: stuck.status == "completed")
    assert (stuck.attempt, stuck.completions) == (1, 1)


async def test_heartbeats_go_out_although_every_request_with_results_is_stuck() -> None:
    backend = FakeBackend()
    long = backend.add_task(method="endless")
    short = [backend.add_task() for _ in range(12)]
    gate = Gate()

    async def hold(request: ExchangeRequest) -> None:
        if report_of(request).get("completed"):
            await gate.pass_through()

    backend.on_the_way = hold
    async with running(backend, {"echo": echo, "endless": endless}, **STUCK, lease_seconds=1, drain_seconds=0.1):
        await until(lambda: gate.waiting == 3)
        renewed = long.lease_expires_at
        await until(lambda: long.lease_expires_at > renewed + 1)
        assert gate.waiting == 3
        assert {task.attempt for task in [long, *short]} == {1}
        gate.open()
        await until(lambda: all(task.status == "completed" for task in short))


async def test_a_cancellation_is_heard_although_every_request_with_results_is_stuck() -> None:
    backend = FakeBackend()
    gate, stopped = Gate(), asyncio.Event()
    task = backend.add_task(method="silent")
    for _ in range(12):
        backend.add_task()

    async def hold(request: ExchangeRequest) -> None:
        if report_of(request).get("completed"):
            await gate.pass_through()

    async def silent(job: Job) -> Completion:
        try:
            return await endless(job)
        finally:
            stopped.set()

    backend.on_the_way = hold
    async with running(backend, {"echo": echo, "silent": silent}, **STUCK, lease_seconds=600, ask_seconds=0.1):
        await until(lambda: gate.waiting == 3)
        backend.cancel(task)
        await asyncio.wait_for(stopped.wait(), 2)
        gate.open()


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_the_network_does_each_task_is_completed_once_and_its_trail_is_in_order(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    backend = FakeBackend(next_poll_ms=5)
    tasks = [backend.add_task() for _ in range(60)]
    doubled: set[str] = set()

    async def dawdle(_request: ExchangeRequest) -> None:
        await asyncio.sleep(rng.random() / 100)

    def lose(request: ExchangeRequest) -> BackendError | None:
        if request.request_id not in doubled and rng.random() < 0.2:
            doubled.add(request.request_id)
            backend.exchange_now("w1", request)  # A copy arrives before the worker sends it again.
        return BackendUnavailable("lost") if rng.random() < 0.2 else None

    async def speak(job: Job) -> Completion:
        for number in range(3):
            job.event("log", str(number))
            await asyncio.sleep(rng.random() / 50)
        return Completion(response="done")

    backend.on_the_way = backend.on_the_way_back = dawdle
    backend.before = backend.after = lose
    async with running(backend, {"echo": speak}, concurrency=8):
        await until(lambda: all(task.status == "completed" for task in tasks), 30)
        backend.before = backend.after = lambda _request: None
    assert {task.completions for task in tasks} == {1}
    assert {task.attempt for task in tasks} == {1}
    assert backend.most_held <= 8
    for task in tasks:
        assert [event["message"] for event in task.events] == ["0", "1", "2"]


async def test_a_worker_never_holds_more_than_its_concurrency_however_answers_come() -> None:
    rng = random.Random(1)  # noqa: S311
    backend = FakeBackend(next_poll_ms=0)
    tasks = [backend.add_task() for _ in range(200)]

    async def dawdle(_request: ExchangeRequest) -> None:
        await asyncio.sleep(rng.random() / 100)

    backend.on_the_way = backend.on_the_way_back = dawdle
    async with running(backend, concurrency=7):
        await until(lambda: all(task.status == "completed" for task in tasks), 30)
    assert 3 < backend.most_held <= 7


async def test_finished_work_goes_out_in_batches_while_requests_are_under_way() -> None:
    backend = FakeBackend(next_poll_ms=0)
    tasks = [backend.add_task() for _ in range(400)]

    async def dawdle(_request: ExchangeRequest) -> None:
        await asyncio.sleep(0.005)

    backend.on_the_way = dawdle
    async with running(backend, concurrency=60):
        await until(lambda: all(task.status == "completed" for task in tasks), 30)
    sizes = [len(items) for request in backend.requests if (items := report_of(request).get("completed"))]
    assert len(sizes) <= 60
    assert max(sizes) >= 20


async def test_a_busy_row_is_told_again_until_it_is_free_and_in_order() -> None:
    backend = FakeBackend()
    task, other = backend.add_task(), backend.add_task(prompt="other")
    locked_for: set[int] = set()

    def busy(_kind: str, item: Mapping[str, Any]) -> bool:
        if item["task_id"] == task.id and len(locked_for) < 3:
            locked_for.add(len(backend.requests))
        return item["task_id"] == task.id and len(backend.requests) in locked_for

    async def speak(job: Job) -> Completion:
        job.event("log", "one")
        job.event("log", "two")
        return Completion(response="done")

    backend.busy = busy
    async with running(backend, {"echo": speak}):
        await until(lambda: task.status == "completed")
        assert other.status == "completed"
    assert (task.attempt, task.completions) == (1, 1)
    assert [event["message"] for event in task.events] == ["one", "two"]


async def test_a_row_that_stays_busy_is_not_asked_for_in_a_hurry() -> None:
    backend = FakeBackend(next_poll_ms=10_000)
    task = backend.add_task()
    free = threading.Event()
    backend.busy = lambda kind, _item: kind == "completed" and not free.is_set()
    async with running(backend, poll_interval=10.0):
        await until(lambda: any(report_of(request).get("completed") for request in backend.requests))
        began, seen = time.monotonic(), len(backend.requests)
        await until(lambda: len(backend.requests) >= seen + 4)
        assert time.monotonic() - began > 0.5  # 0.05 + 0.1 + 0.2 + 0.4 seconds, where the first may be over
        free.set()
        await until(lambda: task.status == "completed")
    assert task.completions == 1


async def test_a_busy_heartbeat_is_renewed_before_the_lease_ends() -> None:
    backend = FakeBackend()
    task = backend.add_task(method="endless")
    refused: list[str] = []

    def busy(kind: str, item: Mapping[str, Any]) -> bool:
        if kind != "heartbeats" or len(refused) >= 3:
            return False
        refused.append(item["task_id"])
        return True

    backend.busy = busy
    async with running(backend, {"endless": endless}, lease_seconds=1, drain_seconds=0.1):
        await until(lambda: task.lease_expires_at > 0)
        claimed_until = task.lease_expires_at
        await until(lambda: task.lease_expires_at > claimed_until)
        assert time.monotonic() < claimed_until
    assert len(refused) == 3


async def test_an_idle_worker_polls_when_it_is_told_to_and_then_no_more_than_before() -> None:
    backend = FakeBackend(next_poll_ms=60_000)
    async with running(backend, poll_interval=60.0) as worker:
        await until(lambda: len(polls(backend)) == 1)
        await asyncio.sleep(0.05)  # Past the time in which a poll stands for the requests that follow it.
        for _ in range(1000):
            worker.exchange.poll_now()
        await until(lambda: len(polls(backend)) >= 2)
        await asyncio.sleep(0.2)
        assert len(polls(backend)) <= 3
        task = backend.add_task()
        worker.exchange.poll_now()
        await until(lambda: task.status == "completed", 1)


async def test_a_poll_that_is_wanted_while_one_is_under_way_comes_after_it() -> None:
    backend = FakeBackend(next_poll_ms=60_000)
    gate = Gate()

    async def hold(request: ExchangeRequest) -> None:
        if request.max_tasks:
            await gate.pass_through()

    backend.on_the_way_back = hold
    async with running(backend, poll_interval=60.0) as worker:
        await until(lambda: gate.waiting == 1)
        task = backend.add_task()  # Too late for the poll that is under way.
        worker.exchange.poll_now()
        gate.open()
        await until(lambda: task.status == "completed", 2)


async def test_what_is_pending_is_claimed_as_soon_as_slots_are_free() -> None:
    backend = FakeBackend(next_poll_ms=60_000)
    tasks = [backend.add_task() for _ in range(40)]
    async with running(backend, concurrency=2, poll_interval=60.0):
        await until(lambda: all(task.status == "completed" for task in tasks), 10)


async def test_an_idle_worker_makes_no_more_than_a_request_for_each_interval() -> None:
    backend = FakeBackend(next_poll_ms=60_000)
    async with running(backend, poll_interval=0.3):
        await asyncio.sleep(1.0)
        seen = len(polls(backend))
    assert 3 <= seen <= 4


async def test_a_result_is_not_given_up_because_the_database_was_away_for_a_moment_while_draining() -> None:
    backend = FakeBackend()
    task = backend.add_task()
    failed = threading.Event()

    def fail_once(request: ExchangeRequest) -> BackendError | None:
        if report_of(request).get("completed") and not failed.is_set():
            failed.set()
            return BackendUnavailable("for a moment")
        return None

    release = asyncio.Event()

    async def wait(_job: Job) -> Completion:
        await release.wait()
        return Completion(response="done")

    async with running(backend, {"echo": wait}) as worker:
        await until(lambda: task.status == "in_progress")
        backend.before = fail_once
        worker.drain()
        release.set()
    assert failed.is_set()
    assert task.status == "completed"
    assert backend.stopped == ["w1"]


def polls(backend: FakeBackend) -> list[ExchangeRequest]:
    return [request for request in backend.requests if request.max_tasks]


class Endless(FakeBackend):
    """A backend that has as many tasks as are asked for, up to a number, and remembers none of them."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.left = tasks
        self.done = 0

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:  # noqa: ARG002
        await asyncio.sleep(0)
        finished = report_of(request).get("completed", [])
        self.done += len(finished)
        claimed = min(self.left, request.max_tasks)
        self.left -= claimed
        return ExchangeAnswer(
            tasks=tuple(
                ClaimedTask(TaskRow(f"{self.left}-{number}", "demo-org", "echo", "hi", 3), None, 1, "token")
                for number in range(claimed)
            ),
            outcomes=tuple(Outcome(item["task_id"], "completed", "ok") for item in finished),
            next_poll_ms=50,
        )


async def test_nothing_grows_with_the_number_of_tasks_that_were_run() -> None:
    backend = Endless(3000)
    async with running(backend, concurrency=100) as worker:
        await until(lambda: backend.done == 3000 and worker.exchange.queue.empty, 30)
        gc.collect()
        before = len(gc.get_objects())
        backend.left = 20_000
        worker.exchange.poll_now()
        await until(lambda: backend.done == 23_000 and worker.exchange.queue.empty, 60)
        gc.collect()
        grown = len(gc.get_objects()) - before
    assert grown < 1000
