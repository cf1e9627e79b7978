"""The only door to the database: the Supabase client, its RPCs, and its errors in our words.

No other module imports supabase or postgrest. Errors are translated by HTTP status and SQLSTATE, never by text.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, Self

import httpx
import supabase
from pydantic_core import from_json, to_json
from supabase.lib.client_options import AsyncClientOptions

from workers.contract import ExchangeAnswer
from workers.errors import (
    BackendError,
    BackendOutdated,
    BackendRefused,
    BackendRejected,
    BackendTooLarge,
    BackendUnavailable,
)
from workers.parsing import parse_answer
from workers.schedules import DueSchedule, Firing, FiringOutcome, parse_due, parse_firing_outcomes

# SQLSTATE classes and PostgREST codes that pass by themselves: connection, conflict, resources, operator, system.
_PASSING = ("08", "40", "53", "57", "58", "PGRST000", "PGRST001", "PGRST002", "PGRST003")
_UNKNOWN_FUNCTION = ("PGRST202", "42883")
_LOG_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRequest:
    """One exchange; sent again with the same `request_id` and content it acts once. `report` is JSON."""

    request_id: str
    report: bytes
    max_tasks: int
    lease_seconds: int
    methods: Sequence[str] | None = None
    organizations: Sequence[str] | None = None


class Token(Protocol):
    """The token of an organization's own worker, sent in place of the key; see `workers.scoped`."""

    @property
    def renewable(self) -> bool:
        """Whether another one may come while the worker runs."""

    def current(self) -> str:
        """Return the token in force."""


class Backend(Protocol):
    """What a worker needs of the database. Every method raises only `BackendError`."""

    async def register_worker(self, worker_id: str, info: Mapping[str, Any]) -> None:
        """Make the worker known, or known again; `info` describes its process."""

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:
        """Tell what happened and take work."""

    async def claim_schedules(self, worker_id: str, max_schedules: int) -> tuple[DueSchedule, ...]:
        """Hold schedules that are due, so that no other worker computes them meanwhile."""

    async def fire_schedules(self, worker_id: str, firings: Sequence[Firing]) -> tuple[FiringOutcome, ...]:
        """Make the tasks of schedules, each once whoever asks how often."""

    async def stop_worker(self, worker_id: str) -> None:
        """Mark the worker as stopped."""

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """Call a function of the database for an agent, and return its answer."""


@asynccontextmanager
async def connect(
    url: str, key: str, *, key_variable: str, timeout_seconds: float, token: Token | None = None
) -> AsyncIterator[Backend]:
    """Yield a backend on one HTTP connection pool that is reused for every call and closed at the end.

    With a `token` the `key` is the anonymous one, and every function is the one for organizations' own workers.
    `key_variable` names the setting that holds the key or token, for the message when it is not accepted.
    """
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
    timeout = httpx.Timeout(timeout_seconds, connect=min(5.0, timeout_seconds))
    # Where nothing is encrypted, the 25 ms that it takes to load certificates are spared.
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else True
    async with httpx.AsyncClient(http2=True, verify=verify, limits=limits, timeout=timeout) as http:
        options = AsyncClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
        client = await supabase.acreate_client(url, key, options)
        yield _SupabaseBackend(client, key_variable, token)


def log_sender(url: str, key: str, *, token: Token | None = None) -> Callable[[Sequence[Mapping[str, Any]]], None]:
    """Return what writes entries to `system_logs`, for a thread of its own; it raises whatever goes wrong."""
    client: httpx.Client | None = None
    function = "write_system_logs" if token is None else "scoped_write_system_logs"

    def send(entries: Sequence[Mapping[str, Any]]) -> None:
        nonlocal client
        # With the first entry: most workers never have one.
        client = client or httpx.Client(base_url=f"{url.rstrip('/')}/rest/v1/rpc/", timeout=_LOG_SECONDS)
        bearer = key if token is None else token.current()
        headers = {"apikey": key, "Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        client.post(function, content=to_json({"entries": entries}), headers=headers).raise_for_status()

    return send


class _SupabaseBackend:
    """The backend over PostgREST."""

    def __init__(self, client: supabase.AsyncClient, key_variable: str, token: Token | None) -> None:
        self._client = client
        self._key_variable = key_variable
        self._token = token
        self._headers = httpx.Headers({**client.postgrest.headers, "Content-Type": "application/json"})

    async def register_worker(self, worker_id: str, info: Mapping[str, Any]) -> None:
        await self._call("register_worker", {"worker_id": worker_id, "info": dict(info)})

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:
        arguments = {
            "worker_id": worker_id,
            "request_id": request.request_id,
            "max_tasks": request.max_tasks,
            "lease_seconds": request.lease_seconds,
            "methods": request.methods,
            "organizations": request.organizations,
        }
        try:
            answer = await self._post("exchange_work", b'%s,"report":%s}' % (to_json(arguments)[:-1], request.report))
        except BackendOutdated as error:
            # The worker has registered, so the function was there: a migration or a schema reload is going on.
            raise BackendUnavailable(str(error)) from error
        return parse_answer(answer)

    async def claim_schedules(self, worker_id: str, max_schedules: int) -> tuple[DueSchedule, ...]:
        arguments = {"worker_id": worker_id, "max_schedules": max_schedules}
        return parse_due(await self._post("claim_schedules", to_json(arguments)))

    async def fire_schedules(self, worker_id: str, firings: Sequence[Firing]) -> tuple[FiringOutcome, ...]:
        arguments = {"worker_id": worker_id, "items": [firing.to_json() for firing in firings]}
        return parse_firing_outcomes(await self._post("fire_schedules", to_json(arguments)))

    async def stop_worker(self, worker_id: str) -> None:
        await self._call("stop_worker", {"worker_id": worker_id})

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        answer = await self._post(function, to_json(arguments))
        return from_json(answer) if answer else None

    async def _call(self, function: str, params: Mapping[str, Any]) -> None:
        """Call a function whose answer does not matter."""
        await self._post(function, to_json(params))

    async def _post(self, function: str, body: bytes) -> bytes:
        """Call a function with its arguments as a JSON object; return its answer as JSON.

        What the client does for `rpc(...).execute()`, but for encoding and decoding, which at hundreds of tasks a
        request take most of the time: here each task is encoded once and decoded once.
        """
        rest = self._client.postgrest
        headers = self._headers
        if self._token is not None:
            function = f"scoped_{function}"
            headers = headers.copy()
            headers["Authorization"] = f"Bearer {self._token.current()}"
        try:
            answer = await rest.session.post(str(rest.base_url / "rpc" / function), content=body, headers=headers)
        except httpx.HTTPError as error:
            raise BackendUnavailable(f"{function} got no answer: {type(error).__name__}") from error
        if not answer.is_success:
            raise self._translate(function, _Failure.of(answer))
        return answer.content

    def _translate(self, function: str, failure: _Failure) -> BackendError:
        summary = f"{function} answered {failure.status} {failure.code}"
        if failure.status in {401, 403}:
            return self._refused(summary, failure)
        if failure.code in _UNKNOWN_FUNCTION:
            return BackendOutdated(failure.code, f"{function} is missing: apply supabase/migrations to this database")
        # PostgREST says 400 without a code when Postgres goes down in the middle of a statement.
        if failure.code.startswith(_PASSING) or (not failure.code and (failure.status >= 500 or failure.status == 400)):
            return BackendUnavailable(summary)
        if failure.status in {408, 425, 429}:
            return BackendUnavailable(summary)
        if failure.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or failure.code.startswith("54"):
            return BackendTooLarge(failure.token or failure.code, f"{summary} {failure.detail}".strip())
        return BackendRejected(failure.token or failure.code, f"{summary} {failure.detail}".strip())

    def _refused(self, summary: str, failure: _Failure) -> BackendError:
        """Say what is to be done; where a new token may come, the request is sent again until it does."""
        if self._token is None:
            return BackendRefused(
                f"{summary}: the database does not accept the key in {self._key_variable}. It must be this project's "
                f"service key (service_role or sb_secret), not the anonymous one. {failure.token}"
            )
        problem = (failure.detail or failure.token).rstrip(".")
        begin = f"{summary}: {problem}. The database does not accept the worker's token in {self._key_variable}"
        if self._token.renewable and failure.status == HTTPStatus.UNAUTHORIZED:
            return BackendUnavailable(f"{begin}: waiting for a new one in that file (python -m workers token).")
        return BackendRefused(f"{begin}: start the worker again with a new one (python -m workers token).")


@dataclass(frozen=True, slots=True)
class _Failure:
    """An answer whose status is not 2xx, with PostgREST's JSON error where there is one."""

    status: int
    code: str
    token: str
    detail: str

    @classmethod
    def of(cls, answer: httpx.Response) -> Self:
        try:
            body = answer.json()
        except (ValueError, RecursionError):
            body = None
        told = body if isinstance(body, dict) else {}
        code, token, detail = (str(told.get(key) or "") for key in ("code", "message", "details"))
        return cls(answer.status_code, code, token[:200], detail[:500])
