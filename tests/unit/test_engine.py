from __future__ import annotations

import asyncio
import json
import time
from io import StringIO

import pytest

from tests.unit.fake_backend import FakeBackend, away, report_of
from tests.unit.helpers import echo, running, until
from workers.backend import ExchangeRequest
from workers.contract import Completion
from workers.errors import BackendError, BackendRejected, BackendTooLarge, BackendUnavailable, TaskFailure
from workers.job import Job


async def test_a_task_is_completed_once_and_the_worker_says_hello_and_goodbye() -> None:
    backend = FakeBackend()
    task = backend.add_task(prompt="hi")
    async with running(backend):
        await until(lambda: task.status == "completed")
    assert task.result["response"] == "hi"
    assert task.completions == 1
    assert backend.registered[0]["concurrency"] == 4
    assert backend.stopped == ["w1"]


async def test_no_more_attempts_run_at_once_than_the_concurrency_allows() -> None:
    backend = FakeBackend()
    tasks = [backend.add_task() for _ in range(20)]
    now, most = 0, 0

    async def slow(_job: Job) -> Completion:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return Completion(response="done")

    async with running(backend, {"echo": slow}, concurrency=3):
        await until(lambda: all(task.status == "completed" for task in tasks))
    assert most == 3


async def test_a_result_travels_with_the_next_claim() -> None:
    backend = FakeBackend()
    tasks = [backend.add_task() for _ in range(6)]
    async with running(backend, concurrency=2):
        await until(lambda: all(task.status == "completed" for task in tasks))
    both = [request for request in backend.requests if report_of(request).get("completed") and request.max_tasks]
    assert len(both) >= 2


async def test_a_lost_answer_is_asked_for_again_with_the_same_request() -> None:
    backend = FakeBackend()
    task = backend.add_task()
    dropped: list[str] = []

    def drop(request: ExchangeRequest) -> BackendError | None:
        # Every request that acts on something loses its first answer.
        if request.request_id in dropped:
            return None
        dropped.append(request.request_id)
        return BackendUnavailable("the answer was lost")

    backend.after = drop
    async with running(backend):
        await until(lambda: task.status == "completed")
    assert task.completions == 1
    assert task.attempt == 1
    by_id: dict[str, list[ExchangeRequest]] = {}
    for request in backend.requests:
        by_id.setdefault(request.request_id, []).append(request)
    repeated = [same for same in by_id.values() if len(same) > 1]
    assert repeated
    assert all(one == same[0] for same in repeated for one in same)


async def test_a_result_waits_for_the_database_to_come_back() -> None:
    backend = FakeBackend()
    log = StringIO()
    task = backend.add_task()
    started = asyncio.Event()

    async def work(job: Job) -> Completion:
        started.set()
        return await echo(job)

    async with running(backend, {"echo": work}, log):
        await asyncio.wait_for(started.wait(), 5)
        backend.before = away
        await asyncio.sleep(0.6)
        backend.before = lambda _request: None
        await until(lambda: task.status == "completed")
    lines = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert lines.count("database_away") <= 1
    assert lines.count("database_away") == lines.count("database_back")
    assert task.completions == 1


async def test_an_attempt_that_is_lost_is_stopped_and_says_nothing_more() -> None:
    backend = FakeBackend()
    task = backend.add_task()
    stopped = asyncio.Event()

    async def endless(job: Job) -> Completion:
        try:
            while True:
                job.partial("x")
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            job.partial("last words")
            stopped.set()
            raise

    async with running(backend, {"echo": endless}):
        await until(lambda: bool(task.events))
        backend.take_away(task)
        await asyncio.wait_for(stopped.wait(), 5)
        seen = len(backend.requests)
        await until(lambda: len(backend.requests) > seen + 2)
    after = [request for request in backend.requests[seen:] if any(report_of(request).values())]
    assert after == []


async def test_a_cancelled_task_is_stopped_and_written_no_more() -> None:
    backend = FakeBackend()
    log = StringIO()
    task = backend.add_task()
    stopped = asyncio.Event()

    async def endless(_job: Job) -> Completion:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return Completion(response="")

    async with running(backend, {"echo": endless}, log):
        await until(lambda: task.status == "in_progress")
        backend.cancel(task)
        await asyncio.wait_for(stopped.wait(), 5)
    assert task.status == "cancelled"
    assert task.result == {}
    line = next(line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "task")
    assert line["outcome"] == "cancelled"


async def test_a_claim_that_is_too_large_at_once_is_made_one_by_one() -> None:
    backend = FakeBackend()
    tasks = [backend.add_task() for _ in range(6)]

    def too_large(request: ExchangeRequest) -> BackendError | None:
        return BackendTooLarge("54000", "too many bytes") if request.max_tasks > 1 else None

    backend.before = too_large
    async with running(backend):
        await until(lambda: all(task.status == "completed" for task in tasks))
    assert {task.completions for task in tasks} == {1}


async def test_a_worker_without_a_free_slot_still_hears_of_a_cancellation() -> None:
    backend = FakeBackend()
    task = backend.add_task()
    stopped = asyncio.Event()

    async def silent(_job: Job) -> Completion:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return Completion(response="")

    # The lease is long, so no heartbeat is due, and every slot is taken, so nothing is polled for.
    async with running(backend, {"echo": silent}, concurrency=1, lease_seconds=600, ask_seconds=0.1):
        await until(lambda: task.status == "in_progress")
        backend.cancel(task)
        await asyncio.wait_for(stopped.wait(), 2)
    assert task.result == {}


async def test_a_worker_with_nothing_to_say_leaves_at_once_when_the_database_is_away() -> None:
    backend = FakeBackend()

    async def cut_off() -> None:
        async with running(backend, drain_seconds=30.0, goodbye_seconds=30.0):
            backend.before = away
            seen = len(backend.requests)
            await until(lambda: len(backend.requests) > seen)

    began = time.monotonic()
    with pytest.raises(BackendUnavailable):
        await cut_off()
    assert time.monotonic() - began < 5


async def test_an_attempt_past_its_time_fails_as_timeout_and_may_be_retried() -> None:
    backend = FakeBackend()
    task = backend.add_task(timeout_seconds=0.1, max_attempts=2)

    async def endless(_job: Job) -> Completion:
        await asyncio.sleep(60)
        return Completion(response="")

    async with running(backend, {"echo": endless}):
        await until(lambda: task.status == "timeout")
    assert task.attempt == 2
    assert task.result["error_code"] == "timeout"
    assert task.result["retryable"] is True


async def test_a_failure_carries_its_code_its_data_and_when_to_try_again() -> None:
    backend = FakeBackend()
    task = backend.add_task(max_attempts=1)

    async def fail(_job: Job) -> Completion:
        raise TaskFailure("provider_rate_limited", "Slow down.", retryable=True, retry_after=7.0, data={"a": 1})

    async with running(backend, {"echo": fail}):
        await until(lambda: task.status == "failed")
    assert task.result["error_code"] == "provider_rate_limited"
    assert task.result["retry_after"] == 7.0
    assert task.result["error_data"] == {"a": 1}


async def test_a_bug_is_told_to_the_tenant_without_its_trace_and_to_the_operator_with_it() -> None:
    backend = FakeBackend()
    log = StringIO()
    task = backend.add_task(max_attempts=1)

    async def broken(_job: Job) -> Completion:
        raise KeyError("a secret detail")

    async with running(backend, {"echo": broken}, log):
        await until(lambda: task.status == "failed")
    assert task.result["error_code"] == "internal_error"
    assert "secret" not in json.dumps(task.result)
    assert "a secret detail" in log.getvalue()


async def test_an_unknown_method_fails_for_good() -> None:
    backend = FakeBackend()
    task = backend.add_task(method="dance")
    async with running(backend):
        await until(lambda: task.status == "failed")
    assert task.result["error_code"] == "method_unsupported"
    assert "'dance'" in task.result["error_message"]


async def test_an_agent_that_blocks_the_loop_keeps_its_lease() -> None:
    backend = FakeBackend()
    task = backend.add_task()

    async def block(_job: Job) -> Completion:
        time.sleep(2.5)  # noqa: ASYNC251 - blocking is what is tested
        return Completion(response="done")

    async with running(backend, {"echo": block}, lease_seconds=1, concurrency=1):
        await until(lambda: task.status == "completed", 8)
    assert task.attempt == 1
    assert task.completions == 1


async def test_draining_lets_running_tasks_finish_and_claims_no_more() -> None:
    backend = FakeBackend()
    first = backend.add_task()

    async def slow(job: Job) -> Completion:
        await asyncio.sleep(0.3)
        return await echo(job)

    async with running(backend, {"echo": slow}, concurrency=1) as worker:
        await until(lambda: first.status == "in_progress")
        second = backend.add_task()
        worker.drain()
    assert first.status == "completed"
    assert (second.status, second.attempt) == ("pending", 0)
    assert backend.stopped == ["w1"]


async def test_what_does_not_finish_while_draining_is_given_back_without_using_an_attempt() -> None:
    backend = FakeBackend()
    task = backend.add_task()

    async def endless(_job: Job) -> Completion:
        await asyncio.sleep(60)
        return Completion(response="")

    async with running(backend, {"echo": endless}, drain_seconds=0.2):
        await until(lambda: task.status == "in_progress")
    assert (task.status, task.attempt) == ("pending", 0)
    assert backend.stopped == ["w1"]


async def test_tasks_claimed_by_a_repeated_request_after_the_drain_began_are_given_back() -> None:
    backend = FakeBackend()
    task = backend.add_task()
    lost: list[str] = []

    def lose(request: ExchangeRequest) -> BackendError | None:
        if task.status != "in_progress":
            return None
        lost.append(request.request_id)
        return BackendUnavailable("lost")

    backend.after = lose
    async with running(backend) as worker:
        await until(lambda: len(lost) > 0)
        # A worker that sees the database away after it was told to leave does not wait for it.
        backend.after = lambda _request: None
        worker.drain()
    assert (task.status, task.attempt) == ("pending", 0)


async def test_once_ends_when_nothing_is_pending() -> None:
    backend = FakeBackend()
    tasks = [backend.add_task() for _ in range(9)]
    async with running(backend, once=True, concurrency=2) as worker:
        await until(lambda: worker.exchange.draining)
    assert all(task.status == "completed" for task in tasks)


async def test_a_result_that_the_database_does_not_accept_fails_the_task() -> None:
    backend = FakeBackend()
    task = backend.add_task()
    backend.refuse_item = lambda kind, _item: "deliverable.format: unknown" if kind == "completed" else None
    async with running(backend):
        await until(lambda: task.status == "failed")
    assert task.result["error_code"] == "result_invalid"
    assert task.result["retryable"] is False
    assert "deliverable.format" in task.result["error_message"]


async def test_one_item_that_the_database_refuses_a_whole_exchange_for_does_not_stop_the_others() -> None:
    backend = FakeBackend()
    bad = backend.add_task(prompt="poison")
    good = [backend.add_task() for _ in range(5)]

    def refuse(request: ExchangeRequest) -> BackendError | None:
        poisoned = any(item["response"] == "poison" for item in report_of(request).get("completed", []))
        return BackendRejected("invalid_input") if poisoned else None

    backend.before = refuse
    async with running(backend, concurrency=6):
        await until(lambda: bad.status == "failed" and all(task.status == "completed" for task in good))
    assert bad.result["error_code"] == "result_invalid"
    assert all(task.completions == 1 for task in good)


async def test_large_reports_are_split_and_arrive_whole() -> None:
    backend = FakeBackend()
    tasks = [backend.add_task(prompt="x" * 1000) for _ in range(12)]
    async with running(backend, concurrency=12, max_bytes=3500):
        await until(lambda: all(task.status == "completed" for task in tasks))
    sizes = [len(request.report) for request in backend.requests]
    assert max(sizes) < 5000
    assert all(task.completions == 1 for task in tasks)


async def test_a_task_that_this_version_cannot_read_is_failed_and_does_not_spoil_the_others() -> None:
    backend = FakeBackend()
    strange = backend.add_task(prompt=None)
    good = backend.add_task()
    async with running(backend):
        await until(lambda: good.status == "completed")
        await until(lambda: strange.status == "failed")
    assert strange.result["error_code"] == "internal_error"


async def test_an_idle_worker_polls_no_more_often_than_it_is_told() -> None:
    backend = FakeBackend(next_poll_ms=10_000)
    async with running(backend, poll_interval=0.2):
        await asyncio.sleep(1.0)
    exchanges = [request for request in backend.requests if request.max_tasks]
    assert 3 <= len(exchanges) <= 7


async def test_the_line_of_a_task_holds_no_payload() -> None:
    backend = FakeBackend()
    log = StringIO()
    task = backend.add_task(prompt="a private prompt", agent_slug="writer")
    async with running(backend, log=log):
        await until(lambda: task.status == "completed")
    line = next(line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "task")
    assert line["task_id"] == task.id
    assert (line["agent"], line["attempt"], line["outcome"]) == ("writer", 1, "completed")
    assert line["duration_ms"] >= 0
    assert "private" not in log.getvalue()
