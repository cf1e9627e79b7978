"""Api agents against real HTTP servers."""

from __future__ import annotations

import base64
import gzip
import time
import tracemalloc
from typing import Any

import pytest

from tests.unit.agents.api_kit import OK, SECRET, Heard, agents, answered, call, failure
from tests.unit.http_server import Reply, json_reply, serve
from workers.contract import AgentRow, ClaimedTask, TaskRow
from workers.errors import TaskFailure


async def test_the_request_tells_the_task_the_prompt_the_params_the_context_and_the_history() -> None:
    heard = Heard()
    with serve(lambda _seen: OK) as server:
        result = await call({"url": server.url + "/hook?x=1", "headers": {"X-Team": "blue"}, "timeout": 5}, heard)
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.headers["x-team"]) == ("POST", "/hook?x=1", "blue")
    assert seen.headers["content-type"] == "application/json"
    assert seen.json == {
        "taskId": "t1",
        "prompt": "Hello ü?",
        "params": {"tone": "dry"},
        "context": "Be kind.",
        "history": [{"role": "user", "content": "Before"}],
    }
    assert result.text == "done"
    assert heard.steps == [50, 95]
    assert result.response_metadata == {"endpoint": {"status": 200, "content_type": "application/json"}}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_other_methods_with_a_body_work_the_same(method: str) -> None:
    with serve(lambda _seen: OK) as server:
        await call({"url": server.url, "method": method})
    assert server.seen[0].method == method
    assert server.seen[0].json["prompt"] == "Hello ü?"


async def test_get_sends_the_prompt_in_the_query() -> None:
    with serve(lambda _seen: OK) as server:
        await call({"url": server.url + "/ask?lang=en", "method": "GET"})
    assert server.seen[0].path == "/ask?lang=en&taskId=t1&prompt=Hello+%C3%BC%3F"
    assert server.seen[0].body == b""


@pytest.mark.parametrize(
    ("authentication", "header", "value"),
    [
        ({"type": "bearer", "config": {"token": SECRET}}, "authorization", f"Bearer {SECRET}"),
        ({"type": "bearer", "config": {"token": SECRET, "header": "X-Auth"}}, "x-auth", f"Bearer {SECRET}"),
        ({"type": "api-key", "config": {"key": SECRET}}, "x-api-key", SECRET),
        ({"type": "api-key", "config": {"token": SECRET, "header": "X-N8N-Key"}}, "x-n8n-key", SECRET),
        (
            {"type": "basic", "config": {"username": "ü", "password": SECRET}},
            "authorization",
            "Basic " + base64.b64encode(f"ü:{SECRET}".encode()).decode(),
        ),
    ],
)
async def test_each_kind_of_authentication_sets_its_header(authentication: Any, header: str, value: str) -> None:
    with serve(lambda _seen: OK) as server:
        await call({"url": server.url, "authentication": authentication})
    assert server.seen[0].headers[header] == value


@pytest.mark.parametrize(
    ("document", "text", "text_format"),
    [
        ({"content": "c", "result": "r"}, "c", None),
        ({"result": "r", "summary": "s"}, "r", None),
        ({"summary": "s"}, "s", None),
        ({"message": "m"}, "m", None),
        ({"output": "o"}, "o", None),
        ({"data": {"result": "inside"}}, "inside", None),
        ({"content": "", "data": {"output": "inside"}}, "inside", None),
        ("just text", "just text", None),
        ({"score": 5}, '{\n  "score": 5\n}', "json"),
        ([{"content": "x"}], '[\n  {\n    "content": "x"\n  }\n]', "json"),
        ({"content": {"deep": 1}}, '{\n  "content": {\n    "deep": 1\n  }\n}', "json"),
    ],
)
async def test_the_text_is_found_in_the_usual_places(document: Any, text: str, text_format: str | None) -> None:
    result = await answered(json_reply(document))
    assert (result.text, result.format, result.document) == (text, text_format, document)


@pytest.mark.parametrize(
    ("content_type", "text_format"),
    [("text/plain", "text"), ("text/markdown; charset=utf-8", "markdown"), ("text/html", "html"), ("text/csv", "text")],
)
async def test_text_is_taken_as_it_is(content_type: str, text_format: str) -> None:
    result = await answered(Reply(200, {"Content-Type": content_type}, ["žluť".encode()]))
    assert (result.text, result.format, result.document) == ("žluť", text_format, None)


async def test_text_in_another_charset_is_decoded() -> None:
    assert (await answered(Reply(200, {"Content-Type": "text/plain; charset=latin-1"}, [b"\xe9"]))).text == "é"
    assert (await answered(Reply(200, {"Content-Type": "text/plain; charset=nonsense"}, [b"ok\xff"]))).text == "ok�"
    assert (await answered(Reply(200, {"Content-Type": "text/plain; charset=undefined"}, [b"ok\xff"]))).text == "ok�"


async def test_a_title_in_the_answer_is_kept() -> None:
    assert (await answered(json_reply({"data": {"title": "T", "content": "c"}}))).title == "T"


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "endpoint_error", False),
        (401, "endpoint_auth_failed", False),
        (403, "endpoint_auth_failed", False),
        (404, "endpoint_error", False),
        (422, "endpoint_error", False),
        (429, "endpoint_error", True),
        (500, "endpoint_error", True),
        (503, "endpoint_error", True),
    ],
)
async def test_a_status_that_is_not_success_fails(status: int, code: str, retryable: bool) -> None:
    failed, server = await failure(lambda seen: Reply(status, {}, [seen.headers["authorization"].encode()]))
    assert (failed.code, failed.retryable, failed.data) == (code, retryable, {"status": status})
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("12", 12, 12), ("Fri, 31 Dec 2100 23:59:59 GMT", 86_400, 86_400), ("soon", None, None), ("\xb2", None, None)],
)
async def test_retry_after_is_passed_on_in_seconds(value: str, low: float | None, high: float | None) -> None:
    failed, _ = await failure(Reply(429, {"Retry-After": value}))
    if low is None or high is None:
        assert failed.retry_after is None
    else:
        assert failed.retry_after is not None
        assert low <= failed.retry_after <= high


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    with serve(lambda _seen: OK) as elsewhere:
        failed, _ = await failure(Reply(status, {"Location": elsewhere.url}))
    assert (failed.code, failed.retryable) == ("endpoint_error", False)
    assert "redirect" in failed.message
    assert elsewhere.seen == []


@pytest.mark.parametrize(
    "reply",
    [Reply(delay=30), Reply(200, {"Content-Type": "text/plain"}, [b"x"] * 200, chunk_delay=0.05)],
    ids=["silent", "a drop at a time"],
)
async def test_an_endpoint_that_takes_too_long_times_out(reply: Reply) -> None:
    started = time.monotonic()
    failed, _ = await failure(reply, {"timeout": 0.3})
    assert (failed.code, failed.retryable) == ("timeout", True)
    assert time.monotonic() - started < 2


async def test_nobody_at_the_address_is_unreachable() -> None:
    with serve(lambda _seen: OK) as server:
        url = server.url
    for address in (url, "http://does-not-exist.invalid/"):
        with pytest.raises(TaskFailure) as caught:
            await call({"url": address})
        assert (caught.value.code, caught.value.retryable) == ("endpoint_unreachable", True)


async def test_a_tls_failure_is_not_tried_again() -> None:
    with serve(lambda _seen: OK) as server, pytest.raises(TaskFailure) as caught:
        await call({"url": server.url.replace("http://", "https://")})
    assert (caught.value.code, caught.value.retryable) == ("endpoint_unreachable", False)
    assert "TLS" in caught.value.message


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Encoding": "gzip", "Content-Type": "text/plain"}]
)
async def test_an_answer_larger_than_the_cap_is_cut_off(headers: dict[str, str]) -> None:
    body = b"x" * 20_000
    chunks = [gzip.compress(body)] if "Content-Encoding" in headers else [body]
    failed, _ = await failure(Reply(200, headers, chunks))
    assert (failed.code, failed.retryable) == ("response_too_large", False)


async def test_an_endless_answer_does_not_fill_the_memory() -> None:
    chunk = b"x" * 1_000_000
    tracemalloc.start()
    try:
        failed, _ = await failure(Reply(200, {"Content-Type": "text/plain"}, [chunk] * 300), limit=1_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failed.code == "response_too_large"
    assert peak < 30_000_000


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"Content-Type": "application/json"}, [b"{not json"]),
        Reply(200, {"Content-Type": "application/json"}, [b"\xff\xfe"]),
        Reply(200, {"Content-Type": "application/json"}, [b"[" * 9000]),
        Reply(200, {"Content-Type": "image/png"}, [b"\x89PNG"]),
        Reply(200, {"Content-Type": "application/json"}, []),
        Reply(200, {"Content-Type": "text/plain"}, [b"  "]),
        Reply(200, {"Content-Type": "text/plain", "Content-Encoding": "gzip"}, [b"not gzip"]),
        Reply(200, {"Content-Type": "text/plain"}, [b"half"], cut=True),
        Reply(raw=b"garbage\r\n\r\n"),
        Reply(raw=b""),
    ],
    ids=["bad json", "bad text", "deep", "image", "empty", "blank", "bad gzip", "cut", "no http", "nothing"],
)
async def test_an_answer_that_cannot_be_read_is_invalid(reply: Reply) -> None:
    failed, _ = await failure(reply)
    assert failed.code == "endpoint_response_invalid"


OUTPUT = {"output": {"type": "object", "required": ["content"], "properties": {"content": {"type": "string"}}}}


@pytest.mark.parametrize(
    "reply",
    [
        json_reply({"content": "x"}),
        json_reply({"data": {"content": "x"}}),
        Reply(200, {"Content-Type": "text/plain"}, [b"x"]),
    ],
)
async def test_an_answer_that_fits_io_schema_is_taken(reply: Reply) -> None:
    assert (await answered(reply, io_schema=OUTPUT)).text == "x"


async def test_an_answer_that_breaks_io_schema_fails_for_good() -> None:
    failed, _ = await failure(json_reply({"result": "x"}), io_schema=OUTPUT)
    assert (failed.code, failed.retryable) == ("output_invalid", False)


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        ({"url": ""}, "endpoint.url"),
        ({"url": "ftp://example.com/"}, "endpoint.url"),
        ({"url": "file:///etc/passwd"}, "endpoint.url"),
        ({"url": "/relative"}, "endpoint.url"),
        ({"url": "http://user:pass@example.com/"}, "endpoint.url"),
        ({"url": "http://[bad"}, "endpoint.url"),
        ({"method": "DELETE"}, "endpoint.method"),
        ({"timeout": 0}, "endpoint.timeout"),
        ({"timeout": "5"}, "endpoint.timeout"),
        ({"headers": {"X": 5}}, "endpoint.headers.X"),
        ({"headers": {"Host": "evil"}}, "endpoint.headers"),
        ({"headers": {"Content-Length": "5"}}, "endpoint.headers"),
        ({"headers": {"X\r\nY": "5"}}, "endpoint.headers"),
        ({"headers": {"X": "a\r\nInjected: yes"}}, "endpoint.headers"),
        ({"authentication": {"type": "digest", "config": {}}}, "endpoint.authentication"),
        ({"authentication": {"type": "bearer", "config": {}}}, "endpoint.authentication.bearer.config.token"),
        ({"request_transform": 5}, "endpoint.request_transform"),
        ({"request_transform": "{{"}, "endpoint.request_transform"),
        ({"request_transform": {"a": [{"b": "{{ nobody }}"}]}}, "endpoint.request_transform"),
        ({"request_transform": "{{ ''.__class__ }}"}, "endpoint.request_transform"),
        ({"request_transform": "{{ 'x' * 10 ** 10 }}"}, "endpoint.request_transform"),
        ({"method": "GET", "request_transform": "plain text"}, "endpoint.request_transform"),
        ({"response_transform": ".["}, "endpoint.response_transform"),
        ({"response_transform": 'import "a" as a; a::x'}, "endpoint.response_transform"),
        ({"response_transform": 5}, "endpoint.response_transform"),
        ({"status_webhook": "http://x"}, "endpoint.status_webhook"),
        ({"status_webhook": {"ttl_seconds": 0}}, "endpoint.status_webhook"),
        ({"status_webhook": True, "method": "GET"}, "endpoint.status_webhook"),
        ({"status_webhook": True}, "endpoint.status_webhook"),
        ({"unknown": 1}, "endpoint.unknown"),
    ],
)
async def test_an_endpoint_that_cannot_be_used_is_refused_by_the_name_of_its_field(endpoint: Any, field: str) -> None:
    failed, server = await failure(OK, endpoint)
    assert (failed.code, failed.retryable) == ("agent_misconfigured", False)
    assert failed.data == {"field": field}
    assert server.seen == []


@pytest.mark.parametrize("raw", [None, [], "http://x", {}])
async def test_an_endpoint_that_is_none_is_refused(raw: Any) -> None:
    with pytest.raises(TaskFailure) as caught:
        await call(raw)
    assert caught.value.code == "agent_misconfigured"


@pytest.mark.parametrize(
    "endpoint",
    [
        {"url": "http://127.0.0.1:1/${SUPABASE_SERVICE_ROLE_KEY}"},
        {"headers": {"X-Key": "${OPENAI_API_KEY}"}},
        {"headers": {"${PATH}": "x"}},
        {"authentication": {"type": "bearer", "config": {"token": "${ANTHROPIC_API_KEY}"}}},
        {"authentication": {"type": "basic", "config": {"username": "a", "password": "x${HOME}y"}}},
    ],
)
async def test_placeholders_never_reach_the_workers_environment(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary-of-the-operator"
    for name in ("SUPABASE_SERVICE_ROLE_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, canary)
    failed, server = await failure(OK, endpoint)
    assert failed.code == "agent_misconfigured"
    assert canary not in failed.message
    assert server.seen == []


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / ".netrc"
    netrc.write_text("machine 127.0.0.1 login operator password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serve(lambda _seen: OK) as proxy, serve(lambda _seen: OK) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        await call({"url": server.url})
    assert proxy.seen == []
    assert "authorization" not in server.seen[0].headers


async def test_cookies_of_one_agent_do_not_reach_another() -> None:
    with serve(lambda _seen: json_reply({"content": "x"}, Set_Cookie="session=1; Path=/")) as server:
        agent = AgentRow("a", "A", "api", "", "active", endpoint={"url": server.url})
        claimed = ClaimedTask(TaskRow("t1", "demo-org", "process", "x", 3), agent, 1, "token")
        async with agents() as running:
            for _ in range(2):
                await running.run(claimed, agent, Heard())
    assert "cookie" not in server.seen[1].headers
