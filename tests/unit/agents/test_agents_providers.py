"""Providers in trouble: how each of the four says so on the wire, and what becomes of the attempt."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.unit.agents.test_agents_context import ask, failure
from tests.unit.http_server import Reply, json_reply, serve, sse_reply
from tests.unit.wire import EVENTS, error_body, error_event
from workers.errors import TaskFailure

ALL = sorted(EVENTS)


def limited(provider: str, **headers: str) -> Reply:
    return json_reply(error_body(provider, 429, "slow down"), 429, **headers)


@pytest.mark.parametrize("provider", ALL)
async def test_the_wait_is_what_the_provider_says_in_seconds_or_as_a_date(provider: str) -> None:
    failed, _ = await failure(provider, limited(provider, Retry_After="17"))
    assert (failed.code, failed.retry_after) == ("provider_rate_limited", 17)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    failed, _ = await failure(provider, limited(provider, Retry_After=date))
    assert failed.retry_after is not None
    assert 30 < failed.retry_after <= 60


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("value", ["soon", "-5", "", "1e999", "Wed, 99 Foo"])
async def test_a_wait_that_makes_no_sense_is_none(provider: str, value: str) -> None:
    failed, _ = await failure(provider, limited(provider, Retry_After=value))
    assert (failed.code, failed.retryable, failed.retry_after) == ("provider_rate_limited", True, None)


async def test_the_providers_own_ways_to_say_how_long() -> None:
    failed, _ = await failure("openai", limited("openai", retry_after_ms="1500"))
    assert failed.retry_after == 1.5
    body = error_body("google", 429, "slow down")
    body["error"]["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "14s"}]
    failed, _ = await failure("google", json_reply(body, 429))
    assert failed.retry_after == 14


async def test_a_quota_that_is_used_up_is_not_tried_again() -> None:
    body = {"error": {"message": "no more", "type": "insufficient_quota", "code": "insufficient_quota"}}
    failed, _ = await failure("openai", json_reply(body, 429))
    assert (failed.code, failed.retryable) == ("provider_rate_limited", False)


TOO_LONG: dict[str, Any] = {
    "anthropic": (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    "google": (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    "openai": (400, "This model's maximum context length is 128000 tokens."),
    "ollama": (400, "This model's maximum context length is 8192 tokens."),
}


@pytest.mark.parametrize("provider", ALL)
async def test_a_prompt_that_is_too_long_is_told_apart(provider: str) -> None:
    status, message = TOO_LONG[provider]
    body = error_body(provider, status, message)
    if provider in {"openai", "ollama"}:
        body["error"]["code"] = "context_length_exceeded"
    failed, _ = await failure(provider, json_reply(body, status))
    assert (failed.code, failed.retryable) == ("context_too_long", False)


BUSY = [(500, "provider_unavailable"), (503, "provider_unavailable"), (429, "provider_rate_limited")]


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(("status", "code"), BUSY)
async def test_an_error_within_a_stream_that_began_well_is_no_answer(provider: str, status: int, code: str) -> None:
    events = EVENTS[provider](["Hello ", "world"])
    reply = sse_reply([*events[: 1 if provider == "google" else 3], error_event(provider, status, "in the middle")])
    failed, server = await failure(provider, reply)
    assert failed.retryable is True
    assert failed.code in {code, "provider_unavailable", "provider_overloaded"}
    assert len(server.seen) == 1
    if provider in {"anthropic", "google"}:
        assert failed.usage[0].input_tokens == 30, "the tokens that were reported are lost"


@pytest.mark.parametrize("provider", ALL)
async def test_a_stream_that_falls_silent_is_a_timeout(provider: str) -> None:
    events = EVENTS[provider](["Hello ", "world"])
    head = sse_reply(events[:1]).chunks[0]
    started = time.monotonic()
    failed, _ = await failure(provider, Reply(200, {"Content-Type": "text/event-stream"}, [head, b": x\n\n"], 0, 4))
    assert (failed.code, failed.retryable) == ("timeout", True)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("provider", ALL)
async def test_a_slow_stream_is_an_answer_all_the_same(provider: str) -> None:
    pieces = ["a"] * 10
    with serve(lambda _seen: sse_reply(EVENTS[provider](pieces), chunk_delay=0.05)) as server:
        assert (await ask(provider, server.url)).text == "a" * 10


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"42", b'"x"', b'{"error": null}', b"\xff\xfe", b"{" * 5000])
async def test_an_error_whose_body_is_garbage_keeps_its_status(provider: str, body: bytes) -> None:
    for status, code in ((401, "provider_auth_failed"), (500, "provider_unavailable")):
        failed, _ = await failure(provider, Reply(status, {"Content-Type": "application/json"}, [body] if body else []))
        assert failed.code == code
        json.dumps([failed.message, failed.data])


async def test_nothing_of_a_refusal_is_longer_than_it_need_be() -> None:
    failed, _ = await failure("openai", json_reply(error_body("openai", 400, "x" * 100_000), 400))
    assert isinstance(failed, TaskFailure)
    assert len(failed.message) < 500
