"""The connection to an A2A server: the official SDK's client, and its errors in our words.

Errors are told apart by their type and by the HTTP status behind them, never by text. What the server itself says
about an error is quoted, cut short.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote as percent_encode

import httpx
from a2a.client import A2AClientError, Client
from a2a.client.errors import A2AClientTimeoutError
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
)
from a2a.utils.errors import A2AError, InternalError, TaskNotFoundError, VersionNotSupportedError
from google.protobuf.json_format import ParseError

from workers.agents.endpoint_status import failure_of_status
from workers.clean import clean_text
from workers.door import door_failure
from workers.errors import TaskFailure

_MAX_QUOTED = 1000
# What the SDK lets through when a server's answer is not what it expects.
_MALFORMED = (ParseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
WIRE_ERRORS = (A2AError, httpx.HTTPError, httpx.InvalidURL, *_MALFORMED)


class Wire:
    """Calls of one A2A server.

    Every method raises only `TaskFailure`, retryable where the call may be made again without harm. `ids_in_path` says
    that the binding puts a task's id, which the server made up, into the path of a URL.
    """

    def __init__(self, client: Client, *, ids_in_path: bool = False) -> None:
        self._client = client
        self._ids_in_path = ids_in_path

    async def send(self, request: SendMessageRequest) -> AsyncGenerator[StreamResponse, None]:
        """Send a message and yield what the server says to it: a stream if it has one, else one answer."""
        # Whether the server took a message whose answer is lost, nobody knows.
        async for event in _events(self._client.send_message(request), repeatable=False):
            yield event

    async def subscribe(self, task_id: str) -> AsyncGenerator[StreamResponse, None]:
        """Yield what happens to a task from now on, after the task as it is."""
        async for event in _events(
            self._client.subscribe(SubscribeToTaskRequest(id=self._id(task_id))), repeatable=True
        ):
            yield event

    async def get(self, task_id: str) -> Task:
        """Return a task as it is."""
        try:
            return await self._client.get_task(GetTaskRequest(id=self._id(task_id)))
        except WIRE_ERRORS as error:
            raise translate(error, repeatable=True) from None

    async def cancel(self, task_id: str) -> None:
        """Ask the server to stop a task."""
        try:
            await self._client.cancel_task(CancelTaskRequest(id=self._id(task_id)))
        except WIRE_ERRORS as error:
            raise translate(error, repeatable=True) from None

    def _id(self, task_id: str) -> str:
        return percent_encode(task_id, safe="") if self._ids_in_path else task_id


async def _events(stream: Any, *, repeatable: bool) -> AsyncGenerator[StreamResponse, None]:
    try:
        async with aclosing(stream) as events:
            async for event in events:
                yield event
    except WIRE_ERRORS as error:
        raise translate(error, repeatable=repeatable) from None


def translate(error: BaseException, *, repeatable: bool, what: str = "The external agent") -> TaskFailure:
    """Return how an attempt ends for an error of the wire; `repeatable` says that the call may be made again."""
    causes = list(_causes(error))
    failure = door_failure(error)
    if failure is not None:
        return failure
    if isinstance(error, A2AError) and not isinstance(error, A2AClientError):
        return _told_by_server(error, repeatable=repeatable)
    for cause in causes:
        if isinstance(cause, httpx.HTTPStatusError):
            return failure_of_status(cause.response, what, repeatable=repeatable)
    failure = _by_transport(causes, repeatable=repeatable, what=what)
    if failure is not None:
        return failure
    if any(isinstance(cause, _MALFORMED) for cause in causes):
        return TaskFailure("endpoint_response_invalid", f"{what} gave an answer that A2A does not know.")
    # An error with a code that the SDK has no class for.
    return TaskFailure("endpoint_error", f"{what} answered with an error: {quote(str(error))}")


def _by_transport(causes: list[BaseException], *, repeatable: bool, what: str) -> TaskFailure | None:
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        problem = f"{what} cannot be reached: its TLS certificate or handshake is not valid."
        return TaskFailure("endpoint_unreachable", problem, data={"reason": "tls"})
    for cause in causes:
        if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            data = {"reason": type(cause).__name__}
            return TaskFailure("endpoint_unreachable", f"{what} cannot be reached.", retryable=True, data=data)
        if isinstance(cause, httpx.TimeoutException | A2AClientTimeoutError):
            return TaskFailure("timeout", f"{what} did not answer in time.", retryable=repeatable)
        if isinstance(cause, httpx.RequestError):
            return TaskFailure(
                "endpoint_response_invalid",
                f"{what} broke off its answer, or it is not valid HTTP.",
                retryable=repeatable,
                data={"reason": type(cause).__name__},
            )
    return None


def quote(text: str, limit: int = _MAX_QUOTED) -> str:
    """Return what somebody else said, fit for a message of ours: storable, and cut short."""
    text = clean_text(text).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, at most ten."""
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _told_by_server(error: A2AError, *, repeatable: bool) -> TaskFailure:
    name = type(error).__name__
    if isinstance(error, TaskNotFoundError):
        problem = "The external agent does not know the task any more: it is sent again with the next attempt."
        return TaskFailure("remote_task_lost", problem, retryable=True)
    if isinstance(error, VersionNotSupportedError):
        problem = "The external agent does not support the version of A2A that its card names."
        return TaskFailure("protocol_unsupported", problem, data={"error": name})
    return TaskFailure(
        "endpoint_error",
        f"The external agent answered with an error: {quote(error.message)}",
        retryable=repeatable and isinstance(error, InternalError),
        data={"error": name},
    )
