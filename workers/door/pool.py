"""Connections that are kept for the next request to the same origin.

Own code, since httpcore's pool looks at every connection for every request, and at every pair of idle ones: 10 ms of
processor time a request where a hundred are open. Here it is the same for any number. How many are open at once is
bounded by those who hold seats.
"""

from __future__ import annotations

import ssl

import httpcore

_Origin = tuple[bytes, bytes, int]


class Pool:
    """Sends each request on a connection that nothing else uses; for one event loop."""

    def __init__(self, tls: ssl.SSLContext, network: httpcore.AsyncNetworkBackend, max_idle: int) -> None:
        self._tls = tls
        self._network = network
        self._max_idle = max_idle
        self._idle: dict[httpcore.AsyncHTTPConnection, _Origin] = {}  # The one that waits longest first.
        self._by_origin: dict[_Origin, list[httpcore.AsyncHTTPConnection]] = {}
        self._busy: set[httpcore.AsyncHTTPConnection] = set()

    async def send(self, request: httpcore.Request) -> Exchange:
        """Send a request and wait for the head of its answer; the answer must be closed."""
        connection = await self._take(request.url.origin)
        self._busy.add(connection)
        try:
            answer = await connection.handle_async_request(request)
        except BaseException:
            self._busy.discard(connection)
            await connection.aclose()
            raise
        return Exchange(self, connection, request.url.origin, answer)

    async def put_back(self, connection: httpcore.AsyncHTTPConnection, origin: httpcore.Origin) -> None:
        """Keep a connection whose answer is closed, if it can be used again."""
        self._busy.discard(connection)
        if not connection.is_idle():
            await connection.aclose()
            return
        key = _key(origin)
        self._idle[connection] = key
        self._by_origin.setdefault(key, []).append(connection)
        oldest = next(iter(self._idle))
        if len(self._idle) > self._max_idle or oldest.has_expired():
            self._forget(oldest)
            await oldest.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        connections = [*self._idle, *self._busy]
        self._idle.clear()
        self._by_origin.clear()
        self._busy.clear()
        for connection in connections:
            await connection.aclose()

    async def _take(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        while idle := self._by_origin.get(_key(origin)):
            connection = idle[-1]
            self._forget(connection)
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._tls, keepalive_expiry=5.0, network_backend=self._network
        )

    def _forget(self, connection: httpcore.AsyncHTTPConnection) -> None:
        key = self._idle.pop(connection)
        self._by_origin[key].remove(connection)
        if not self._by_origin[key]:
            del self._by_origin[key]


class Exchange:
    """An answer, and the connection that it comes on."""

    def __init__(
        self,
        pool: Pool,
        connection: httpcore.AsyncHTTPConnection,
        origin: httpcore.Origin,
        answer: httpcore.Response,
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._origin = origin
        self.answer = answer

    async def aclose(self) -> None:
        """End the answer, read or not."""
        try:
            await self.answer.aclose()
        finally:
            await self._pool.put_back(self._connection, self._origin)


def _key(origin: httpcore.Origin) -> _Origin:
    return origin.scheme, origin.host, origin.port
