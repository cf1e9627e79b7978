"""Serves `/healthz` and Prometheus `/metrics` of one worker over HTTP.

Answers come from threads of their own, so that no request holds up the worker and a worker that hangs still says so.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import MetricsHandler

from workers.errors import SettingsError
from workers.metrics import Metrics

_REQUEST_SECONDS = 10  # How long a client may take to say what it wants.


@contextmanager
def serve_metrics(metrics: Metrics, host: str, port: int) -> Iterator[str]:
    """Serve from a thread while the block runs; yields the address, e.g. http://127.0.0.1:9100. Port 0: any free one.

    Raises:
        SettingsError: nothing can be served there, e.g. because the port is taken.
    """
    try:
        server = _server(metrics, host, port)
    except OSError as error:
        what = error.strerror or str(error)
        raise SettingsError(f"METRICS_PORT cannot be served: {what} ({host} port {port}, see METRICS_HOST).") from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=1.0)


def _server(metrics: Metrics, host: str, port: int) -> ThreadingHTTPServer:
    class Handler(MetricsHandler):
        registry = metrics.registry
        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:  # noqa: N802 - what http.server calls
            """Answer by path."""
            match urlsplit(self.path).path:
                case "/metrics":
                    super().do_GET()
                case "/healthz":
                    well, body = metrics.health()
                    self._answer(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, body)
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, {"paths": ["/healthz", "/metrics"]})

        def _answer(self, status: HTTPStatus, body: object) -> None:
            content = json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Pass over clients that hang up."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    return Server((host, port), Handler)
