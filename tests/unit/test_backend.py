from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.fake_backend import FakeBackend
from tests.unit.fake_postgrest import fake_postgrest
from tests.unit.http_server import Reply, Seen, Server, json_reply, serve
from workers.backend import Backend, ExchangeRequest, connect
from workers.errors import (
    AnswerUnreadable,
    BackendOutdated,
    BackendRefused,
    BackendRejected,
    BackendUnavailable,
)

REQUEST = ExchangeRequest(
    request_id="7d444840-9dc0-11d1-b245-5ffdce74fad2", report=b"{}", max_tasks=2, lease_seconds=30, methods=("process",)
)
REQUEST_ALL = replace(REQUEST, methods=None)


@asynccontextmanager
async def backend_on(answer: Callable[[Seen], Reply], **changes: Any) -> AsyncIterator[tuple[Backend, Server]]:
    settings = {"key_variable": "SUPABASE_SERVICE_ROLE_KEY", "timeout_seconds": 5.0}
    with serve(answer) as server:
        async with connect(server.url, "the-key", **{**settings, **changes}) as backend:
            yield backend, server


def error(status: int, code: str | None, message: str = "token", details: str | None = None) -> Reply:
    return json_reply({"code": code, "message": message, "details": details, "hint": None}, status)


async def test_calls_carry_the_key_and_the_arguments_by_name() -> None:
    async with backend_on(lambda _seen: json_reply({"tasks": []})) as (backend, server):
        await backend.exchange_work("w1", REQUEST)
        await backend.register_worker("w1", {"pid": 1})
    exchange, register = server.seen
    assert exchange.path == "/rest/v1/rpc/exchange_work"
    assert exchange.headers["apikey"] == "the-key"
    assert exchange.headers["authorization"] == "Bearer the-key"
    assert exchange.json == {
        "worker_id": "w1",
        "request_id": REQUEST.request_id,
        "report": {},
        "max_tasks": 2,
        "lease_seconds": 30,
        "methods": ["process"],
        "organizations": None,
    }
    assert register.json == {"worker_id": "w1", "info": {"pid": 1}}


async def test_tasks_are_read_from_the_answer() -> None:
    fake = FakeBackend()
    task = fake.add_task(method="process", prompt="hi")
    with fake_postgrest(fake) as server:
        async with connect(server.url, "k", key_variable="K", timeout_seconds=5) as backend:
            answer = await backend.exchange_work("w1", REQUEST)
            await backend.stop_worker("w1")
    assert [claimed.task.prompt for claimed in answer.tasks] == ["hi"]
    assert answer.tasks[0].lease.task_id == task.id
    assert fake.stopped == ["w1"]


@pytest.mark.parametrize(
    "reply",
    [
        error(503, "PGRST000"),
        error(503, "PGRST001"),
        error(504, "PGRST003"),
        error(500, "57P01"),
        error(503, "53300"),
        error(500, "40001"),
        Reply(502, {"Content-Type": "text/html"}, [b"<html>bad gateway</html>"]),
        Reply(500),
        Reply(429),
        json_reply({"message": "The upstream server is timing out"}, 504),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        Reply(raw=b""),
    ],
)
async def test_what_passes_by_itself_is_unavailable(reply: Reply) -> None:
    async with backend_on(lambda _seen: reply) as (backend, server):
        with pytest.raises(BackendUnavailable):
            await backend.exchange_work("w1", REQUEST)
    assert len(server.seen) == 1, "the client tried again by itself"


async def test_a_slow_answer_is_unavailable_after_the_timeout() -> None:
    async with backend_on(lambda _seen: Reply(delay=10), timeout_seconds=0.2) as (backend, _):
        with pytest.raises(BackendUnavailable, match="ReadTimeout"):
            await backend.exchange_work("w1", REQUEST)


async def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with connect(url, "k", key_variable="K", timeout_seconds=1) as backend:
            with pytest.raises(BackendUnavailable):
                await backend.register_worker("w1", {})


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_not_accepted_is_refused_naming_the_variable_and_not_the_key(status: int) -> None:
    async with backend_on(lambda _seen: error(status, "PGRST301", "JWT invalid")) as (backend, _):
        with pytest.raises(BackendRefused, match="SUPABASE_SERVICE_ROLE_KEY") as caught:
            await backend.exchange_work("w1", REQUEST)
    assert "the-key" not in str(caught.value)


async def test_a_missing_function_says_to_apply_the_migrations() -> None:
    async with backend_on(lambda _seen: error(404, "PGRST202")) as (backend, _):
        with pytest.raises(BackendOutdated, match="apply supabase/migrations"):
            await backend.register_worker("w1", {})


async def test_a_function_that_goes_missing_while_working_is_waited_for() -> None:
    async with backend_on(lambda _seen: error(404, "PGRST202")) as (backend, _):
        with pytest.raises(BackendUnavailable, match="apply supabase/migrations"):
            await backend.exchange_work("w1", REQUEST)


@pytest.mark.parametrize(("status", "code"), [(400, "22023"), (409, "PT409"), (413, None), (500, "54001")])
async def test_what_the_database_refuses_is_rejected_with_its_token(status: int, code: str | None) -> None:
    async with backend_on(lambda _seen: error(status, code, "argument_out_of_range", "Because.")) as (backend, _):
        with pytest.raises(BackendRejected, match="Because") as caught:
            await backend.exchange_work("w1", REQUEST)
    assert caught.value.token == "argument_out_of_range"


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b'"text"',
        b'{"tasks": 1}',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"tasks": [9' + b"9" * 5000,
    ],
    ids=["no json", "text", "another form", "endless", "deep", "a long number"],
)
async def test_an_answer_that_cannot_be_read_is_told_apart(body: bytes) -> None:
    reply = Reply(200, {"Content-Type": "application/json"}, [body])
    async with backend_on(lambda _seen: reply) as (backend, _):
        with pytest.raises(AnswerUnreadable):
            await backend.exchange_work("w1", REQUEST)


DEEP = b"[" * 3000 + b"]" * 3000
LONG = b"9" * 5000


@pytest.mark.parametrize("value", [DEEP, LONG, b'{"a": [' + DEEP + b", " + LONG + b', "text"]}'])
@pytest.mark.parametrize("place", ["task", "agent"])
async def test_a_row_that_python_cannot_read_fails_alone(place: str, value: bytes) -> None:
    fake = FakeBackend()
    fence = "HERE"
    good = fake.add_task(agent={"slug": "a", "name": "A", "agent_type": "context", "context": "[{", "status": "active"})
    bad = fake.add_task(
        params={"x": fence} if place == "task" else {}, agent={**(good.agent or {}), "llm_config": fence}
    )
    if place == "task":
        bad.agent = good.agent
    body = json.dumps(fake.exchange_now("w1", REQUEST_ALL)).encode().replace(b'"HERE"', value)
    reply = Reply(200, {"Content-Type": "application/json"}, [body])
    async with backend_on(lambda _seen: reply) as (backend, _):
        answer = await backend.exchange_work("w1", REQUEST_ALL)
    assert [claimed.task.id for claimed in answer.tasks] == [good.id]
    (ending,) = answer.unreadable
    assert ending.lease.task_id == bad.id
    assert ending.body["error_code"] == ("input_invalid" if place == "task" else "agent_misconfigured")
    assert ending.body["retryable"] is False
