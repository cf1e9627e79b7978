"""The fake backend behind real HTTP, as PostgREST would serve its functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.unit.fake_backend import FakeBackend
from tests.unit.http_server import Reply, Seen, Server, json_reply, serve
from workers.backend import ExchangeRequest


def answer_with(backend: FakeBackend, seen: Seen) -> Reply:
    """Answer one RPC."""
    function = seen.path.rpartition("/")[2]
    body: dict[str, Any] = seen.json
    if function in backend.functions:
        return json_reply(backend.functions[function](body))
    worker_id = body.pop("worker_id")
    if function == "register_worker":
        backend.registered.append(body["info"])
    elif function == "stop_worker":
        backend.stopped.append(worker_id)
    elif function == "exchange_work":
        body["report"] = json.dumps(body["report"]).encode()
        return json_reply(backend.exchange_now(worker_id, ExchangeRequest(**body)))
    else:
        return json_reply({"code": "PGRST202", "message": "Could not find the function"}, 404)
    return Reply(204)


@contextmanager
def fake_postgrest(backend: FakeBackend) -> Iterator[Server]:
    """Serve the fake on 127.0.0.1."""
    with serve(lambda seen: answer_with(backend, seen)) as server:
        yield server
