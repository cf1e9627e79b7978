"""Publishing on marketplaces of every kind, on a real HTTP server, without a database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.http_server import Reply, json_reply, serve
from workers.backend import Backend
from workers.contract import ClaimedTask, Completion, TaskRow
from workers.door import Door
from workers.errors import BackendUnavailable, TaskFailure
from workers.job import Job
from workers.marketplaces import Marketplaces
from workers.reports import ReportQueue
from workers.secrets import Secrets

Row = dict[str, Any]
TOKEN = "the-organizations-market-token"
HEADERS = {"X-Api-Key": "${MARKET_TOKEN}"}


class Database:
    """Answers as the database does; the real one is asked in tests/workers."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        if function == "read_organization_secrets":
            return [{"name": name, "value": TOKEN} for name in arguments["names"] if name == "MARKET_TOKEN"]
        assert (function, arguments) == ("read_marketplace_job", {"integration_id": "i", "lease_token": "token"})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


PATHS = {"publish": ("POST", "/agents"), "unpublish": ("DELETE", "/agents/{id}"), "fetch_usage": ("GET", "/use/{id}")}


def wanted(url: str, action: str = "publish", **changes: Any) -> Row:
    method, path = PATHS[action]
    known = {
        "action": action,
        "agent_slug": "writer",
        "marketplace_agent_id": None if action == "publish" else "m-1",
        "is_platform": False,
        "base_url": url,
        "headers": HEADERS,
        "fields": {},
        "operation": {"method": method, "path": path},
        "updates": False,
        "idempotency_key": "i.1",
        "listing": {"name": "Writer", "card": {"skills": []}} if action == "publish" else None,
    }
    return {**known, **changes}


async def act(answer: Any, *, seconds: float = 5.0, hosts: tuple[str, ...] | None = None) -> Completion:
    method = {"unpublish": "unpublish", "fetch_usage": "fetch_usage"}.get(
        answer["action"] if isinstance(answer, dict) else "", "publish"
    )
    task = TaskRow("t", "acme", "publish_agent", "Publish", 6, params={"integration_id": "i"})
    database: Backend = Database(answer)  # type: ignore[assignment]  # handlers use nothing else of it
    async with Door(allow_private=True) as door:
        marketplaces = Marketplaces(door, database, Secrets(database), {"MARKETPLACE_URL": "x"}, timeout=seconds)
        job = Job(ClaimedTask(task, None, 1, "token", allowed_hosts=hosts), ReportQueue(lambda: None))
        completion: Completion = await getattr(marketplaces, method)(job)
        return completion


async def failure(answer: Any, **changes: Any) -> TaskFailure:
    with pytest.raises(TaskFailure) as caught:
        await act(answer, **changes)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"id": null}',
        b'{"id": ""}',
        b'{"id": true}',
        b'{"id": {"x": 1}}',
        b'{"id": ".."}',
        b'{"id": " x"}',
        b'{"id": "a\\u0000b"}',
        b'{"id": "' + b"x" * 256 + b'"}',
        b'{"id": NaN}',
        b'{"id": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"id": "\xff"}',
    ],
    ids=lambda body: repr(body[:14]),
)
async def test_an_answer_without_an_id_is_invalid(body: bytes) -> None:
    with serve(lambda _seen: Reply(200, {}, [body])) as server:
        failed = await failure(wanted(server.url))
    assert (failed.code, failed.retryable) == ("marketplace_answer_invalid", False)


async def test_a_huge_answer_is_not_read() -> None:
    with serve(lambda _seen: Reply(200, {}, [b" " * 100_000] * 100)) as server:
        failed = await failure(wanted(server.url))
    assert failed.code == "marketplace_answer_invalid"


@pytest.mark.parametrize("usage", [[], {"x": "y" * 20_000}, None, "text"], ids=["list", "large", "nothing", "text"])
async def test_usage_is_a_small_object_or_invalid(usage: Any) -> None:
    with serve(lambda _seen: json_reply({"data": usage})) as server:
        failed = await failure(wanted(server.url, "fetch_usage", fields={"usage": "data"}))
    assert failed.code == "marketplace_answer_invalid"


async def test_usage_may_lie_deeper_and_is_made_storable() -> None:
    reply = Reply(200, {}, [b'{"data": {"now": {"name": "a\\u0000b", "calls": 1}}}'])
    with serve(lambda _seen: reply) as server:
        done = await act(wanted(server.url, "fetch_usage", fields={"usage": "data.now"}))
    assert done.response_metadata == {"usage": {"name": "a�b", "calls": 1}}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
async def test_trouble_that_passes_is_tried_again(status: int) -> None:
    with serve(lambda _seen: Reply(status, {"Retry-After": "7"})) as server:
        failed = await failure(wanted(server.url))
    assert (failed.code, failed.retryable, failed.retry_after) == ("marketplace_unavailable", True, 7.0)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 409, 422])
async def test_a_refusal_is_not_tried_again(status: int) -> None:
    with serve(lambda _seen: Reply(status, {"Location": "http://127.0.0.1:1/"}, [b"no\x00pe"])) as server:
        failed = await failure(wanted(server.url))
    assert (failed.code, failed.retryable, failed.data) == ("marketplace_refused", False, {"status": status})


@pytest.mark.parametrize("status", [404, 410])
async def test_what_is_not_there_any_more(status: int) -> None:
    with serve(lambda _seen: Reply(status)) as server:
        assert (await act(wanted(server.url, "unpublish"))).response == "Unpublished."
        changed = wanted(server.url, marketplace_agent_id="m-1", updates=True)
        assert (await failure(changed)).code == "marketplace_listing_gone"
        assert (await failure(wanted(server.url, "fetch_usage"))).code == "marketplace_refused"


@pytest.mark.parametrize(
    "reply", [Reply(delay=30), Reply(raw=b""), Reply(raw=b"garbage\r\n\r\n"), Reply(cut=True, chunks=[b"{"])]
)
async def test_a_marketplace_that_does_not_answer_is_unavailable(reply: Reply) -> None:
    with serve(lambda _seen: reply) as server:
        failed = await failure(wanted(server.url), seconds=0.4)
    assert (failed.code, failed.retryable) == ("marketplace_unavailable", True)


async def test_the_id_stays_one_part_of_the_path_and_is_no_placeholder() -> None:
    with serve(lambda _seen: Reply(204)) as server:
        await act(wanted(server.url, "unpublish", marketplace_agent_id="a/../b?c#${MARKET_TOKEN}"))
    assert server.seen[0].path == "/agents/a%2F..%2Fb%3Fc%23%24%7BMARKET_TOKEN%7D"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"headers": {"X": "${NO_SUCH}"}}, "NO_SUCH"),
        ({"headers": {"Host": "x"}}, "Host"),
        ({"headers": {"X": "a\r\nb"}}, "HTTP forbids"),
        ({"is_platform": True}, "MARKET_TOKEN"),
        ({"fields": {"request": {"a": "name", "a.b": "name"}}}, "a.b"),
    ],
)
async def test_a_configuration_that_cannot_be_used_says_why_and_sends_nothing(changes: Row, said: str) -> None:
    with serve(lambda _seen: Reply(200)) as server:
        failed = await failure(wanted(server.url, **changes))
    assert (failed.code, failed.retryable) == ("marketplace_misconfigured", False)
    assert said in failed.message
    assert TOKEN not in failed.message
    assert server.seen == []


async def test_the_guarded_door_holds_for_marketplaces_too() -> None:
    with serve(lambda _seen: Reply(200)) as server:
        failed = await failure(wanted(server.url), hosts=("api.acme.com",))
    assert (failed.code, failed.retryable, server.seen) == ("host_not_allowed", False, [])


async def test_a_database_that_is_away_is_tried_again_and_nothing_to_do_is_no_failure() -> None:
    failed = await failure(BackendUnavailable("away"))
    assert (failed.code, failed.retryable) == ("internal_error", True)
    assert (await act(None)).response_metadata == {}
