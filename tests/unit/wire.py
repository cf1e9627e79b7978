"""The streaming wire formats of the model providers, as their public API references give them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.unit.http_server import Reply, sse_reply

Event = tuple[str | None, Any]


def anthropic_events(
    pieces: Sequence[str], *, tool: str | None = None, stop: str = "end_turn", given: int = 25, written: int = 15
) -> list[Event]:
    """Return a Messages stream: text, or with `tool` the JSON arguments of a call of that tool."""
    block: dict[str, Any] = {"type": "text", "text": ""}
    if tool is not None:
        block = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}
    usage = {"input_tokens": given, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-3-5-sonnet-20241022",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }

    def delta(piece: str) -> dict[str, Any]:
        if tool is not None:
            return {"type": "input_json_delta", "partial_json": piece}
        return {"type": "text_delta", "text": piece}

    return [
        ("message_start", {"type": "message_start", "message": message}),
        ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}),
        *(
            ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta(piece)})
            for piece in pieces
        ),
        ("content_block_stop", {"type": "content_block_stop", "index": 0}),
        (
            "message_delta",
            {
                "type": "message_delta",
                "delta": {"stop_reason": stop, "stop_sequence": None},
                "usage": {"output_tokens": written},
            },
        ),
        ("message_stop", {"type": "message_stop"}),
    ]


def openai_events(
    pieces: Sequence[str], *, tool: str | None = None, stop: str = "stop", given: int = 30, written: int = 15
) -> list[Event]:
    """Return a Chat Completions stream with its usage."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt-4o",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }

    def delta(piece: str) -> dict[str, Any]:
        if tool is not None:
            return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        return {"content": piece}

    first: dict[str, Any] = {"role": "assistant", "content": None if tool else ""}
    if tool is not None:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": tool, "arguments": ""}}
        first["tool_calls"] = [call]
    usage = {
        "prompt_tokens": given,
        "completion_tokens": written,
        "total_tokens": given + written,
        "prompt_tokens_details": {"cached_tokens": 5},
    }
    return [
        (None, chunk(first)),
        *((None, chunk(delta(piece))) for piece in pieces),
        (None, chunk({}, stop)),
        (None, {**chunk({}), "choices": [], "usage": usage}),
        (None, "[DONE]"),
    ]


def google_events(
    pieces: Sequence[str], *, tool: str | None = None, stop: str = "STOP", given: int = 30, written: int = 15
) -> list[Event]:
    """Return a streamGenerateContent stream; a call of a tool comes in one piece."""
    usage = {
        "promptTokenCount": given,
        "candidatesTokenCount": written,
        "totalTokenCount": given + written,
        "cachedContentTokenCount": 5,
    }

    def event(parts: list[dict[str, Any]], reason: str | None = None) -> Event:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        if reason is not None:
            candidate["finishReason"] = reason
        return None, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.0-flash"}

    if tool is not None:
        return [event([{"functionCall": {"name": tool, "args": json.loads("".join(pieces))}}], stop)]
    return [*(event([{"text": piece}]) for piece in pieces), event([{"text": ""}], stop)]


EVENTS = {
    "anthropic": anthropic_events,
    "openai": openai_events,
    "ollama": openai_events,
    "google": google_events,
}
MODELS = {
    "anthropic": "claude-3-5-sonnet-20241022",
    "openai": "gpt-4o",
    "ollama": "llama3.2",
    "google": "gemini-2.0-flash",
}


def stream(provider: str, pieces: Sequence[str], *, chunk_delay: float = 0.0, **changes: Any) -> Reply:
    """Return the provider's answer that streams `pieces`, with a pause before each event."""
    return sse_reply(EVENTS[provider](pieces, **changes), chunk_delay=chunk_delay)


def error_body(provider: str, status: int, message: str) -> dict[str, Any]:
    """Return the provider's JSON for an error."""
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        404: "not_found_error",
        429: "rate_limit_error",
        500: "api_error",
        503: "api_error",
        529: "overloaded_error",
    }
    if provider == "anthropic":
        return {"type": "error", "error": {"type": kinds[status], "message": message}}
    if provider == "google":
        names = {
            400: "INVALID_ARGUMENT",
            401: "UNAUTHENTICATED",
            404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED",
            503: "UNAVAILABLE",
        }
        return {"error": {"code": status, "message": message, "status": names.get(status, "INTERNAL")}}
    return {"error": {"message": message, "type": kinds[status], "param": None, "code": None}}


def error_event(provider: str, status: int, message: str) -> Event:
    """Return the event by which the provider breaks off a stream that began with status 200."""
    return ("error" if provider == "anthropic" else None), error_body(provider, status, message)
