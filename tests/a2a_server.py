"""Real A2A servers on 127.0.0.1, made of the official SDK's server side: 1.0, 0.3 by its compatibility layer, REST too.

What the agent does is in the first word of its prompt; see `Script`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    ListTasksRequest,
    Message,
    Part,
    Role,
    Task,
    TaskState,
)
from a2a.types import TaskStatus as Status
from a2a.utils.constants import TransportProtocol
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

Version = Literal["1.0", "0.3"]
Binding = Literal["JSONRPC", "HTTP+JSON"]
CARD_PATH = "/.well-known/agent-card.json"


def data_part(value: Any) -> Part:
    return Part(data=ParseDict(value, Value()), media_type="application/json")


class Script(AgentExecutor):
    """An agent that does what its prompt's first word says; `seen` are the messages it got, `cancelled` the tasks."""

    def __init__(self) -> None:
        self.seen: list[Message] = []
        self.cancelled: list[str] = []
        self.go_on = threading.Event()
        self.cancel_seconds = 0.0

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message = context.message
        assert message is not None
        assert context.task_id is not None
        assert context.context_id is not None
        self.seen.append(message)
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        text = "".join(part.text for part in message.parts)
        if context.current_task is not None:
            await self._hear(updater, message, text)
            return
        word = text.split()[0]
        if word == "message":
            said = [Part(text="Said "), Part(text="at once")]
            await event_queue.enqueue_event(
                Message(message_id="m1", role=Role.ROLE_AGENT, parts=said, context_id=context.context_id)
            )
            return
        submitted = Status(state=TaskState.TASK_STATE_SUBMITTED)
        await event_queue.enqueue_event(Task(id=context.task_id, context_id=context.context_id, status=submitted))
        await getattr(self, f"do_{word}")(updater, text)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        assert context.context_id is not None
        self.cancelled.append(context.task_id)
        await asyncio.sleep(self.cancel_seconds)
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()

    async def _hear(self, updater: TaskUpdater, message: Message, text: str) -> None:
        answers = [MessageToDict(part.data) for part in message.parts if part.WhichOneof("content") == "data"]
        if text == "again":
            await updater.requires_input(updater.new_agent_message([Part(text="And in which size?")]))
            return
        await updater.start_work()
        await updater.add_artifact([Part(text=f"You said {text or answers}")])
        await updater.complete()

    async def do_echo(self, updater: TaskUpdater, text: str) -> None:
        await updater.start_work(updater.new_agent_message([Part(text="Thinking")]))
        metadata = {"score": 3}
        parts = [Part(text=f"# Echo\n\n{text}", media_type="text/markdown")]
        await updater.add_artifact(parts, artifact_id="a1", name="The echo", metadata=metadata)
        await updater.complete()

    async def do_stream(self, updater: TaskUpdater, text: str) -> None:
        """Write ten words, the last ones only once the test says so, when the prompt says `wait`."""
        await updater.start_work()
        for number in range(10):
            if number == 5 and "wait" in text:
                await self._held()
            await updater.add_artifact([Part(text=f"word{number} ")], artifact_id="a1", append=number > 0)
            await asyncio.sleep(0.01)
        await updater.complete()

    async def do_wait(self, updater: TaskUpdater, _text: str) -> None:
        await updater.start_work(updater.new_agent_message([Part(text="Waiting")]))
        await self._held()
        await updater.add_artifact([Part(text="Waited")])
        await updater.complete()

    async def do_ask(self, updater: TaskUpdater, _text: str) -> None:
        await updater.requires_input(updater.new_agent_message([Part(text="Which colour?")]))

    async def do_auth(self, updater: TaskUpdater, _text: str) -> None:
        await updater.requires_auth(updater.new_agent_message([Part(text="Visit https://login.example")]))

    async def do_reject(self, updater: TaskUpdater, _text: str) -> None:
        await updater.reject(updater.new_agent_message([Part(text="Not my kind of work")]))

    async def do_fail(self, updater: TaskUpdater, _text: str) -> None:
        await updater.failed(updater.new_agent_message([Part(text="Broke: key hunter2-key " + "x" * 5000)]))

    async def do_stop(self, updater: TaskUpdater, _text: str) -> None:
        await updater.cancel(updater.new_agent_message([Part(text="Closing time")]))

    async def do_data(self, updater: TaskUpdater, _text: str) -> None:
        await updater.add_artifact([data_part({"title": "T", "count": 3, "half": 0.5})])
        await updater.complete()

    async def do_mixed(self, updater: TaskUpdater, _text: str) -> None:
        await updater.add_artifact([Part(text="One"), data_part({"n": 1})])
        files = [
            Part(url="https://files.example/a.png", filename="a.png", media_type="image/png"),
            Part(url="javascript:alert(1)", filename="evil"),
            Part(raw=b"tiny", filename="t.bin", media_type="application/octet-stream"),
            Part(raw=b"x" * 300_000, filename="big.bin"),
        ]
        await updater.add_artifact([Part(text="Two"), *files])
        await updater.complete()

    async def do_empty(self, updater: TaskUpdater, _text: str) -> None:
        await updater.complete()

    async def do_said(self, updater: TaskUpdater, _text: str) -> None:
        await updater.complete(updater.new_agent_message([Part(text="Only the status says it")]))

    async def _held(self) -> None:
        while not self.go_on.is_set():  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.01)


@dataclass
class Remote:
    """A server that may be stopped and started again on its port; its tasks are in `store`."""

    version: Version = "1.0"
    binding: Binding = "JSONRPC"
    streaming: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)
    script: Script = field(default_factory=Script)
    store: InMemoryTaskStore = field(default_factory=InMemoryTaskStore)
    # (path, headers) of each request; statuses to answer the next ones with; bytes of stream after which it is cut.
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    cards: int = 0
    statuses: list[int] = field(default_factory=list)
    cut_after: int | None = None
    token: str | None = None
    gate: threading.Event | None = None  # Requests but for the card wait until it is set.

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def card(self) -> dict[str, Any]:
        """Return the card in the shape of the server's version, with the test's changes."""
        if self.version == "0.3":
            plain: dict[str, Any] = {
                "name": "Remote",
                "description": "Does what it is told",
                "version": "1.0.0",
                "protocolVersion": "0.3.0",
                "url": self.url + "/a2a",
                "preferredTransport": self.binding,
                "capabilities": {"streaming": self.streaming},
                "defaultInputModes": ["text/plain"],
                "defaultOutputModes": ["text/plain"],
                "skills": [{"id": "write", "name": "Write", "description": "Writes", "tags": []}],
            }
            return {**plain, **self.changes}
        return {**MessageToDict(self._card()), **self.changes}

    def _card(self) -> AgentCard:
        interface = AgentInterface(url=self.url + "/a2a", protocol_binding=self.binding, protocol_version=self.version)
        return AgentCard(
            name="Remote",
            description="Does what it is told",
            version="1.0.0",
            supported_interfaces=[interface],
            capabilities=AgentCapabilities(streaming=self.streaming),
            default_input_modes=["text/plain", "application/json"],
            default_output_modes=["text/plain"],
            skills=[AgentSkill(id="write", name="Write", description="Writes", tags=["writing"])],
        )

    def start(self) -> None:
        """Begin to serve."""
        handler = DefaultRequestHandler(self.script, self.store, self._card())
        compat = self.version == "0.3"
        if self.binding == TransportProtocol.JSONRPC:
            routes: list[BaseRoute] = [*create_jsonrpc_routes(handler, "/a2a", enable_v0_3_compat=compat)]
        else:
            routes = create_rest_routes(handler, enable_v0_3_compat=compat, path_prefix="/a2a")
        app = Starlette(routes=[Route(CARD_PATH, self._serve_card), *routes])
        config = uvicorn.Config(
            _Watch(app, self),
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=0,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            threading.Event().wait(0.01)

    def stop(self) -> None:
        """Stop, cutting every connection."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    async def finish_tasks(self, text: str) -> None:
        """Complete all tasks, as a server would have done whose work outlives it."""
        context = ServerCallContext()
        for task in (await self.store.list(ListTasksRequest(), context)).tasks:
            task.status.state = TaskState.TASK_STATE_COMPLETED
            task.artifacts.add(artifact_id="late").parts.append(Part(text=text))
            await self.store.save(task, context)

    async def _serve_card(self, request: Request) -> Response:
        self.cards += 1
        if request.headers.get("if-none-match") == '"v1"':
            return Response(status_code=304)
        return JSONResponse(self.card(), headers={"ETag": '"v1"'})


class _Watch:
    """Notes requests, answers some with a status, and cuts streams, as the test wants it."""

    def __init__(self, app: ASGIApp, remote: Remote) -> None:
        self._app = app
        self._remote = remote

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        remote = self._remote
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        remote.requests.append((scope["path"], headers))
        refused = remote.token is not None and headers.get("authorization") != f"Bearer {remote.token}"
        status = 401 if refused else None
        if scope["path"] != CARD_PATH and remote.statuses:
            status = remote.statuses.pop(0)
        if status is not None:
            await Response(status_code=status, headers={"Retry-After": "0"})(scope, receive, send)
            return
        while scope["path"] != CARD_PATH and remote.gate is not None and not remote.gate.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self._app(scope, receive, self._cutting(send) if remote.cut_after is not None else send)

    def _cutting(self, send: Send) -> Send:
        sent = 0
        stream = False

        async def sending(message: Any) -> None:
            nonlocal sent, stream
            if message["type"] == "http.response.start":
                stream = any(value.startswith(b"text/event-stream") for _, value in message["headers"])
            elif stream:
                sent += 1
                if self._remote.cut_after is not None and sent > self._remote.cut_after:
                    raise ConnectionAbortedError
            await send(message)

        return sending


@contextmanager
def remote_agent(**options: Any) -> Iterator[Remote]:
    """Run a server for the length of the block."""
    remote = Remote(**options)
    remote.start()
    try:
        yield remote
    finally:
        remote.script.go_on.set()
        remote.stop()
