"""Lets the MCP client, which speaks through httpx2, go out by the guarded door, which is an httpx client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import httpx2

from workers.door import DoorError

# Set anew by the client, or no longer true of a body that is decoded; and no cookies are kept, as the door keeps none.
_REQUEST_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_ANSWER_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding", "connection", "set-cookie"})


class DoorTransport(httpx2.AsyncBaseTransport):
    """Sends each request through `client`, which the caller closes.

    `refusal` is why the door last refused a request, or broke off an answer: the MCP client does not say.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.refusal: DoorError | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its answer, of which the body is still to be read."""
        body = await request.aread()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _REQUEST_HEADERS]
        outgoing = self._client.build_request(request.method, str(request.url), headers=headers, content=body)
        try:
            answer = await self._client.send(outgoing, stream=True)
        except httpx.HTTPError as error:
            raise self.translate(error, request) from error
        kept = [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in _ANSWER_HEADERS]
        return httpx2.Response(answer.status_code, headers=kept, stream=_Body(self, answer, request), request=request)

    def translate(self, error: httpx.HTTPError, request: httpx2.Request) -> httpx2.RequestError:
        """Return the other library's error for one of the door's."""
        if isinstance(error, DoorError):
            self.refusal = error
        if isinstance(error, httpx.TimeoutException):
            return httpx2.ReadTimeout(type(error).__name__, request=request)
        return httpx2.ReadError(type(error).__name__, request=request)


class _Body(httpx2.AsyncByteStream):
    """The decoded body of an answer."""

    def __init__(self, transport: DoorTransport, answer: httpx.Response, request: httpx2.Request) -> None:
        self._transport = transport
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.aiter_bytes():
                yield chunk
        except httpx.HTTPError as error:
            raise self._transport.translate(error, self._request) from error

    async def aclose(self) -> None:
        await self._answer.aclose()
