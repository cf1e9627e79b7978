"""Requests to a framework's server, through the door, and what goes wrong with them in our words.

Errors are told apart by their type and by the HTTP status, never by text. What the server says about an error is
quoted, cut short.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote as percent_encode

import httpx

from workers.agents.endpoint_status import failure_of_status
from workers.agents.external.wire import quote, translate
from workers.door import door_failure
from workers.errors import TaskFailure

MAX_RESPONSE_BYTES = 20_000_000
MAX_ID_CHARS = 512
# What an answer that is not what was agreed makes of our code, or of a library's.
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)
WIRE_ERRORS = (httpx.HTTPError, httpx.InvalidURL, *MALFORMED)
_SAYS = ("detail", "message", "error", "error_message")
_MAX_TROUBLES = 8


class Wire:
    """JSON requests to one server; `what` is how messages call it. Paths are relative to the client's base_url.

    Every method raises only `TaskFailure`, retryable where the request may be made again without harm.
    """

    def __init__(self, http: httpx.AsyncClient, what: str) -> None:
        self.http = http
        self.what = what

    async def ask(self, method: str, path: str, *, repeatable: bool = False, **sent: Any) -> Any:
        """Send one request and return its answer's JSON; None for an empty answer."""

        async def call() -> Any:
            response = await self.http.request(method, path, **sent)
            response.raise_for_status()
            return response.json() if response.content else None

        return await self.translated(call, repeatable=repeatable)

    async def surely(self, call: Callable[[], Awaitable[Any]], waits: Callable[[], float]) -> Any:
        """Make a call that may be repeated; what passes by itself is waited for, up to eight times."""
        for tries in range(1, _MAX_TROUBLES + 1):
            try:
                return await self.translated(call, repeatable=True)
            except TaskFailure as failure:
                if not failure.retryable or tries == _MAX_TROUBLES:
                    raise
                await asyncio.sleep(max(waits(), min(failure.retry_after or 0.0, 60.0)))
        raise AssertionError("the last try returns or raises")

    async def translated(self, call: Callable[[], Awaitable[Any]], *, repeatable: bool = False) -> Any:
        """Make a call of a framework's own client."""
        try:
            return await call()
        except WIRE_ERRORS as error:
            raise failure_of(error, self.what, repeatable=repeatable) from None


async def refuse_redirect(response: httpx.Response) -> None:
    """Raise HTTPStatusError for a redirect; a hook of an HTTP client, for libraries that let redirects pass."""
    if response.is_redirect:
        response.raise_for_status()


def failure_of(error: BaseException, what: str, *, repeatable: bool) -> TaskFailure:
    """Return how an attempt ends for an error of the wire; `repeatable` says that the request may be made again."""
    refused = door_failure(error)
    if refused is not None:
        return refused
    if isinstance(error, httpx.HTTPStatusError):
        return failure_of_status(error.response, what, repeatable=repeatable, said=_said(error.response))
    if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
        return translate(error, repeatable=repeatable, what=what)
    return invalid(what, "gave an answer that cannot be read")


def invalid(what: str, problem: str) -> TaskFailure:
    """Return the failure for an answer that is not what the framework's API promises."""
    return TaskFailure("endpoint_response_invalid", f"{what} {problem}.")


def known_id(value: object, what: str) -> str:
    """Return an id that a server gave, if it can be one.

    Raises:
        TaskFailure: endpoint_response_invalid.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS or not value.isprintable():
        raise invalid(what, "gave an id that is missing, too long or cannot be printed")
    return value


def is_unknown(failure: TaskFailure) -> bool:
    """Whether the server says that there is no such thing."""
    return failure.data is not None and failure.data.get("status") == httpx.codes.NOT_FOUND


def in_path(text: str) -> str:
    """Return a text as one segment of a path."""
    return "%2E" * len(text) if text in {".", ".."} else percent_encode(text, safe="")


def said_by(body: Any) -> str:
    """Return what a server's JSON says about an error; the whole of it when it says it nowhere known."""
    if isinstance(body, dict):
        for key in _SAYS:
            if body.get(key) not in (None, "", {}, []):
                return said_by(body[key])
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)


def _said(response: httpx.Response) -> str:
    try:
        text = response.content.decode("utf-8", errors="replace")
    except httpx.ResponseNotRead:
        return ""
    try:
        return quote(said_by(json.loads(text)))
    except (ValueError, RecursionError):
        return "" if text.lstrip().startswith("<") else quote(text)
