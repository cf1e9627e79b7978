from __future__ import annotations

import asyncio
import json
import time
from io import StringIO

import pytest

from tests.unit.helpers import quiet_log, until
from workers.backoff import Backoff
from workers.errors import BackendRejected, BackendUnavailable
from workers.line import Line


class Database:
    """Answers calls once it is back."""

    def __init__(self) -> None:
        self.away = True
        self.calls = 0

    async def call(self) -> str:
        await asyncio.sleep(0)
        self.calls += 1
        if self.away:
            raise BackendUnavailable("no answer")
        return "answer"


def said(log: StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in log.getvalue().splitlines()]


async def test_calls_are_repeated_until_they_are_answered_and_the_log_says_so_once() -> None:
    log, database = StringIO(), Database()
    changed = asyncio.Event()
    line = Line(quiet_log(log), Backoff(first=0.01, cap=0.02), changed.set)
    calls = [asyncio.create_task(line.insist(database.call)) for _ in range(3)]
    while database.calls < 9:
        changed.clear()
        await asyncio.wait_for(changed.wait(), 5)
    assert line.away
    database.away = False
    assert await asyncio.gather(*calls) == ["answer"] * 3
    assert (line.away, line.waiting) == (False, 0)
    assert said(log) == ["database_away", "database_back"]


async def test_calls_that_fail_together_share_one_step_of_the_back_off() -> None:
    database = Database()
    line = Line(quiet_log(), Backoff(first=1000.0, cap=1000.0))
    calls = [asyncio.create_task(line.insist(database.call)) for _ in range(3)]
    await until(lambda: line.waiting == 3)
    assert database.calls == 3
    database.away = False
    line.hurry()  # All three wait for the same moment, and none of them any more.
    assert await asyncio.wait_for(asyncio.gather(*calls), 5) == ["answer"] * 3
    assert time.monotonic() - line.failed_at < 5


async def test_another_error_is_the_callers() -> None:
    async def refuse() -> None:
        await asyncio.sleep(0)
        raise BackendRejected("no")

    line = Line(quiet_log())
    with pytest.raises(BackendRejected):
        await line.insist(refuse)
    assert not line.away
