"""External agents whose cards and answers are broken, huge or meant to harm."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tests.a2a_server import CARD_PATH, remote_agent
from tests.unit.agents.external_kit import RIVALS_SECRET, SECRET, Bench, bench
from tests.unit.http_server import Reply, Seen, json_reply, serve, sse_reply
from workers.agents.external import remote as remote_module
from workers.agents.external.bounded import bound_values
from workers.agents.external.cards import Cards, read_card
from workers.agents.external.config import read_remote
from workers.contract import ClaimedTask, TaskRow
from workers.door import Door, DoorError
from workers.errors import TaskFailure
from workers.secrets import Secrets

METADATA_SERVICE = "http://169.254.169.254/a2a"
TASK = {"id": "r1", "contextId": "c1", "status": {"state": "TASK_STATE_WORKING"}}


def interface(url: str, binding: str = "JSONRPC", version: str = "1.0") -> dict[str, str]:
    return {"url": url, "protocolBinding": binding, "protocolVersion": version}


async def talk(answer: Callable[[Seen], Reply], *, streaming: bool = False, prompt: str = "x", **endpoint: Any) -> Any:
    """Run an attempt against a server whose card is sound and which answers calls as given; return how it fails."""

    def reply(seen: Seen) -> Reply:
        if seen.method == "GET":
            url = f"http://{seen.headers['host']}/rpc"
            return json_reply({"supportedInterfaces": [interface(url)], "capabilities": {"streaming": streaming}})
        return answer(seen)

    with serve(reply) as server:
        return await Bench(server.url, prompt, **endpoint).fails()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"card"',
        b"{",
        b"\xff\xfe",
        b'{"supportedInterfaces": "x"}',
        b'{"supportedInterfaces": [1]}',
        b'{"supportedInterfaces": {"url": 1}}',
        b'{"skills": 3}',
        b'{"skills": [null]}',
        b'{"name": {"deep": []}}',
        b'{"securitySchemes": [1]}',
        b'{"security": [1]}',
        b'{"url": "http://x", "additionalInterfaces": [7]}',
        b'{"url": 5}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        json.dumps(
            {"capabilities": {"extensions": [{"params": {"a": [[[[1]]] * 3]}}] * 5, "streaming": "yes"}}
        ).encode(),
    ],
)
def test_what_is_no_card_is_refused(body: bytes) -> None:
    with pytest.raises(TaskFailure) as caught:
        read_card(body)
    assert caught.value.code == "endpoint_response_invalid"
    assert not caught.value.retryable


@pytest.mark.parametrize("kept", [True, False])
async def test_a_piece_that_comes_by_look_and_by_stream_counts_once(kept: bool) -> None:
    """The server makes its copy of the task and its stream at different moments, so that a piece may be in both."""
    begun = {**TASK, "artifacts": [{"artifactId": "a1", "parts": [{"text": "one two "}]}]}
    ended = {**begun, "status": {"state": "TASK_STATE_COMPLETED"}}
    ids = {"taskId": "r1", "contextId": "c1"}
    stream = [
        {"task": begun},
        {"artifactUpdate": {**ids, "artifact": {"artifactId": "a1", "parts": [{"text": "two "}]}, "append": True}},
        {"statusUpdate": {**ids, "status": ended["status"]}},
    ]
    looks: list[str] = []

    def reply(seen: Seen) -> Reply:
        if seen.method == "GET":
            url = f"http://{seen.headers['host']}/rpc"
            return json_reply({"supportedInterfaces": [interface(url)], "capabilities": {"streaming": True}})
        call = json.loads(seen.body)
        answer = {"jsonrpc": "2.0", "id": call["id"]}
        if call["method"] == "SubscribeToTask":
            return sse_reply([(None, {**answer, "result": event}) for event in stream])
        assert call["method"] == "GetTask"
        looks.append(call["method"])
        if len(looks) > 1 and not kept:
            return json_reply({**answer, "error": {"code": -32001, "message": "Task not found"}})
        return json_reply({**answer, "result": begun if len(looks) == 1 else ended})

    with serve(reply) as server:
        one = Bench(server.url, "x")
        one.shelf.link = {"message_id": "t1.1", "remote_task_id": "r1", "context_id": "c1"}
        result = await one.run(attempt=2)
    assert result.text == ("one two " if kept else "one two two ")
    assert len(looks) == 2


async def test_a_card_of_50_mb_is_not_read() -> None:
    chunk = b'{"name": "' + b"x" * 1_000_000
    started = time.monotonic()
    with serve(lambda _seen: Reply(chunks=[chunk] * 50)) as server:
        failure = await Bench(server.url, "x").fails()
    assert failure.code == "response_too_large"
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_of_very_many_values_is_not_read(streaming: bool) -> None:
    values = b"1," * 500_000  # A megabyte, which keeps the SDK busy for two seconds.
    head = b'{"jsonrpc": "2.0", "id": "1", "result": {"task": {"id": "r1", "artifacts": [{"parts": [{"data": ['
    kind, frame = ("text/event-stream", b"data: %s\n\n") if streaming else ("application/json", b"%s")
    body = frame % (head + values + b"1]}]}]}}}")
    headers = {"Content-Type": kind}
    failure = await talk(lambda _seen: Reply(headers=headers, chunks=[body]), streaming=streaming)
    assert (failure.code, failure.retryable) == ("response_too_large", False)


@pytest.mark.parametrize(
    ("pieces", "fits"),
    [
        ([b"data: " + b"1," * 60_000 + b"\n\n"] * 5, True),
        ([b"data: " + b"1," * 60_000 + b"\r\n\r\ndata: " + b"1," * 30_000, b"\n\ndata: " + b"1," * 60_000], True),
        ([b"data: " + b"1," * 60_000 + b"\n", b"data: " + b"1," * 60_000], False),
    ],
)
async def test_each_event_of_a_stream_may_have_many_values(pieces: list[bytes], fits: bool) -> None:
    async def given() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    request = httpx.Request("POST", "http://a.example", headers={"Accept": "application/json, text/event-stream"})
    headers = {"Content-Type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=given(), request=request)
    await bound_values(response)
    if fits:
        assert await response.aread() == b"".join(pieces)
        return
    with pytest.raises(DoorError):
        await response.aread()


async def test_a_card_of_a_thousand_skills_is_fine_and_a_skill_must_be_among_them() -> None:
    skills = [{"id": f"s{number}", "name": "S", "description": "d" * 300, "tags": ["t"]} for number in range(1000)]
    with remote_agent(changes={"skills": skills}) as remote:
        assert (await bench(remote, "echo x", skill="s999").run()).text
        failure = await bench(remote, "echo x", skill="s1000").fails()
    assert (failure.code, failure.data) == ("agent_misconfigured", {"field": "endpoint.skill"})
    assert len(failure.message) < 1500


@pytest.mark.parametrize(
    "interfaces",
    [
        [],
        [interface("http://127.0.0.1:1/", "GRPC")],
        [interface("http://127.0.0.1:1/", "JSONRPC", "0.2.6")],
        [interface("http://127.0.0.1:1/", "JSONRPC", "2.0")],
        [interface("http://127.0.0.1:1/", "JSONRPC", "one")],
        [interface("file:///etc/passwd")],
        [interface("http://user:pass@127.0.0.1/")],
        [interface("/relative")],
        [interface("http://[::1")],
    ],
)
async def test_a_card_without_a_way_that_can_be_gone_is_unsupported(interfaces: list[Any]) -> None:
    with remote_agent(changes={"supportedInterfaces": interfaces}) as remote:
        failure = await bench(remote, "echo x").fails()
    assert (failure.code, failure.retryable) == ("protocol_unsupported", False)


async def test_addresses_in_a_card_go_through_the_door() -> None:
    with remote_agent(changes={"supportedInterfaces": [interface(METADATA_SERVICE)]}) as remote:
        failure = await bench(remote, "echo x").fails()
        assert failure.code == "address_not_allowed"
        closed = await bench(remote, "echo x").fails(door=Door())
    assert closed.code in {"address_not_allowed", "scheme_not_allowed"}


async def test_credentials_do_not_follow_a_card_to_another_host() -> None:
    bearer = {"type": "bearer", "config": {"token": "${TOKEN}"}}
    with serve(lambda _seen: json_reply({})) as thief:
        elsewhere = thief.url.replace("127.0.0.1", "localhost")
        with remote_agent(changes={"supportedInterfaces": [interface(elsewhere)]}) as remote:
            failure = await bench(remote, "echo x", authentication=bearer).fails()
            assert (failure.code, failure.data) == (
                "agent_misconfigured",
                {"field": "endpoint.hosts", "host": "localhost"},
            )
            assert thief.seen == []
            await bench(remote, "echo x", authentication=bearer, hosts=["localhost"]).fails()
            assert thief.seen[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        ({"protocol": "mcp"}, "endpoint.protocol"),
        ({"version": "2.0"}, "endpoint.version"),
        ({"binding": "GRPC"}, "endpoint.binding"),
        ({"skill": 3}, "endpoint.skill"),
        ({"request_transform": "x"}, "endpoint.request_transform"),
        ({"url": "ftp://x"}, "endpoint.url"),
        ({"url": "https://user:pass@x/"}, "endpoint.url"),
        ({"headers": {"Host": "x"}}, "endpoint.headers"),
        ({"timeout": -1}, "endpoint.timeout"),
    ],
)
async def test_an_endpoint_that_cannot_be_used_is_named(endpoint: Any, field: str) -> None:
    one = Bench("https://agent.example", "x")
    one.endpoint.update(endpoint)
    failure = await one.fails()
    assert (failure.code, failure.data) == ("agent_misconfigured", {"field": field})


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({}, "endpoint_response_invalid"),
        ([], "endpoint_response_invalid"),
        ("text", "endpoint_response_invalid"),
        (7, "endpoint_response_invalid"),
        ({"task": "r1"}, "endpoint_response_invalid"),
        ({"task": {**TASK, "id": ""}}, "endpoint_response_invalid"),
        ({"task": {**TASK, "id": "x" * 1000}}, "endpoint_response_invalid"),
        ({"task": {**TASK, "id": "a\nb"}}, "endpoint_response_invalid"),
        ({"task": {**TASK, "status": {"state": "TASK_STATE_COMPLETED"}}}, "endpoint_response_invalid"),
        ({"task": {**TASK, "status": {"state": "TASK_STATE_FAILED"}, "artifacts": [{}] * 1001}}, "response_too_large"),
        ({"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": []}}, "endpoint_response_invalid"),
    ],
)
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_answer_that_is_none_ends_the_attempt(result: Any, code: str, streaming: bool) -> None:
    document = {"jsonrpc": "2.0", "id": "1", "result": result}
    answer = sse_reply([(None, document)]) if streaming else json_reply(document)
    failure = await talk(lambda _seen: answer, streaming=streaming)
    assert (failure.code, failure.retryable) == (code, False)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ({"code": -32001, "message": "who?"}, "remote_task_lost", "does not know"),
        ({"code": -32009, "message": "old"}, "protocol_unsupported", "version"),
        ({"code": -32602, "message": f"no {SECRET}"}, "endpoint_error", "no [redacted]"),
        ({"code": -32603, "message": "boom"}, "endpoint_error", "boom"),
        ({"code": -32603, "message": f"boom {RIVALS_SECRET}"}, "endpoint_error", f"boom {RIVALS_SECRET}"),
        ({"code": -1, "message": "own code"}, "endpoint_error", "own code"),
        ({"code": "x"}, "endpoint_error", ""),
        ("text", "endpoint_error", ""),
        ({"code": -32602, "message": "x" * 1_000_000}, "endpoint_error", "xxx"),
    ],
)
async def test_errors_of_the_protocol_are_told_and_not_tried_again(error: Any, code: str, said: str) -> None:
    failure = await talk(lambda _seen: json_reply({"jsonrpc": "2.0", "id": "1", "error": error}))
    assert failure.code == code
    assert said in failure.message
    assert len(failure.message) < 1200
    assert failure.retryable == (code == "remote_task_lost")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_garbage_ends_the_attempt(body: bytes, kind: str) -> None:
    chunks = [b"data: " + body + b"\n\n"] if kind == "text/event-stream" else [body]
    streaming = kind == "text/event-stream"
    failure = await talk(lambda _seen: Reply(headers={"Content-Type": kind}, chunks=chunks), streaming=streaming)
    assert failure.code in {"endpoint_response_invalid", "endpoint_error"}
    assert not failure.retryable


async def test_a_stream_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "MAX_RESPONSE_CHARS", 50_000)
    update = {
        "taskId": "r1",
        "contextId": "c1",
        "append": True,
        "artifact": {"artifactId": "a", "parts": [{"text": "x" * 1000}]},
    }
    event = (None, {"jsonrpc": "2.0", "id": "1", "result": {"artifactUpdate": update}})
    asked: list[str] = []

    def answer(seen: Seen) -> Reply:
        asked.append(seen.json["method"])
        return sse_reply([event] * 200)

    failure = await talk(answer, streaming=True)
    assert (failure.code, failure.retryable) == ("response_too_large", False)
    assert asked == ["SendStreamingMessage", "CancelTask"]


async def test_a_state_that_nobody_knows_is_not_waited_for_without_end() -> None:
    odd = {**TASK, "status": {"state": "TASK_STATE_DREAMING"}}
    counted = itertools.count()

    def answer(seen: Seen) -> Reply:
        next(counted)
        result: Any = {"task": odd} if seen.json["method"] == "SendMessage" else odd
        return json_reply({"jsonrpc": "2.0", "id": "1", "result": result})

    failure = await talk(answer)
    assert failure.code == "endpoint_response_invalid"
    assert next(counted) < 20


async def test_a_stream_about_another_task_is_not_believed() -> None:
    def answer(seen: Seen) -> Reply:
        if seen.json["method"] != "SendStreamingMessage":
            return json_reply({"jsonrpc": "2.0", "id": "1", "result": {**TASK, "id": "r2"}})
        return sse_reply([(None, {"jsonrpc": "2.0", "id": "1", "result": {"task": TASK}})])

    failure = await talk(answer, streaming=True)
    assert "another task" in failure.message


async def test_a_remote_id_cannot_leave_its_place_in_a_path() -> None:
    paths: list[str] = []

    def reply(seen: Seen) -> Reply:
        paths.append(seen.path)
        if seen.path == CARD_PATH:
            url = f"http://{seen.headers['host']}/rpc"
            return json_reply({"supportedInterfaces": [interface(url, "HTTP+JSON")], "capabilities": {}})
        if seen.path == "/rpc/message:send":
            return json_reply({"task": {**TASK, "id": "../../admin?x=1#"}})
        return json_reply({}, 403)

    with serve(reply) as server:
        await Bench(server.url, "x").fails()
    assert paths[-1] == "/rpc/tasks/..%2F..%2Fadmin%3Fx%3D1%23"


async def test_cards_are_kept_for_minutes_and_then_asked_for_by_their_etag() -> None:
    now = [0.0]
    claimed = ClaimedTask(TaskRow("t1", "o", "process", "x", 1), None, 1, "token")
    with remote_agent() as server:
        async with Door(allow_private=True) as door:
            cards = Cards(door, clock=lambda: now[0])
            endpoint = await read_remote({"url": server.url}, claimed, Secrets(None))  # type: ignore[arg-type]
            first = await cards.get("o", endpoint, None)
            assert await cards.get("o", endpoint, None) == first
            assert server.cards == 1
            now[0] = 301.0
            again = await cards.get("o", endpoint, None)
            assert (again.interfaces, server.cards) == (first.interfaces, 2)
            assert server.requests[-1][1]["if-none-match"] == '"v1"'
            await cards.get("another", endpoint, None)
            assert server.cards == 3
            for number in range(300):
                other = await read_remote({"url": server.url, "headers": {"X-N": str(number)}}, claimed, Secrets(None))  # type: ignore[arg-type]
                await cards.get("o", other, None)
            assert len(cards._cards) == 256


async def test_the_card_is_found_where_older_servers_keep_it_and_where_the_url_names_it() -> None:
    with remote_agent() as server:
        card = server.card()
        found: list[str] = []

        def reply(seen: Seen) -> Reply:
            found.append(seen.path)
            return json_reply(card) if seen.path == "/x/.well-known/agent.json" else json_reply({}, 404)

        with serve(reply) as cards:
            assert (await Bench(cards.url + "/x/", "echo x").run()).text
            assert (await Bench(cards.url + "/x/.well-known/agent.json", "echo x").run()).text
            missing = await Bench(cards.url, "echo x").fails()
    assert found[:3] == ["/x" + CARD_PATH, "/x/.well-known/agent.json", "/x/.well-known/agent.json"]
    assert (missing.code, missing.data) == ("endpoint_error", {"status": 404})
