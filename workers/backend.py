"""The only door to the database: the Supabase client, its RPCs, and its errors in our words.

No other module imports supabase or postgrest. Errors are translated by HTTP status and SQLSTATE, never by text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import httpx
import supabase
from supabase.lib.client_options import AsyncClientOptions

from workers.contract import ExchangeAnswer, parse_answer
from workers.errors import (
    AnswerUnreadable,
    BackendError,
    BackendOutdated,
    BackendRefused,
    BackendRejected,
    BackendTooLarge,
    BackendUnavailable,
)
from workers.lenient import read_damaged_json

# SQLSTATE classes and PostgREST codes that pass by themselves: connection, conflict, resources, operator, system.
_PASSING = ("08", "40", "53", "57", "58", "PGRST000", "PGRST001", "PGRST002", "PGRST003")
# The body of the answer to the call that is being made; the client only hands out what it could parse.
_BODY: ContextVar[bytes] = ContextVar("body")
_UNKNOWN_FUNCTION = ("PGRST202", "42883")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRequest:
    """One exchange; sent again with the same `request_id` and content it acts once."""

    request_id: str
    report: Mapping[str, Any]
    max_tasks: int
    lease_seconds: int
    methods: Sequence[str] | None = None
    organizations: Sequence[str] | None = None


class Backend(Protocol):
    """What a worker needs of the database. Every method raises only `BackendError`."""

    async def register_worker(self, worker_id: str, info: Mapping[str, Any]) -> None:
        """Make the worker known, or known again; `info` describes its process."""

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:
        """Tell what happened and take work."""

    async def stop_worker(self, worker_id: str) -> None:
        """Mark the worker as stopped."""


@asynccontextmanager
async def connect(url: str, key: str, *, key_variable: str, timeout_seconds: float) -> AsyncIterator[Backend]:
    """Yield a backend on one HTTP connection pool that is reused for every call and closed at the end.

    `key_variable` names the setting that holds `key`, for the message when the key is not accepted.
    """
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
    timeout = httpx.Timeout(timeout_seconds, connect=min(5.0, timeout_seconds))
    hooks = {"response": [_look_at]}
    async with httpx.AsyncClient(http2=True, limits=limits, timeout=timeout, event_hooks=hooks) as http:
        options = AsyncClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
        client = await supabase.acreate_client(url, key, options)
        yield _SupabaseBackend(client, key_variable)


class _SupabaseBackend:
    """The backend over PostgREST."""

    def __init__(self, client: supabase.AsyncClient, key_variable: str) -> None:
        self._client = client
        self._key_variable = key_variable

    async def register_worker(self, worker_id: str, info: Mapping[str, Any]) -> None:
        await self._call("register_worker", {"worker_id": worker_id, "info": dict(info)})

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:
        arguments = {
            "worker_id": worker_id,
            "request_id": request.request_id,
            "report": request.report,
            "max_tasks": request.max_tasks,
            "lease_seconds": request.lease_seconds,
            "methods": request.methods,
            "organizations": request.organizations,
        }
        try:
            return parse_answer(await self._call("exchange_work", arguments))
        except BackendOutdated as error:
            # The worker has registered, so the function was there: a migration or a schema reload is going on.
            raise BackendUnavailable(str(error)) from error
        except _UnparsedError:
            return parse_answer(_read_damaged(_BODY.get()), damaged=True)

    async def stop_worker(self, worker_id: str) -> None:
        await self._call("stop_worker", {"worker_id": worker_id})

    async def _call(self, function: str, params: dict[str, Any]) -> object:
        try:
            return (await self._client.rpc(function, params).execute()).data
        except _StatusError as failure:
            raise self._translate(function, failure) from None
        except httpx.HTTPError as error:
            raise BackendUnavailable(f"{function} got no answer: {type(error).__name__}") from error
        except (ValueError, RecursionError):
            raise _UnparsedError(f"{function} answered with JSON that cannot be read") from None

    def _translate(self, function: str, failure: _StatusError) -> BackendError:
        summary = f"{function} answered {failure.status} {failure.code}"
        if failure.status in {401, 403}:
            return BackendRefused(
                f"{summary}: the database does not accept the key in {self._key_variable}. It must be this project's "
                f"service key (service_role or sb_secret), not the anonymous one. {failure.token}"
            )
        if failure.code in _UNKNOWN_FUNCTION:
            return BackendOutdated(failure.code, f"{function} is missing: apply supabase/migrations to this database")
        if failure.code.startswith(_PASSING) or (failure.status >= 500 and not failure.code):
            return BackendUnavailable(summary)
        if failure.status in {408, 425, 429}:
            return BackendUnavailable(summary)
        if failure.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or failure.code.startswith("54"):
            return BackendTooLarge(failure.token or failure.code, f"{summary} {failure.detail}".strip())
        return BackendRejected(failure.token or failure.code, f"{summary} {failure.detail}".strip())


class _StatusError(Exception):
    """An answer whose status is not 2xx, with PostgREST's JSON error where there is one."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(status))
        self.status = status
        self.code = str(body.get("code") or "")
        self.token = str(body.get("message") or "")[:200]
        self.detail = str(body.get("details") or "")[:500]


class _UnparsedError(AnswerUnreadable):
    """An answer that the client cannot parse; looked at again, it may be readable in part."""


def _read_damaged(body: bytes) -> object:
    try:
        return read_damaged_json(body)
    except ValueError as error:
        raise AnswerUnreadable(f"exchange_work answered with something that is not JSON: {error}") from None


async def _look_at(response: httpx.Response) -> None:
    """Keep the answer's body, and raise its error."""
    await response.aread()
    _BODY.set(response.content)
    # The client's own APIError does not carry the HTTP status, so the status is looked at before the client does.
    if response.is_success:
        return
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    raise _StatusError(response.status_code, body if isinstance(body, dict) else {})
