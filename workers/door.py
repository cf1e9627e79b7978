"""The one way out: every HTTP request that a worker makes for a tenant goes through a client of this door."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx


class DoorError(httpx.RequestError):
    """The door refused a request, or broke off an answer. `code` is a stable token; the message holds no secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Door:
    """One connection pool for a worker process; use as a context manager.

    `allow_private` lets requests reach private addresses and plain http; for development only.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._clients: list[httpx.AsyncClient] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.aclose()

    def client(
        self,
        allowed_hosts: Sequence[str] | None = None,
        *,
        timeout: float = 30.0,
        max_bytes: int = 10_000_000,
        max_redirects: int = 0,
    ) -> httpx.AsyncClient:
        """Return a client for one organization; cheap, so make one for each attempt, and close it.

        Args:
            allowed_hosts: where it may go, e.g. ["api.acme.com", "*.acme.com"]; None for everywhere public.
            timeout: seconds for each step of a request (connect, read, write), not for the whole.
            max_bytes: how large an answer may be, decoded.
            max_redirects: how many redirects are followed; each is checked as the first request was.
        """
        client = httpx.AsyncClient(
            trust_env=False, follow_redirects=max_redirects > 0, max_redirects=max_redirects, timeout=timeout
        )
        self._clients.append(client)
        return client
