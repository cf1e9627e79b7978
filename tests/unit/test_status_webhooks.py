"""How attempts wait for reports: many in one request, at a bounded rate, and none holds up another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from workers.agents.status_webhooks import StatusWebhook, StatusWebhooks
from workers.contract import ClaimedTask, TaskRow
from workers.errors import BackendRejected, BackendUnavailable, TaskFailure

CLAIMED = ClaimedTask(TaskRow("t1", "acme", "process", "x", 3, timeout_seconds=90), None, 2, "token")


@dataclass
class Table:
    """The rows of private.status_webhooks as its two functions show them."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[float, str, Mapping[str, Any]]] = field(default_factory=list)
    away: int = 0

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        self.calls.append((time.monotonic(), function, arguments))
        if self.away > 0:
            self.away -= 1
            raise BackendUnavailable("away")
        if function == "open_status_webhook":
            return {"id": "w", "secret": "whsec_eA==", "expires_at": "2030", "expires_in": 60.5, "under_way": False}
        return [{"id": name, **row} for name, row in self.rows.items() if name in arguments["ids"]]


def webhook(name: str, seconds: float = 30) -> StatusWebhook:
    return StatusWebhook(name, False, seconds, {})


def ignore(_percent: float | None, _message: str | None) -> None:
    """Hear nothing."""


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
async def webhooks(table: Table) -> AsyncIterator[StatusWebhooks]:
    async with StatusWebhooks(table, url="http://project/", anon_key="anon", poll_seconds=0.3) as running:
        yield running


async def test_opening_tells_the_endpoint_where_and_how_to_report(table: Table, webhooks: StatusWebhooks) -> None:
    table.away = 2
    opened = await webhooks.open(CLAIMED, None)
    assert opened.for_endpoint == {
        "url": "http://project/rest/v1/rpc/report_task_status",
        "apikey": "anon",
        "id": "w",
        "secret": "whsec_eA==",
        "expires_at": "2030",
    }
    assert (opened.seconds, "whsec" in repr(opened)) == (60.5, False)
    assert table.calls[-1][2] == {"task_id": "t1", "attempt": 2, "lease_token": "token", "ttl_seconds": 90}
    await webhooks.open(CLAIMED, 5)
    assert table.calls[-1][2]["ttl_seconds"] == 5


async def test_a_database_that_stays_away_or_refuses_ends_the_attempt(table: Table, webhooks: StatusWebhooks) -> None:
    table.away = 100
    with pytest.raises(TaskFailure) as caught:
        await webhooks.open(CLAIMED, None)
    assert (caught.value.code, caught.value.retryable) == ("internal_error", True)

    class Refusing(Table):
        async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
            raise BackendRejected("lease_lost", f"{function} {arguments}")

    with pytest.raises(BackendRejected):
        await StatusWebhooks(Refusing(), url="http://x", anon_key="anon").open(CLAIMED, None)


async def test_all_who_wait_are_asked_for_in_one_request_at_a_bounded_rate(
    table: Table, webhooks: StatusWebhooks
) -> None:
    table.rows = {f"w{number}": {} for number in range(50)}
    waiting = [asyncio.create_task(webhooks.wait(webhook(name), ignore)) for name in table.rows]
    await asyncio.sleep(0.8)
    assert 2 <= len(table.calls) <= 5
    assert len(table.calls[-1][2]["ids"]) == 50
    for name in table.rows:
        table.rows[name] = {"outcome": {"status": "completed", "result": name}}
    assert await asyncio.gather(*waiting) == list(table.rows)
    await asyncio.sleep(0.4)
    asked = len(table.calls)
    await asyncio.sleep(0.5)
    assert len(table.calls) == asked  # Nobody waits, nobody asks.


async def test_progress_is_told_when_it_changes(table: Table, webhooks: StatusWebhooks) -> None:
    heard: list[tuple[float | None, str | None]] = []
    table.rows = {"w": {"progress": 20, "message": "Reading"}}
    task = asyncio.create_task(webhooks.wait(webhook("w"), lambda *news: heard.append(news)))
    await asyncio.sleep(0.5)
    table.rows = {"w": {"progress": 20, "message": "Writing"}}
    await asyncio.sleep(0.5)
    table.rows = {"w": {"progress": 30, "message": "Writing", "outcome": {"status": "completed", "result": None}}}
    assert await task is None
    assert heard == [(20, "Reading"), (None, "Writing"), (30, "Writing")]


async def test_neither_an_outage_nor_a_mistake_of_one_ends_the_waiting_of_others(
    table: Table, webhooks: StatusWebhooks
) -> None:
    def broken(_percent: float | None, _message: str | None) -> None:
        raise ValueError("a mistake")

    table.away = 2
    table.rows = {"a": {"progress": 1}, "b": {"outcome": {"status": "completed", "result": 5}}}
    found = await asyncio.gather(
        webhooks.wait(webhook("a"), broken), webhooks.wait(webhook("b"), ignore), return_exceptions=True
    )
    assert (type(found[0]), found[1]) == (ValueError, 5)


async def test_an_attempt_that_ends_late_takes_nothing_from_the_next_one(
    table: Table, webhooks: StatusWebhooks
) -> None:
    first = asyncio.create_task(webhooks.wait(webhook("w"), ignore))
    await asyncio.sleep(0.1)
    second = asyncio.create_task(webhooks.wait(webhook("w"), ignore))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    table.rows = {"w": {"outcome": {"status": "completed", "result": 5}}}
    async with asyncio.timeout(5):
        assert await second == 5


async def test_a_webhook_that_expires_is_a_timeout(webhooks: StatusWebhooks) -> None:
    with pytest.raises(TaskFailure) as caught:
        await webhooks.wait(webhook("w", 0.1), ignore)
    assert (caught.value.code, caught.value.retryable) == ("timeout", True)
