"""Handlers that ask people: what they raise is reported as a pause, and what they are given when they go on."""

from __future__ import annotations

import json
from io import StringIO

import pytest

from tests.unit.fake_backend import FakeBackend
from tests.unit.helpers import running, until
from workers.contract import Completion
from workers.errors import InputNeeded
from workers.job import Job
from workers.ledger import UsageRow
from workers.questions import InputRequest

ROW = UsageRow("anthropic", "m", 10, 5, cost=0.5)


async def ask_twice(job: Job) -> Completion:
    """Ask for two words, one after the other, and answer with both."""
    kept = job.claimed.checkpoint or {"words": []}
    words = kept["words"] + ([job.claimed.answer.response] if job.claimed.answer else [])
    if len(words) < 2:
        raise InputNeeded(InputRequest(f"Word {len(words)}?"), checkpoint={"words": words}, usage=[ROW])
    return Completion(response=" ".join(words))


async def test_a_handler_asks_and_goes_on_with_the_answer_and_what_it_kept() -> None:
    backend = FakeBackend()
    task = backend.add_task(max_attempts=1)
    log = StringIO()
    async with running(backend, {"echo": ask_twice}, log):
        for number, word in enumerate(["blue", "sea"]):
            await until(lambda: task.status == "paused")
            assert task.result["input_request"]["prompt"] == f"Word {number}?"
            assert task.result["usage"][0]["output_tokens"] == 5
            backend.answer(task, word)
        await until(lambda: task.status == "completed")
    assert (task.result["response"], task.completions, task.attempt) == ("blue sea", 1, 1)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["outcome"] for line in lines if line["event"] == "task"] == ["paused", "paused", "completed"]
    assert "Word" not in log.getvalue(), "no payload in the log"


async def test_the_whole_question_is_sent_and_nothing_is_kept_unless_told() -> None:
    backend = FakeBackend()
    task = backend.add_task()
    request = InputRequest("Go?", "approval", {"type": "boolean"}, "admin", 60, "resume", {"a": 1})

    async def approve(job: Job) -> Completion:
        assert job.claimed.checkpoint is None
        if job.claimed.answer is None:
            raise InputNeeded(request)
        return Completion(response=str(job.claimed.answer.response))

    async with running(backend, {"echo": approve}):
        await until(lambda: task.status == "paused")
        item = task.result
        backend.answer(task, True)
        await until(lambda: task.status == "completed")
    assert item["input_request"] == {
        "prompt": "Go?",
        "request_type": "approval",
        "schema": {"type": "boolean"},
        "required_role": "admin",
        "expires_in_seconds": 60,
        "on_expiry": "resume",
        "metadata": {"a": 1},
    }
    assert item.keys().isdisjoint({"checkpoint", "usage"})
    assert task.result["response"] == "True"


async def test_a_paused_task_holds_no_slot() -> None:
    backend = FakeBackend()
    asking = [backend.add_task() for _ in range(5)]
    other = backend.add_task("plain")

    async def plain(_job: Job) -> Completion:
        return Completion(response="done")

    async with running(backend, {"echo": ask_twice, "plain": plain}, concurrency=1):
        await until(lambda: other.status == "completed")
        assert {task.status for task in asking} == {"paused"}


async def test_a_question_that_the_database_does_not_accept_fails_the_task_for_good() -> None:
    backend = FakeBackend()
    task = backend.add_task()
    backend.refuse_item = lambda kind, _item: "input_request_invalid: its prompt is blank" if kind == "paused" else None
    async with running(backend, {"echo": ask_twice}):
        await until(lambda: task.status == "failed")
    assert (task.result["error_code"], task.result["retryable"]) == ("input_request_invalid", False)
    assert "its prompt is blank" in task.result["error_message"]


@pytest.mark.parametrize("late", [True, False])
async def test_a_pause_of_a_task_that_was_taken_away_is_dropped(late: bool) -> None:
    backend = FakeBackend()
    task = backend.add_task()

    async def asking(job: Job) -> Completion:
        (backend.take_away if late else backend.cancel)(task)
        return await ask_twice(job)

    async with running(backend, {"echo": asking}):
        await until(lambda: task.status in {"failed", "cancelled"})
    assert task.result == {}
