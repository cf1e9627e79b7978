"""A server that answers each request after a fixed time, in a process of its own; as bare as can be, so that it is
not what is measured.

`python -m bench.agents.endpoint PORT SECONDS` says `ready` and serves until it is killed.
"""

import asyncio
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.queue.process import running

BODY = b'{"content": "An answer of an agent, as short as they come."}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Answering(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._heard = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer in time once a request is whole."""
        self._heard += data
        head, found, rest = self._heard.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(rest) < int(length.group(1) if length else 0):
            return
        self._heard = b""
        asyncio.get_running_loop().call_later(self._seconds, self._answer)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(ANSWER)


@contextmanager
def serving(seconds: float) -> Iterator[str]:
    """The address of such a server, which is gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bench.agents.endpoint", str(port), str(seconds)]
    with running(command, os.environ):
        yield f"http://127.0.0.1:{port}/"


async def main() -> None:
    """Serve for ever."""
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(seconds), "127.0.0.1", port, backlog=1000)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
