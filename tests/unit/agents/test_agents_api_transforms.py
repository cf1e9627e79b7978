"""What api agents send and take by request_transform, response_transform and secrets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.agents.api_kit import OK, SECRET, answered, call, failure
from tests.unit.http_server import Reply, json_reply, serve
from workers.agents.result import AgentResult
from workers.errors import TaskFailure


async def sent(endpoint: Any) -> Any:
    """Return the request that an endpoint got."""
    with serve(lambda _seen: OK) as server:
        await call({**endpoint, "url": server.url + endpoint.get("url", "")})
    return server.seen[0]


async def test_an_object_template_keeps_the_types_of_what_it_names() -> None:
    template = {
        "input": {"text": "Task {{ task.id }}: {{ task.prompt }}", "options": "{{ task.params }}"},
        "turns": "{{ history | length }}",
        "who": ["{{ agent.slug }}", "{{ organization.slug }}", 5, None],
        "role": "{% if agent.context %}{{ agent.context }}{% else %}none{% endif %}",
    }
    seen = await sent({"request_transform": template})
    assert seen.headers["content-type"] == "application/json"
    assert seen.json == {
        "input": {"text": "Task t1: Hello ü?", "options": {"tone": "dry"}},
        "turns": 1,
        "who": ["a", "demo-org", 5, None],
        "role": "Be kind.",
    }


async def test_a_text_template_that_is_json_escapes_what_it_names() -> None:
    template = '{"q": "{{ task.prompt }}", "note": "<{{ task.params }}>", "params": {{ task.params }}}'
    assert (await sent({"request_transform": template})).json == {
        "q": "Hello ü?",
        "note": '<{"tone": "dry"}>',
        "params": {"tone": "dry"},
    }


async def test_another_text_template_is_sent_as_it_is() -> None:
    seen = await sent(
        {
            "request_transform": "prompt={{ task.prompt | urlencode }}&tone={{ task.params.tone }}",
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        }
    )
    assert seen.body == b"prompt=Hello%20%C3%BC%3F&tone=dry"
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"


async def test_the_template_of_a_get_is_its_query() -> None:
    template = {"q": "{{ task.prompt }}", "n": "{{ history | length }}", "p": "{{ task.params }}"}
    seen = await sent({"method": "GET", "url": "/?lang=en", "request_transform": template})
    assert seen.path == "/?lang=en&q=Hello+%C3%BC%3F&n=1&p=%7B%22tone%22%3A+%22dry%22%7D"


async def transformed(reply: Reply, source: str, **changes: Any) -> AgentResult:
    with serve(lambda _seen: reply) as server:
        return await call({"url": server.url, "response_transform": source}, **changes)


@pytest.mark.parametrize(
    ("source", "text", "document"),
    [
        (".choices[0].text", "first", None),
        (".choices[].text", "first", None),
        ("{content: .choices[1].text, title: .id}", "second", {"content": "second", "title": "x1"}),
        ("{score: (.choices | length)}", '{\n  "score": 2\n}', {"score": 2}),
        ("[.choices[].text]", '[\n  "first",\n  "second"\n]', ["first", "second"]),
    ],
)
async def test_a_filter_says_what_of_the_answer_is_the_result(source: str, text: str, document: Any) -> None:
    reply = json_reply({"id": "x1", "choices": [{"text": "first"}, {"text": "second"}]})
    result = await transformed(reply, source)
    assert (result.text, result.document) == (text, document)
    assert result.response_metadata == {"endpoint": {"status": 200, "content_type": "application/json"}}


async def test_a_filter_gets_a_text_answer_as_a_text() -> None:
    result = await transformed(Reply(200, {"Content-Type": "text/plain"}, [b"a,b"]), 'split(",") | {content: .[1]}')
    assert result.text == "b"


async def test_io_schema_is_checked_against_what_the_filter_gives() -> None:
    schema = {"output": {"type": "object", "required": ["content"]}}
    reply = json_reply({"text": "x"})
    assert (await transformed(reply, "{content: .text}", io_schema=schema)).text == "x"
    with pytest.raises(TaskFailure) as caught:
        await transformed(reply, "{result: .text}", io_schema=schema)
    assert caught.value.code == "output_invalid"


@pytest.mark.parametrize("source", ["empty", ".a.b.c", "error(.)", '""', "infinite | tostring | error"])
async def test_a_filter_that_does_not_fit_the_answer_fails_and_shows_nothing_of_it(source: str) -> None:
    failed, _ = await failure(json_reply({"a": f"Bearer {SECRET}"}), {"response_transform": source})
    assert (failed.code, failed.retryable) == ("endpoint_response_invalid", False)


@pytest.mark.parametrize("source", ["def f: f; f", "[range(1e12)]", 'reduce range(1e9) as $i ("x"; . + .)'])
async def test_a_filter_that_takes_too_much_is_the_agents_mistake(source: str) -> None:
    failed, _ = await failure(OK, {"response_transform": source})
    assert (failed.code, failed.data) == ("agent_misconfigured", {"field": "endpoint.response_transform"})


async def test_a_filter_sees_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "canary")
    result = await transformed(OK, "[env, $ENV] | map(del(.LC_CTYPE)) | tostring")
    assert result.text == "[{},{}]"


async def test_secrets_stand_in_the_path_the_headers_and_the_authentication() -> None:
    seen = await sent(
        {
            "url": "/v1/${TENANT}/run?key=${API_TOKEN}",
            "headers": {"X-Tenant": "t-${TENANT}"},
            "authentication": {"type": "bearer", "config": {"token": "${API_TOKEN}"}},
        }
    )
    assert seen.path == f"/v1/acme/1/run?key={SECRET}"
    assert (seen.headers["x-tenant"], seen.headers["authorization"]) == ("t-acme/1", f"Bearer {SECRET}")


async def test_a_secret_may_be_the_beginning_of_the_url() -> None:
    with serve(lambda _seen: OK) as server:
        await call({"url": "${BASE}/run"}, secrets={"BASE": server.url + "/api"})
    assert server.seen[0].path == "/api/run"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1${EVIL_HOST}/run",
        "http://127.0.0.1${EVIL_USER}/run",
        "http://${TENANT}/run",
        "http://127.0.0.1:${TENANT}/run",
        "http://${API_TOKEN}@127.0.0.1/run",
        "${BASE}.evil.example/run",
        "${BASE}@evil.example/run",
        "${BASE}${EVIL_HOST}",
        "${NO_ORIGIN}/run",
        "${WITH_USER}/run",
        "http://127.0.0.1:1/${CRLF}",
        "http:${SLASHES}evil.example/",
    ],
)
async def test_a_secret_never_changes_the_host(url: str) -> None:
    with pytest.raises(TaskFailure) as caught:
        await call({"url": url}, secrets={"BASE": "http://127.0.0.1:1", "SLASHES": "//"})
    assert (caught.value.code, caught.value.data) == ("agent_misconfigured", {"field": "endpoint.url"})


async def test_a_secret_with_a_line_break_makes_no_header() -> None:
    failed, server = await failure(OK, {"headers": {"X": "${CRLF}"}})
    assert (failed.code, failed.data, server.seen) == ("agent_misconfigured", {"field": "endpoint.headers"}, [])


async def test_secrets_are_not_put_into_templates() -> None:
    assert (await sent({"request_transform": {"a": "${API_TOKEN}"}})).json == {"a": "${API_TOKEN}"}


async def test_an_answer_without_transforms_needs_no_child() -> None:
    assert (await answered(OK)).text == "done"
