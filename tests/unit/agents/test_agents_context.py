"""Context agents against real HTTP servers that speak the providers' streaming wire formats."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.agents.context_kit import KEY, Heard, context_agents
from tests.unit.http_server import Reply, Seen, Server, json_reply, serve, sse_reply
from tests.unit.wire import EVENTS, MODELS, error_body, stream
from workers.agents.result import AgentResult
from workers.contract import AgentRow, ClaimedTask, TaskRow, Turn
from workers.errors import TaskFailure

ALL = sorted(EVENTS)
STRUCTURED = {
    "output": {
        "type": "object",
        "required": ["title", "content"],
        "properties": {"title": {"type": "string"}, "content": {"type": "string"}},
    }
}
TOOL_STOP = {"anthropic": "tool_use", "google": "STOP", "openai": "tool_calls", "ollama": "tool_calls"}
REFUSAL = {"anthropic": "refusal", "google": "SAFETY", "openai": "content_filter", "ollama": "content_filter"}
TOO_LONG = {"anthropic": "max_tokens", "google": "MAX_TOKENS", "openai": "length", "ollama": "length"}


async def ask(provider: str, url: str, heard: Heard | None = None, **changes: Any) -> AgentResult:
    """Run one attempt against the provider at `url`."""
    parameters = {"temperature": 0.5, "maxTokens": 123, "topP": 0.9}
    llm_config = changes.pop("llm_config", {"provider": provider, "model": MODELS[provider], "parameters": parameters})
    io_schema = changes.pop("io_schema", {})
    history = (Turn("user", "Earlier question"), Turn("assistant", "Earlier answer"))
    task = TaskRow("t1", "demo-org", "process", "Hello?", 3, **changes)
    agent = AgentRow("a", "A", "context", "Be kind.", "active", io_schema=io_schema, llm_config=llm_config)
    claimed = ClaimedTask(task, agent, 1, "token", history=history)
    async with context_agents(provider, url) as agents:
        result: AgentResult = await agents.run(claimed, agent, heard or Heard())
    return result


async def failure(provider: str, answer: Reply | Callable[[Seen], Reply], **changes: Any) -> tuple[TaskFailure, Server]:
    """Run one attempt that must fail; no failure may show the key."""
    reply: Callable[[Seen], Reply] = answer if callable(answer) else lambda _seen: answer
    with serve(reply) as server, pytest.raises(TaskFailure) as caught:
        await ask(provider, server.url, **changes)
    assert KEY not in json.dumps([caught.value.message, caught.value.data])
    return caught.value, server


@pytest.mark.parametrize("provider", ALL)
async def test_an_answer_is_streamed_and_its_tokens_and_cost_are_counted(provider: str) -> None:
    heard = Heard()
    with serve(lambda _seen: stream(provider, ["# Hel", "lo\n", "wörld 🐚"])) as server:
        result = await ask(provider, server.url, heard)
    assert result.text == heard.text == "# Hello\nwörld 🐚"
    assert heard.steps[:2] == [30, 50]
    assert heard.steps == sorted(heard.steps)
    assert heard.steps[-1] <= 95
    (row,) = result.usage
    assert (row.provider, row.model) == (provider, MODELS[provider])
    assert (row.input_tokens, row.output_tokens, row.cached_tokens) == (30, 15, 5)
    usage = result.llm_metadata["usage"]
    assert usage["total_tokens"] == 45
    assert result.llm_metadata["finish_reason"] == "stop"
    assert result.llm_metadata["duration_ms"] >= 0
    if provider == "ollama":
        assert (row.cost, row.price_version) == (None, None)
        assert "No price is known" in result.llm_metadata["warnings"][0]
    else:
        assert row.cost is not None
        assert 0 < row.cost < 0.01
        assert row.price_version is not None
        assert row.price_version.startswith("genai-prices/")


@pytest.mark.parametrize("provider", ALL)
async def test_the_request_holds_the_context_the_history_the_prompt_and_the_parameters(provider: str) -> None:
    with serve(lambda _seen: stream(provider, ["ok"])) as server:
        await ask(provider, server.url, params={"tone": "dry"})
    (seen,) = server.seen
    body = seen.json
    text = json.dumps(body)
    places = [text.index(part) for part in ("Earlier question", "Earlier answer", "Hello?")]
    assert places == sorted(places)
    assert "Be kind." in text, "the system prompt is missing"
    assert '\\"tone\\": \\"dry\\"' in text
    settings = body["generationConfig"] if provider == "google" else body
    assert settings["temperature"] == 0.5
    assert 123 in settings.values()
    assert 0.9 in settings.values()
    assert any(KEY in value for value in seen.headers.values())


@pytest.mark.parametrize("provider", ALL)
async def test_a_structured_answer_is_asked_for_checked_and_its_text_streamed(provider: str) -> None:
    pieces = ['{"title": "T", "cont', 'ent": "Bo', 'dy"}']
    heard = Heard()
    with serve(lambda _seen: stream(provider, pieces, tool="answer", stop=TOOL_STOP[provider])) as server:
        result = await ask(provider, server.url, heard, io_schema=STRUCTURED)
    assert result.document == {"title": "T", "content": "Body"}
    assert (result.text, result.title) == ("Body", "T")
    assert heard.text == "Body"
    assert '"title"' in server.seen[0].body.decode()


@pytest.mark.parametrize("provider", ALL)
async def test_a_structured_answer_that_breaks_the_schema_fails_and_its_tokens_are_kept(provider: str) -> None:
    answer = stream(provider, ['{"title": 5}'], tool="answer", stop=TOOL_STOP[provider])
    failed, server = await failure(provider, answer, io_schema=STRUCTURED)
    assert (failed.code, failed.retryable) == ("output_invalid", True)
    assert failed.data is not None
    assert {problem["path"] for problem in failed.data["problems"]} == {"$", "$.title"}
    assert [(row.input_tokens, row.output_tokens) for row in failed.usage] == [(60, 30)]
    assert len(server.seen) == 2
    assert "required property" in server.seen[1].body.decode(), "the model is told what is wrong"


@pytest.mark.parametrize("provider", ALL)
async def test_an_answer_that_breaks_the_schema_is_mended_once(provider: str) -> None:
    answers = [['{"title": 5}'], ['{"title": "T", "content": "Body"}']]
    replies = [stream(provider, pieces, tool="answer", stop=TOOL_STOP[provider]) for pieces in answers]
    heard = Heard()
    with serve(lambda _seen: replies.pop(0)) as server:
        result = await ask(provider, server.url, heard, io_schema=STRUCTURED)
    assert (result.document, heard.text) == ({"title": "T", "content": "Body"}, "Body")
    assert [(row.input_tokens, row.output_tokens) for row in result.usage] == [(60, 30)]
    assert result.llm_metadata["requests"] == 2


@pytest.mark.parametrize("provider", ALL)
async def test_text_where_a_structured_answer_was_asked_for_is_invalid(provider: str) -> None:
    failed, server = await failure(provider, stream(provider, ["No."]), io_schema=STRUCTURED)
    assert (failed.code, len(failed.usage), len(server.seen)) == ("output_invalid", 1, 2)


async def test_a_schema_of_one_text_is_answered_with_plain_text_and_still_checked() -> None:
    schema = {"output": {"type": "object", "properties": {"result": {"type": "string", "minLength": 5}}}}
    with serve(lambda _seen: stream("openai", ["long enough"])) as server:
        result = await ask("openai", server.url, io_schema=schema)
    assert (result.text, result.document) == ("long enough", None)
    failed, _ = await failure("openai", stream("openai", ["no"]), io_schema=schema)
    assert failed.code == "output_invalid"


ERRORS = [
    (400, "agent_misconfigured", False),
    (401, "provider_auth_failed", False),
    (404, "agent_misconfigured", False),
    (429, "provider_rate_limited", True),
    (500, "provider_unavailable", True),
]


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(("status", "code", "retryable"), ERRORS)
async def test_errors_become_stable_codes_and_are_not_tried_again_by_the_sdk(
    provider: str, status: int, code: str, retryable: bool
) -> None:
    reply = json_reply(error_body(provider, status, "what went wrong"), status, Retry_After="17")
    failed, server = await failure(provider, reply)
    assert (failed.code, failed.retryable) == (code, retryable)
    assert failed.retry_after == (17 if retryable else None)
    assert failed.data is not None
    assert failed.data["status"] == status
    assert len(server.seen) == 1


async def test_a_refused_key_names_the_variable() -> None:
    failed, _ = await failure("google", json_reply(error_body("google", 401, "no"), 401))
    assert "GOOGLE_API_KEY" in failed.message


async def test_an_unknown_model_names_the_field() -> None:
    failed, _ = await failure("anthropic", json_reply(error_body("anthropic", 404, "no"), 404))
    assert "llm_config.model" in failed.message


async def test_overload_is_told_apart_also_within_a_stream() -> None:
    failed, _ = await failure("anthropic", json_reply(error_body("anthropic", 529, "busy"), 529))
    assert (failed.code, failed.retryable) == ("provider_overloaded", True)
    events = [*EVENTS["anthropic"](["Hello"])[:3], ("error", error_body("anthropic", 529, "busy"))]
    failed, _ = await failure("anthropic", sse_reply(events))
    assert (failed.code, failed.retryable) == ("provider_overloaded", True)
    assert failed.usage[0].input_tokens == 30


async def test_a_context_that_is_too_long_is_told_apart() -> None:
    body = {"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}
    failed, _ = await failure("openai", json_reply(body, 400))
    assert (failed.code, failed.retryable) == ("context_too_long", False)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("cut", [True, False], ids=["connection broken", "ended early"])
async def test_a_stream_cut_in_the_middle_is_not_an_answer(provider: str, cut: bool) -> None:
    events = EVENTS[provider](["Hello ", "world"])
    failed, _ = await failure(provider, sse_reply(events[: 1 if provider == "google" else 3], cut=cut))
    assert (failed.code, failed.retryable) == ("provider_unavailable", True)
    if provider in {"anthropic", "google"}:
        assert failed.usage[0].input_tokens == 30, "the tokens that were reported are lost"


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    "reply",
    [
        sse_reply([(None, "{not json")]),
        Reply(200, {"Content-Type": "text/html"}, [b"<html>A login page</html>"]),
        Reply(raw=b"garbage\r\n\r\n"),
        Reply(raw=b""),
    ],
    ids=["bad events", "a web page", "no http", "nothing"],
)
async def test_garbage_fails_and_may_be_tried_again(provider: str, reply: Reply) -> None:
    failed, _ = await failure(provider, reply)
    assert failed.code in {"provider_unavailable", "output_invalid"}
    assert failed.retryable is True


@pytest.mark.parametrize("provider", ALL)
async def test_nobody_at_the_address_is_unavailable(provider: str) -> None:
    with serve(lambda _seen: Reply()) as server:
        url = server.url
    with pytest.raises(TaskFailure) as caught:
        await ask(provider, url)
    assert (caught.value.code, caught.value.retryable) == ("provider_unavailable", True)


async def test_silence_is_a_timeout() -> None:
    failed, _ = await failure("openai", Reply(delay=30))
    assert (failed.code, failed.retryable) == ("timeout", True)


@pytest.mark.parametrize("provider", ALL)
async def test_refused_content_is_not_delivered_even_in_part(provider: str) -> None:
    failed, _ = await failure(provider, stream(provider, ["Well, first you"], stop=REFUSAL[provider]))
    assert (failed.code, failed.retryable) == ("provider_refused", False)
    assert failed.usage[0].output_tokens == 15


@pytest.mark.parametrize("provider", ALL)
async def test_an_answer_that_hit_its_limit_is_kept_with_a_warning(provider: str) -> None:
    with serve(lambda _seen: stream(provider, ["As far as"], stop=TOO_LONG[provider])) as server:
        result = await ask(provider, server.url)
    assert result.text == "As far as"
    assert result.llm_metadata["finish_reason"] == "length"
    assert any("cut off" in warning for warning in result.llm_metadata["warnings"])


@pytest.mark.parametrize("provider", ALL)
async def test_an_empty_answer_is_invalid(provider: str) -> None:
    failed, _ = await failure(provider, stream(provider, []))
    assert (failed.code, failed.retryable) == ("output_invalid", True)


@pytest.mark.parametrize("provider", ALL)
async def test_an_endless_answer_is_stopped_at_its_limit(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of the real one, which costs the SDKs seconds.
    monkeypatch.setattr("workers.agents.live.MAX_RESPONSE_CHARS", 1_000_000)
    failed, _ = await failure(provider, stream(provider, ["x" * 100_000] * 12))
    assert (failed.code, failed.retryable) == ("response_too_large", False)


async def test_an_answer_that_is_too_large_is_stopped_by_its_characters() -> None:
    failed, _ = await failure("openai", stream("openai", ["x" * 1_000_000] * 12))
    assert (failed.code, failed.retryable) == ("response_too_large", False)
    assert "10000000 characters" in failed.message


async def test_a_model_without_a_price_keeps_its_tokens() -> None:
    config = {"provider": "openai", "model": "my-own-model"}
    with serve(lambda _seen: stream("openai", ["ok"])) as server:
        result = await ask("openai", server.url, llm_config=config)
    assert (result.usage[0].cost, result.usage[0].input_tokens) == (None, 30)
    assert "my-own-model" in result.llm_metadata["warnings"][0]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (None, "llm_config"),
        ({"provider": "anthropic"}, "llm_config.model"),
        ({"provider": "google", "model": "models/m:countTokens#"}, "llm_config.model"),
        ({"provider": "google", "model": "%2e%2e/cachedContents?x="}, "llm_config.model"),
        ({"provider": "nobody", "model": "m"}, "llm_config.provider"),
        ({"provider": "openai", "model": "m", "parameters": {"temprature": 1}}, "llm_config.parameters.temprature"),
        (
            {"provider": "openai", "model": "m", "parameters": {"temperature": "hot"}},
            "llm_config.parameters.temperature",
        ),
        ({"provider": "openai", "model": "m", "parameters": {"maxTokens": 0}}, "llm_config.parameters.maxTokens"),
        ({"provider": "openai", "model": "m", "api_key": "sk"}, "llm_config.api_key"),
        ({"provider": "openai", "model": "m", "base_url": "http://x"}, "llm_config.base_url"),
    ],
)
async def test_a_setting_that_is_wrong_or_unknown_is_refused_by_name(config: Any, field: str) -> None:
    failed, server = await failure("openai", Reply(), llm_config=config)
    assert failed.code == "agent_misconfigured"
    assert failed.data is not None
    assert failed.data["field"] == field
    assert server.seen == []


async def test_a_provider_without_a_key_fails_and_names_the_operators_variable() -> None:
    failed, server = await failure("openai", Reply(), llm_config={"provider": "anthropic", "model": "claude-x"})
    assert (failed.code, failed.retryable) == ("provider_key_missing", False)
    assert "ANTHROPIC_API_KEY" in failed.message
    assert server.seen == []


async def test_many_streams_run_at_once() -> None:
    started = time.monotonic()
    with serve(lambda _seen: stream("openai", ["a"] * 5, chunk_delay=0.1)) as server:
        await ask("openai", server.url)  # the first use imports the SDK
        started = time.monotonic()
        await asyncio.gather(*(ask("openai", server.url) for _ in range(5)))
    assert time.monotonic() - started < 5 * 0.7
