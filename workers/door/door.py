"""The door of a worker process, and the clients it hands out."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import httpcore
import httpx

from workers.door.hosts import AllowedHosts
from workers.door.network import CheckedNetwork, Resolve, Resolver
from workers.door.pool import Pool
from workers.door.seats import Seats
from workers.door.transport import DoorTransport, Rules

_CONNECTIONS = 800  # With those that are idle below 1024, how many files a process may open on many systems.
_IDLE_CONNECTIONS = 100


class Door:
    """One connection pool for a worker process; use as a context manager, on one event loop.

    `allow_private` lets requests reach private addresses and plain http, never the metadata services of clouds; for
    development only. Tests give `resolve`, `dial` and `tls`: how names become addresses, what connects to an address
    that was checked, and which certificates are believed. Proxies and .netrc of the environment are not used.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve | None = None,
        dial: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = _CONNECTIONS,
    ) -> None:
        self._allow_private = allow_private
        self._resolver = Resolver()
        self._seats = Seats(connections)
        network = CheckedNetwork(
            allow_private=allow_private, resolve=resolve or self._resolver, dial=dial or httpcore.AnyIOBackend()
        )
        self._pool = Pool(tls or httpx.create_ssl_context(trust_env=False), network, _IDLE_CONNECTIONS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.aclose()
        self._resolver.close()

    def client(  # noqa: PLR0913 - each is a limit of its own
        self,
        allowed_hosts: Sequence[str] | None = None,
        *,
        timeout: float = 30.0,
        max_bytes: int = 10_000_000,
        max_redirects: int = 0,
        whole_seconds: float | None = None,
        organization: str = "",
    ) -> httpx.AsyncClient:
        """Return a client for one organization; cheap, so make one for each attempt, and close it.

        It keeps no cookies, gives answers decoded, raw bytes too, and raises DoorError for what it refuses.

        Args:
            allowed_hosts: the only hosts it may ask, e.g. ["api.acme.com", "*.acme.com"]; None for all public ones.
            timeout: seconds for each step: a free connection, connect, write, head of the answer, each read.
            max_bytes: how large an answer may be, decoded.
            max_redirects: how many are followed, each checked; credentials do not go along to another origin.
            whole_seconds: for a request with its redirects and its whole answer; None for no limit.
            organization: whose share of the connections is used; that of each host when empty.
        """
        allowed = None if allowed_hosts is None else AllowedHosts(allowed_hosts)
        rules = Rules(self._allow_private, allowed, max_bytes, max_redirects, whole_seconds, organization)
        return httpx.AsyncClient(
            transport=DoorTransport(self._pool, self._seats, rules),
            cookies=_no_cookies(),
            trust_env=False,
            follow_redirects=max_redirects > 0,
            max_redirects=max_redirects + 1,  # So that the door counts, and says so in its own words.
            timeout=timeout,
        )


def _no_cookies() -> CookieJar:
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))
