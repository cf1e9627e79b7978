"""The door for libraries that want a client of httpx2 (MCP): the same rules, under the other library's names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import httpx2

from workers.door.transport import DoorTransport


class BridgeTransport(httpx2.AsyncBaseTransport):
    """Takes requests of httpx2 to a transport of the door, and brings back its answers."""

    def __init__(self, transport: DoorTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; raises DoorError, and httpx2.TransportError as any other client."""
        with _as_httpx2():
            try:
                url = httpx.URL(str(request.url))
            except httpx.InvalidURL as error:
                raise httpx2.InvalidURL(str(error)) from None
            stream = _Bytes(request.stream) if isinstance(request.stream, httpx2.AsyncByteStream) else None
            extensions = dict(request.extensions)
            inner = httpx.Request(
                request.method, url, headers=request.headers.raw, stream=stream, extensions=extensions
            )
            answer = await self._transport.handle_async_request(inner)
        request.extensions = dict(inner.extensions)  # By which the door knows a redirect.
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers.raw,
            stream=_Bytes2(answer.stream),
            extensions=dict(answer.extensions),
        )

    async def aclose(self) -> None:
        """End answers that were not read to their end."""
        await self._transport.aclose()


class _Bytes(httpx.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece


class _Bytes2(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx2():
            async for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        """Close the answer."""
        await self._stream.aclose()


@contextmanager
def _as_httpx2() -> Iterator[None]:
    try:
        yield
    except (httpx.TransportError, httpx.DecodingError) as error:
        kind: type[httpx2.RequestError] = getattr(httpx2, type(error).__name__)
        raise kind(str(error)) from error
