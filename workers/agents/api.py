"""Api agents: one HTTP request to the agent's endpoint, and its answer as the result.

The request's JSON body is::

    {"taskId": "…", "prompt": "…", "params": {…}, "context": "the agent's context",
     "history": [{"role": "user" | "assistant", "content": "…"}, …]}

and for GET the query `taskId` and `prompt`. A JSON answer gives its text as the first of `content`, `result`,
`summary`, `message`, `output`, at the top or under `data`; without any of them the whole JSON is the deliverable. Text
answers are taken as they are.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from workers.agents.documents import check_output, is_object_schema, plain_text_property, schema_of, title_of
from workers.agents.endpoint import Endpoint, read_endpoint
from workers.agents.result import AgentResult, Reporter
from workers.contract import AgentRow, ClaimedTask, Format
from workers.door import Door, DoorError, door_failure
from workers.errors import TaskFailure

MAX_RESPONSE_BYTES = 10_000_000
_CALLED, _ANSWERED = 50.0, 95.0
_TEXT_KEYS = ("content", "result", "summary", "message", "output")
_TEXT_FORMATS: Mapping[str, Format] = {"text/html": "html", "text/markdown": "markdown", "text/plain": "text"}


class ApiAgents:
    """Runs agents of type `api` through the door."""

    def __init__(self, door: Door, *, max_response_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self._door = door
        self._max_bytes = max_response_bytes

    async def run(self, claimed: ClaimedTask, agent: AgentRow, reporter: Reporter) -> AgentResult:
        """Run one attempt.

        Raises:
            TaskFailure: with a message that holds no header and nothing of the endpoint's answer.
        """
        endpoint = read_endpoint(agent.endpoint)
        reporter.progress(_CALLED, "Endpoint called")
        door = self._door.client(
            claimed.allowed_hosts,
            timeout=endpoint.timeout,
            max_bytes=self._max_bytes,
            organization=claimed.task.organization_slug,
        )
        async with door as http:
            response, body = await self._call(http, endpoint, _arguments(endpoint, claimed, agent))
        reporter.progress(_ANSWERED, "Endpoint answered")
        return _result(agent, response, body)

    async def _call(
        self, http: httpx.AsyncClient, endpoint: Endpoint, arguments: dict[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        """Send the request and read its answer within the endpoint's timeout and the cap on its size."""
        limit = asyncio.timeout(endpoint.timeout)
        try:
            async with limit:
                request = http.build_request(endpoint.method, endpoint.url, headers=dict(endpoint.headers), **arguments)
                response = await http.send(request, stream=True)
                try:
                    _check_status(response)
                    return response, await response.aread()
                finally:
                    await response.aclose()
        except DoorError as error:
            raise door_failure(error) or error from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _unreachable(error) from None
        except httpx.TimeoutException:
            raise _timed_out(endpoint) from None
        except TimeoutError:
            if limit.expired():
                raise _timed_out(endpoint) from None
            raise
        except (httpx.RemoteProtocolError, httpx.DecodingError, httpx.ReadError) as error:
            raise TaskFailure(
                "endpoint_response_invalid",
                "The endpoint's answer broke off or is not valid HTTP.",
                retryable=True,
                data={"reason": type(error).__name__},
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TaskFailure(
                "endpoint_unreachable",
                "The request to the endpoint could not be sent.",
                retryable=True,
                data={"reason": type(error).__name__},
            ) from None


def _arguments(endpoint: Endpoint, claimed: ClaimedTask, agent: AgentRow) -> dict[str, Any]:
    """Return the query or the body of the request, as arguments of the HTTP client."""
    task = claimed.task
    if endpoint.method == "GET":
        return {"params": {**endpoint.url.params, "taskId": task.id, "prompt": task.prompt}}
    body = {
        "taskId": task.id,
        "prompt": task.prompt,
        "params": task.params if task.params is not None else {},
        "context": agent.context,
        "history": [asdict(turn) for turn in claimed.history],
    }
    return {"json": body}


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if response.is_success:
        return
    if response.is_redirect:
        raise TaskFailure(
            "endpoint_error",
            f"The endpoint redirects (status {status}), which is not followed: set endpoint.url to where it leads.",
            data={"status": status},
        )
    raise TaskFailure(
        "endpoint_error",
        f"The endpoint answered with status {status}.",
        retryable=status == 429 or status >= 500,
        retry_after=_retry_after(response.headers.get("retry-after")),
        data={"status": status},
    )


def _retry_after(value: str | None) -> float | None:
    """Return a Retry-After header in seconds; it holds seconds or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else None


def _unreachable(error: httpx.TransportError) -> TaskFailure:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return TaskFailure(
            "endpoint_unreachable", "The endpoint's TLS certificate or handshake is not valid.", data={"reason": "tls"}
        )
    return TaskFailure(
        "endpoint_unreachable",
        "The endpoint cannot be reached.",
        retryable=True,
        data={"reason": type(error).__name__},
    )


def _timed_out(endpoint: Endpoint) -> TaskFailure:
    return TaskFailure(
        "timeout", f"The endpoint did not answer within its {endpoint.timeout:g} seconds.", retryable=True
    )


def _result(agent: AgentRow, response: httpx.Response, body: bytes) -> AgentResult:
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    metadata = {"endpoint": {"status": response.status_code, "content_type": content_type or None}}
    schema = schema_of(agent, "output")
    if content_type.startswith("text/"):
        text = _decode(response, body)
        if schema is not None and is_object_schema(schema):
            name = plain_text_property(schema)
            check_output({name: text} if name is not None else text, schema, retryable=False)
        return AgentResult(
            text=_not_empty(text), format=_TEXT_FORMATS.get(content_type, "text"), response_metadata=metadata
        )
    document = _parse_json(body)
    inner = document.get("data") if isinstance(document, dict) else None
    if schema is not None:
        _check_document(document, inner, schema)
    text, text_format = _text_in(document, inner)
    return AgentResult(
        text=_not_empty(text),
        document=document,
        title=title_of(document) or title_of(inner),
        format=text_format,
        response_metadata=metadata,
    )


def _check_document(document: Any, inner: Any, schema: dict[str, Any]) -> None:
    """Check the answer against the schema; an answer wrapped in `data` may satisfy it inside."""
    try:
        check_output(document, schema, retryable=False)
    except TaskFailure:
        if not isinstance(inner, dict):
            raise
        check_output(inner, schema, retryable=False)


def _text_in(document: Any, inner: Any) -> tuple[str, Format | None]:
    for place in (document, inner):
        for key in _TEXT_KEYS if isinstance(place, dict) else ():
            if isinstance(place.get(key), str) and place[key].strip():
                return place[key], None
    if isinstance(document, str):
        return document, None
    return json.dumps(document, ensure_ascii=False, indent=2), "json"


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise TaskFailure(
            "endpoint_response_invalid", "The endpoint's answer is neither JSON nor declared as text."
        ) from None


def _decode(response: httpx.Response, body: bytes) -> str:
    try:
        return body.decode(response.charset_encoding or "utf-8", errors="replace")
    except (LookupError, UnicodeError):
        return body.decode("utf-8", errors="replace")


def _not_empty(text: str) -> str:
    if not text.strip():
        raise TaskFailure("endpoint_response_invalid", "The endpoint answered with nothing.")
    return text
