"""One client's way through the door: what is checked before a request is sent, and what bounds its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import httpcore
import httpx

from workers.door.decoding import ACCEPTED, BadEncoding, Decoder, too_large
from workers.door.errors import DoorError
from workers.door.hosts import AllowedHosts, check_url
from workers.door.network import on_behalf_of
from workers.door.pool import Exchange, Pool
from workers.door.seats import Seats

_MAX_HEADERS = 200  # Their size is bounded by the HTTP parser: 100 KiB.
_TRIP = "door_trip"
# What still goes along when a redirect leads to another origin: all else may be a credential.
_HARMLESS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What one client may do; times in seconds. `organization` is who shares the seats, its host when empty."""

    allow_private: bool
    allowed: AllowedHosts | None
    max_bytes: int
    max_redirects: int
    whole_seconds: float | None
    organization: str


@dataclass(frozen=True, slots=True)
class _Trip:
    """A request with its redirects, which share the extensions of a request; `deadline` by the loop's clock."""

    origin: tuple[str, bytes, int | None]
    deadline: float | None
    redirects: int = 0


class DoorTransport(httpx.AsyncBaseTransport):
    """Sends requests on the shared pool, under the rules of one client."""

    def __init__(self, pool: Pool, seats: Seats, rules: Rules) -> None:
        self._pool = pool
        self._seats = seats
        self._rules = rules
        self._open: set[_Body] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            DoorError: it is not allowed, or its answer cannot be taken.
            httpx.TransportError: as of any other client.
        """
        rules = self._rules
        host = check_url(request.url, allow_private=rules.allow_private, allowed=rules.allowed)
        trip = self._trip(request)
        request.extensions = {**request.extensions, _TRIP: trip}
        _settle_headers(request, trip)
        key = rules.organization or host
        exchange = await self._send(request, trip, key)
        body = _Body(exchange, rules.max_bytes, trip.deadline, lambda done: self._leave(done, key))
        self._open.add(body)
        try:
            return _response(request, exchange.answer, body)
        except BaseException:
            await body.aclose()
            raise

    async def aclose(self) -> None:
        """End answers that were not read to their end; the pool is the door's."""
        for body in list(self._open):
            await body.aclose()

    def _trip(self, request: httpx.Request) -> _Trip:
        before = cast("_Trip | None", request.extensions.get(_TRIP))
        if before is None:
            whole = self._rules.whole_seconds
            deadline = None if whole is None else asyncio.get_running_loop().time() + whole
            return _Trip(_origin(request.url), deadline)
        if before.redirects >= self._rules.max_redirects:
            raise DoorError("too_many_redirects", f"More than {self._rules.max_redirects} redirects in a row.")
        return replace(before, redirects=before.redirects + 1)

    async def _send(self, request: httpx.Request, trip: _Trip, key: str) -> Exchange:
        """Wait for a seat, which the body of the answer gives back, and for the head of the answer."""
        timeouts = request.extensions.get("timeout", {})
        try:
            async with asyncio.timeout_at(_earlier(trip.deadline, timeouts.get("pool"))):
                await self._seats.take(key)
        except TimeoutError:
            raise httpx.PoolTimeout("no connection was free in time") from None
        try:
            with _as_httpx():
                return await self._exchange(request, trip, key, timeouts)
        except BaseException:
            self._seats.give_back(key)
            raise

    async def _exchange(
        self, request: httpx.Request, trip: _Trip, key: str, timeouts: dict[str, float | None]
    ) -> Exchange:
        # The pool's own limit is on each read, which a server that sends a byte now and then never reaches.
        async with asyncio.timeout_at(trip.deadline) as limit:

            async def watch(event: str, _info: object) -> None:
                if event == "http11.receive_response_headers.started":
                    limit.reschedule(_earlier(trip.deadline, timeouts.get("read")))
                elif event == "http11.receive_response_headers.complete":
                    limit.reschedule(trip.deadline)

            asker = on_behalf_of.set(key)
            try:
                return await self._pool.send(_for_pool(request, timeouts, watch))
            finally:
                on_behalf_of.reset(asker)

    def _leave(self, body: _Body, key: str) -> None:
        self._open.discard(body)
        self._seats.give_back(key)


class _Body(httpx.AsyncByteStream):
    """An answer's content, decoded and counted."""

    def __init__(self, exchange: Exchange, max_bytes: int, deadline: float | None, leave: Any) -> None:
        self._exchange = exchange
        self._max_bytes = max_bytes
        self._deadline = deadline
        self._leave = leave
        self._closed = False
        self._decoder = Decoder("", max_bytes)

    def check(self, encoding: str, length: str) -> None:
        """Take note of Content-Encoding; refuse it, or Content-Length, when the answer cannot be taken anyway."""
        self._decoder = Decoder(encoding, self._max_bytes)
        if not encoding and length.isdecimal() and int(length) > self._max_bytes:
            raise too_large(self._max_bytes)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._read():
                for piece in self._decoder.feed(data):
                    yield piece
            self._decoder.end()
        except BadEncoding as error:
            raise httpx.DecodingError(str(error)) from None

    async def aclose(self) -> None:
        """Give the connection back, or end it when the answer was not read to its end."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._exchange.aclose()
        finally:
            self._leave(self)

    async def _read(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._exchange.answer.aiter_stream())
        with _as_httpx():
            while True:
                async with asyncio.timeout_at(self._deadline):
                    data = await anext(chunks, None)
                if data is None:
                    return
                yield data


def _settle_headers(request: httpx.Request, trip: _Trip) -> None:
    """Name the host that was checked and the encodings that the door reads; drop credentials of another origin."""
    if _origin(request.url) != trip.origin:
        for name in [name for name in request.headers if name.lower() not in _HARMLESS]:
            del request.headers[name]
    request.headers["Host"] = request.url.netloc.decode("ascii")
    request.headers["Accept-Encoding"] = ACCEPTED


def _for_pool(request: httpx.Request, timeouts: dict[str, float | None], watch: Any) -> httpcore.Request:
    # Only these extensions: others could name another TLS host or another target.
    url = request.url
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    extensions = {"timeout": timeouts, "trace": watch}
    stream = cast(httpx.AsyncByteStream, request.stream)
    return httpcore.Request(request.method, target, headers=request.headers.raw, content=stream, extensions=extensions)


def _response(request: httpx.Request, answer: httpcore.Response, body: _Body) -> httpx.Response:
    """Return the answer with a body that is bounded; what its headers already give away is refused here."""
    if len(answer.headers) > _MAX_HEADERS:
        raise DoorError("response_too_large", f"The answer has more than {_MAX_HEADERS} headers.")
    headers = httpx.Headers(answer.headers)
    if request.method != "HEAD":
        encoding = headers.get("content-encoding", "")
        body.check(encoding, headers.get("content-length", ""))
        if encoding:
            del headers["content-encoding"]
            headers.pop("content-length", None)
    extensions = {name: answer.extensions[name] for name in ("http_version", "reason_phrase")}
    return httpx.Response(answer.status, headers=headers, stream=body, extensions=extensions)


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port


def _earlier(deadline: float | None, seconds: float | None) -> float | None:
    if seconds is None:
        return deadline
    soon = asyncio.get_running_loop().time() + seconds
    return soon if deadline is None else min(soon, deadline)


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Turn what the pool raises into what clients of httpx expect: its exceptions have the same names."""
    try:
        yield
    except TimeoutError:
        raise httpx.ReadTimeout("the answer did not come in time") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
        raise kind(str(error)) from error
