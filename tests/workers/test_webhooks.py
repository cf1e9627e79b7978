"""Webhooks with a real worker and real receivers, which verify as the receivers of Standard Webhooks do."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.stack import Stack
from tests.unit.agents.api_kit import CountingDoor
from tests.unit.agents.external_kit import traced
from tests.unit.http_server import Reply, Seen, Server, serve
from tests.workers.conftest import Lab, laboratory
from tests.workers.waiting import Row, wait_for
from workers.backend import Backend
from workers.contract import ClaimedTask, Completion, TaskRow
from workers.door import Door
from workers.errors import BackendUnavailable, TaskFailure
from workers.job import Job
from workers.reports import ReportQueue
from workers.webhooks import Webhooks, signed_headers

DOCS = Path(__file__).parents[2] / "docs/webhooks.md"
OPTIONS = ("--lease-seconds", "2", "--concurrency", "4")
ENVIRONMENT = {"ORCHESTRATOR_ALLOW_PRIVATE_HOSTS": "1", "LLM_OFFLINE": "1", "LLM_OFFLINE_DELAY": "0"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
OK = Reply(204)


@pytest.fixture(scope="module")
def office(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Give an organization whose worker sends webhooks to private addresses too."""
    with laboratory(stack, f"hooks-{time.time_ns()}", tmp_path_factory.mktemp("hooks")) as lab:
        lab.post("organization_members", organization_slug=lab.organization, user_id=lab.user_id, role="owner")
        lab.start_worker(*OPTIONS, **ENVIRONMENT)
        yield lab


@pytest.fixture(autouse=True)
def _forget(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove a test's webhooks, so that the next one's events are not sent to them."""
    yield
    if "office" in request.fixturenames:
        office: Lab = request.getfixturevalue("office")
        office.sql.execute("delete from public.webhooks where organization_slug = %s", (office.organization,))


def add(lab: Lab, server: Server, *events: str) -> Row:
    body = {
        "organization_slug": lab.organization,
        "url": server.url + "/hook",
        "events": list(events or ["task.cancelled"]),
    }
    row: Row = lab.post("rpc/create_webhook", **body)
    return row


def happen(lab: Lab) -> str:
    """Let something happen that is told: a task is cancelled. Return its id."""
    task_id = lab.add_task(lab.add_agent(), scheduled_at=str(datetime.now(UTC) + timedelta(hours=1)))
    lab.post("rpc/cancel_task", task_id=task_id)
    return task_id


def delivery(lab: Lab, webhook: Row) -> Row:
    """Read the only delivery of a webhook."""
    query = "select * from public.webhook_deliveries where webhook_id = %s"
    (row,) = lab.sql.execute(query, (webhook["id"],)).fetchall()
    return row


def until(lab: Lab, webhook: Row, status: str, attempts: int | None = None, seconds: float = 20) -> Row:
    def arrived() -> Row | None:
        row = delivery(lab, webhook)
        return row if row["status"] == status and attempts in {None, row["attempts"]} else None

    row = wait_for(arrived, seconds, f"the delivery is {status}")
    assert row is not None
    return row


def replay(lab: Lab, row: Row) -> None:
    lab.post("rpc/replay_webhook_delivery", delivery_id=str(row["id"]))


def in_turn(*statuses: int, **headers: str) -> Callable[[Seen], Reply]:
    """Answer with each status once, and then with 204."""
    left = list(statuses)
    return lambda _seen: Reply(left.pop(0), headers, [b"not\x00 now"]) if left else OK


# With a real worker ---------------------------------------------------------------------------------------------------


def test_what_an_agent_did_arrives_signed(office: Lab) -> None:
    with serve(lambda _seen: OK) as server:
        webhook = add(office, server, "task.completed")
        task_id = office.add_task(office.add_agent())
        office.await_task(task_id)
        row = until(office, webhook, "delivered", 1)
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/hook")
    event = Webhook(webhook["secret"]).verify(seen.body, dict(seen.headers))
    assert (event["type"], event["data"]["id"], event["data"]["status"]) == ("task.completed", task_id, "completed")
    assert event["data"]["response_metadata"]["deliverable"]["version_number"] == 1
    assert seen.headers["webhook-id"] == str(row["id"])
    assert (row["last_response_code"], row["last_error"]) == (204, None)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(seen.body, dict(seen.headers))


def test_a_receiver_in_trouble_is_asked_again_with_the_same_id(office: Lab) -> None:
    with serve(in_turn(500, 429, Retry_After="x")) as server:
        webhook = add(office, server)
        happen(office)
        row = until(office, webhook, "failed", 1)
        assert row["last_error"] == "webhook_failed: The receiver answered with status 500: not now"
        assert timedelta(seconds=40) < row["next_attempt_at"] - datetime.now(UTC) < timedelta(seconds=80)
        replay(office, row)
        replay(office, until(office, webhook, "failed", 2))
        until(office, webhook, "delivered", 3)
    assert len({seen.headers["webhook-id"] for seen in server.seen}) == 1
    for seen in server.seen:
        Webhook(webhook["secret"]).verify(seen.body, dict(seen.headers))


def test_retry_after_is_honoured(office: Lab) -> None:
    with serve(lambda _seen: Reply(429, {"Retry-After": "7200"})) as server:
        webhook = add(office, server)
        happen(office)
        row = until(office, webhook, "failed", 1)
    assert timedelta(minutes=115) < row["next_attempt_at"] - datetime.now(UTC) < timedelta(minutes=125)


def test_after_eight_attempts_a_delivery_is_dead_and_a_replay_brings_it_back(office: Lab) -> None:
    with serve(in_turn(*[500] * 8)) as server:
        webhook = add(office, server)
        happen(office)
        for attempt in range(1, 8):
            replay(office, until(office, webhook, "failed", attempt))
        row = until(office, webhook, "dead", 8)
        replay(office, row)
        until(office, webhook, "delivered", 9)
    assert len({(seen.headers["webhook-id"], seen.body) for seen in server.seen}) == 1


def test_during_a_rotation_either_secret_verifies(office: Lab) -> None:
    with serve(lambda _seen: OK) as server:
        webhook = add(office, server)
        rotated = office.post("rpc/rotate_webhook_secret", webhook_id=webhook["id"], overlap_seconds=60)
        happen(office)
        until(office, webhook, "delivered")
    (seen,) = server.seen
    for secret in (webhook["secret"], rotated["secret"]):
        Webhook(secret).verify(seen.body, dict(seen.headers))


def test_gone_disables_the_webhook(office: Lab) -> None:
    with serve(lambda _seen: Reply(410)) as server:
        webhook = add(office, server)
        happen(office)
        until(office, webhook, "dead", 1)
    row = office.sql.execute("select * from public.webhooks where id = %s", (webhook["id"],)).fetchone()
    assert row is not None
    assert (row["enabled"], row["disabled_reason"]) == (False, "The receiver answered 410 Gone.")


def test_a_worker_killed_while_it_sends_loses_nothing(own_lab: Lab) -> None:
    own_lab.post("organization_members", organization_slug=own_lab.organization, user_id=own_lab.user_id, role="owner")
    with serve(lambda _seen: Reply(204, delay=30 if len(server.seen) == 1 else 0)) as server:
        webhook = add(own_lab, server)
        first = own_lab.start_worker(*OPTIONS, **ENVIRONMENT)
        happen(own_lab)
        wait_for(lambda: server.seen, 30, "the first request")
        second = own_lab.start_worker(*OPTIONS, **ENVIRONMENT)
        wait_for(lambda: second.lines(event="started"), 30, "the second worker")
        first.kill()
        row = until(own_lab, webhook, "delivered")
    assert row["attempts"] == 2
    assert {seen.headers["webhook-id"] for seen in server.seen} == {str(row["id"])}
    assert len(server.seen) == 2


def test_the_example_of_the_page_verifies_what_is_sent(office: Lab) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - our own page
    with serve(lambda _seen: OK) as server:
        webhook = add(office, server)
        office.post("rpc/send_test_webhook", webhook_id=webhook["id"])
        until(office, webhook, "delivered")
    (seen,) = server.seen
    known: set[str] = set()
    assert names["receive"](webhook["secret"], seen.body, dict(seen.headers), known) == 204
    assert known == {seen.headers["webhook-id"]}
    assert names["receive"](SECRET, seen.body, dict(seen.headers), known) == 401
    assert json.loads(seen.body)["type"] == "webhook.test"


# Receivers of every kind, without waiting for a worker's times --------------------------------------------------------


class Database:
    """Answers read_webhook_delivery as the database does; that it does is tested with the real one above."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        assert function == "read_webhook_delivery"
        assert arguments == {"delivery_id": "d", "lease_token": "token"}
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def deliver(answer: Any, *, seconds: float = 5.0, way_out: Door | None = None) -> Completion:
    task = TaskRow("t", "acme", "deliver_webhook", "Deliver", 8, params={"delivery_id": "d"})
    database: Backend = Database(answer)  # type: ignore[assignment]  # a handler uses nothing else of it
    async with way_out or Door(allow_private=True) as door:
        job = Job(ClaimedTask(task, None, 1, "token"), ReportQueue(lambda: None))
        return await Webhooks(door, database, timeout=seconds).deliver(job)


def sending(url: str) -> Row:
    return {"webhook_id": "w", "url": url, "body": '{"type": "x"}', "secrets": [SECRET]}


async def test_the_connections_are_of_the_organizations_share() -> None:
    """Else each of an organization's many hosts would have a share of its own."""
    with serve(lambda _seen: OK) as server:
        door = CountingDoor(allow_private=True)
        await deliver(sending(server.url), way_out=door)
    assert door.shares == ["acme"]


async def test_the_trace_tells_nothing_of_what_was_sent() -> None:
    """A delivery runs for whoever made the webhook, who reads its trace and is perhaps no admin any more."""
    with serve(lambda _seen: OK) as server, traced() as steps:
        await deliver(sending(server.url) | {"body": '{"prompt": "of a colleague"}'})
    (one,) = steps
    assert (one.type, one.status, one.metadata) == ("http_request", "completed", {"status": 204})
    assert (one.input, one.output) == ({"bytes": 28}, None)


async def failure(url: str, **changes: Any) -> TaskFailure:
    with pytest.raises(TaskFailure) as caught:
        await deliver(sending(url), **changes)
    assert SECRET not in f"{caught.value.message} {caught.value.data}"
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_a_success_whatever_comes_with_it(status: int) -> None:
    reply = Reply(status, {"Content-Type": "x/y"}, [b"\x00" * 100_000] * 50, chunk_delay=0.02)
    started = time.monotonic()
    with serve(lambda _seen: reply) as server:
        completion = await deliver(sending(server.url))
    assert completion.response_metadata == {"status": status}
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    with (
        serve(lambda _seen: OK) as elsewhere,
        serve(lambda _seen: Reply(status, {"Location": elsewhere.url})) as server,
    ):
        failed = await failure(server.url)
    assert (failed.code, failed.retryable, (failed.data or {})["status"]) == ("webhook_failed", True, status)
    assert "redirects" in failed.message
    assert elsewhere.seen == []


@pytest.mark.parametrize(
    "reply",
    [Reply(delay=30), Reply(raw=b""), Reply(raw=b"garbage\r\n\r\n")],
    ids=["hangs", "hangs up", "garbage"],
)
async def test_a_receiver_that_does_not_answer_is_unreachable(reply: Reply) -> None:
    started = time.monotonic()
    with serve(lambda _seen: reply) as server:
        failed = await failure(server.url, seconds=0.4)
    assert (failed.code, failed.retryable) == ("webhook_unreachable", True)
    assert time.monotonic() - started < 3


async def test_nobody_at_the_address_is_unreachable_and_an_unreadable_url_is_not_tried_again() -> None:
    with serve(lambda _seen: OK) as server:
        url = server.url
    assert (await failure(url)).retryable
    failed = await failure("https://[::bad/")
    assert (failed.code, failed.retryable) == ("webhook_unreachable", False)


@pytest.mark.parametrize(
    ("reply", "snippet"),
    [
        (Reply(500, {}, [b"<b>\x00\n  ", "é".encode(), b"\xff" * 10_000]), "<b> é"),
        (Reply(500, {}, [b"x" * 8_000] * 200), "x" * 200),
        (Reply(500, {}, [b"slow"] * 100, chunk_delay=0.1), "slow"),
        (Reply(500, {"Content-Encoding": "gzip"}, [b"not gzip"]), ""),
        (Reply(500, {}, [b"cut"], cut=True), "cut"),
    ],
    ids=["binary", "large", "slow", "bad gzip", "cut"],
)
async def test_only_the_beginning_of_an_answer_is_kept(reply: Reply, snippet: str) -> None:
    with serve(lambda _seen: reply) as server:
        failed = await failure(server.url)
    assert failed.code == "webhook_failed"
    kept = (failed.data or {})["snippet"]
    assert kept.startswith(snippet)
    assert len(kept) <= 200
    assert kept.isprintable()


async def test_a_database_that_is_away_is_tried_again_and_nothing_to_send_is_no_failure() -> None:
    with pytest.raises(TaskFailure) as caught:
        await deliver(BackendUnavailable("away"))
    assert (caught.value.code, caught.value.retryable) == ("internal_error", True)
    assert (await deliver(None)).response_metadata == {}


def test_signatures_are_those_of_the_reference_library() -> None:
    headers = signed_headers("msg", 1_700_000_000, "ü", [SECRET])
    reference = Webhook(SECRET).sign("msg", datetime.fromtimestamp(1_700_000_000, UTC), "ü")
    assert headers["webhook-signature"] == reference
