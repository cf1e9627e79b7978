"""PostgREST as a caller sees it: every request carries the caller's own token, so that row-level security decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import httpx

from workers.a2a.caller import Identity
from workers.errors import BackendRefused, BackendRejected, BackendUnavailable

Row = dict[str, Any]
_PASSING = ("08", "40", "53", "55", "57", "PGRST000", "PGRST001", "PGRST002", "PGRST003")


class Refusal(BackendRejected):
    """The database read a request and refused it; `status` is HTTP's, `hint` what to do next."""

    def __init__(self, status: int, token: str, detail: str, hint: str) -> None:
        super().__init__(token, detail)
        self.status = status
        self.detail = detail
        self.hint = hint


class Database:
    """The tables and functions of one project, over one pool of connections.

    Raises, from every method:
        BackendUnavailable: no answer, or a passing fault: the same request may work in a moment.
        BackendRefused: the token is not (or no longer) accepted.
        Refusal: the database refused what was asked.
    """

    def __init__(self, url: str, anon_key: str, timeout_seconds: float) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{url}/rest/v1/",
            headers={"apikey": anon_key},
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=20),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._client.aclose()

    async def is_up(self) -> bool:
        """Return whether the database answers at all: nobody may read agents, and is told so by Postgres itself."""
        try:
            answer = await self._client.head("agents", params={"select": "slug", "limit": "1"}, timeout=3.0)
        except httpx.HTTPError:
            return False
        return answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR

    async def rows(self, who: Identity, table: str, query: Mapping[str, str]) -> list[Row]:
        """Return the rows that a query finds."""
        found: list[Row] = (await self._send(who, "GET", table, query=query)).json()
        return found

    async def count(self, who: Identity, table: str, query: Mapping[str, str]) -> int:
        """Return how many rows a query finds; an estimate where there are many."""
        asked = {**query, "select": "id", "limit": "1"}
        answer = await self._send(who, "GET", table, query=asked, prefer="count=estimated")
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        return int(total) if total.isdecimal() else 0

    async def call(self, who: Identity, function: str, arguments: Row) -> Any:
        """Call a function and return its answer."""
        return (await self._send(who, "POST", f"rpc/{function}", body=arguments)).json()

    async def insert_once(self, who: Identity, table: str, row: Row, key: str) -> None:
        """Insert a row unless one with the same `key` column is there."""
        prefer = "resolution=ignore-duplicates,return=minimal"
        await self._send(who, "POST", table, query={"on_conflict": key}, body=row, prefer=prefer)

    async def _send(  # noqa: PLR0913
        self,
        who: Identity,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Row | None = None,
        prefer: str = "",
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {who.token}", "Content-Type": "application/json"}
        if prefer:
            headers["Prefer"] = prefer
        content = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        try:
            answer = await self._client.request(method, path, params=query, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise BackendUnavailable(f"{path} got no answer: {type(error).__name__}") from error
        if answer.is_success:
            return answer
        raise _failure(path, answer)


def _failure(path: str, answer: httpx.Response) -> BackendUnavailable | BackendRefused | Refusal:
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    told = body if isinstance(body, dict) else {}
    code, token, detail, hint = (str(told.get(key) or "") for key in ("code", "message", "details", "hint"))
    status = answer.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        return BackendRefused(f"{path} answered 401 {code}")
    passing = code.startswith(_PASSING) or (not code and (status >= 500 or status == 400))
    if passing or status in {408, 425, 502, 503, 504}:
        return BackendUnavailable(f"{path} answered {status} {code}")
    return Refusal(status, token[:200] or code, detail[:1000], hint[:1000])
