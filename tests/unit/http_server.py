"""A real HTTP server on 127.0.0.1 that answers as a test tells it to, byte for byte if need be."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer: with `cut` the connection breaks after the chunks, with `raw` nothing else is sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes] = ()
    delay: float = 0.0
    chunk_delay: float = 0.0
    cut: bool = False
    raw: bytes | None = None


def json_reply(document: Any, status: int = 200, **headers: str) -> Reply:
    """Return a JSON answer; `_` in the names of headers stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"Content-Type": "application/json", **named}, [json.dumps(document).encode()])


def sse_reply(events: Sequence[tuple[str | None, Any]], **changes: Any) -> Reply:
    """Return a stream of server-sent events, each (event name or None, data)."""
    chunks = []
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        chunks.append((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())
    return Reply(headers={"Content-Type": "text/event-stream"}, chunks=chunks, **changes)


class QuietServer(ThreadingHTTPServer):
    """A server that does not print when a client hangs up."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: tests look at what the client made of it."""


class Server:
    """The address of a running server and what it has seen."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.seen: list[Seen] = []


@contextmanager
def serve(answer: Callable[[Seen], Reply], tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server for the length of the block; `url` says http:// also with `tls`."""
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            server.seen.append(seen)
            try:
                self.send(answer(seen))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the names that the library looks for

        def send(self, reply: Reply) -> None:
            stop.wait(reply.delay)
            if reply.raw is not None:
                self.wfile.write(reply.raw)
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status == 204:
                self.end_headers()
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in reply.chunks:
                if reply.chunk_delay:
                    time.sleep(reply.chunk_delay)
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                self.wfile.flush()
            if reply.cut:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    with QuietServer(("127.0.0.1", 0), Handler) as http:
        server = Server(http.server_port)
        if tls is not None:
            http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            http.shutdown()
            thread.join()
