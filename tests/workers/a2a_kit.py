"""The A2A server as a process, and A2A clients of it: the SDK's own, and plain HTTP for what the SDK would not send."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types import (
    AgentCard,
    GetTaskRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskState,
)

from tests.api.helpers import Caller, Tenant, ok
from tests.stack import Stack
from tests.workers.nursery import Forked
from tests.workers.waiting import Row, wait_for


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class A2AProcess:
    """One `workers a2a`, in a folder without a .env, with no key but the anonymous one."""

    def __init__(self, stack: Stack, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"a2a-{secrets.token_hex(4)}.log"
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "SUPABASE_URL": stack.url,
            "SUPABASE_ANON_KEY": stack.anon_key,
            "LOG_FORMAT": "json",
            "A2A_POLL_INTERVAL": "0.1",
            **environment,
        }
        self.start()

    def start(self) -> None:
        """Start it, again after a kill, at the same address; return when it answers."""
        self.log.touch()
        self.process = Forked(["a2a", "--port", str(self.port)], self._folder, self._environment, self.log)
        wait_for(self._is_up, 30, f"the A2A server answers: {self.log}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Tell it to stop; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def base(self, tenant: Tenant) -> str:
        return f"{self.url}/a2a/{tenant.organization}/{tenant.agent}"

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code in {200, 503}
        except httpx.HTTPError:
            return False


@asynccontextmanager
async def client(
    base: str, who: Caller, *, version: str = "1.0", binding: str = "JSONRPC", streaming: bool = True, **config: Any
) -> AsyncIterator[Client]:
    """Give the SDK's client of an agent: reads the card as this user, then speaks only that version and binding."""
    headers = {"Authorization": who.headers["Authorization"]}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
        card = await A2ACardResolver(http, base).get_agent_card()
        keep_only(card, version, binding)
        options = ClientConfig(streaming=streaming, httpx_client=http, supported_protocol_bindings=[binding], **config)
        yield ClientFactory(options).create(card)


def keep_only(card: AgentCard, version: str, binding: str) -> None:
    wanted = [i for i in card.supported_interfaces if (i.protocol_version, i.protocol_binding) == (version, binding)]
    assert wanted, card
    del card.supported_interfaces[:]
    card.supported_interfaces.extend(wanted)


def message(text: str = "Write about tide pools", *parts: Part, **fields: Any) -> SendMessageRequest:
    told = Message(
        message_id=fields.pop("message_id", secrets.token_hex(8)),
        role=Role.ROLE_USER,
        parts=[*([Part(text=text)] if text else []), *parts],
        **fields,
    )
    return SendMessageRequest(message=told)


@dataclass
class Heard:
    """What a client heard of one task, put together as A2A says."""

    task: Task | None = None
    states: list[int] = field(default_factory=list)
    chunks: int = 0
    text: str = ""
    finished: bool = False
    said: list[str] = field(default_factory=list)

    def take(self, response: StreamResponse) -> None:
        match response.WhichOneof("payload"):
            case "task":
                self.task = response.task
                self.states.append(response.task.status.state)
                self.text = "".join(part.text for artifact in self.task.artifacts for part in artifact.parts)
            case "status_update":
                self.states.append(response.status_update.status.state)
                self.said += [part.text for part in response.status_update.status.message.parts if part.text]
            case "artifact_update":
                update = response.artifact_update
                new = "".join(part.text for part in update.artifact.parts)
                self.chunks += 1
                self.text = self.text + new if update.append else new
                self.finished = update.last_chunk

    @property
    def state(self) -> int:
        return self.states[-1]

    @property
    def task_id(self) -> str:
        assert self.task is not None
        return self.task.id


async def hear(answers: AsyncIterator[StreamResponse]) -> Heard:
    heard = Heard()
    async for answer in answers:
        heard.take(answer)
    return heard


async def send(caller: Client, request: SendMessageRequest) -> Heard:
    return await hear(caller.send_message(request))


async def get(caller: Client, task_id: str) -> Task:
    return await caller.get_task(GetTaskRequest(id=task_id))


def rpc(base: str, who: Caller | None, body: Any, **headers: str) -> httpx.Response:
    """Post a JSON-RPC request, or bytes that are none, as version 1.0."""
    sent = {"A2A-Version": "1.0", "Content-Type": "application/json"}
    if who is not None:
        sent["Authorization"] = who.headers["Authorization"]
    content: Mapping[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    return httpx.post(base, headers=sent | headers, timeout=30, trust_env=False, **content)


def call(base: str, who: Caller, method: str, **params: Any) -> Row:
    """Make a JSON-RPC call of version 1.0; return the whole answer."""
    answer = rpc(base, who, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    assert answer.status_code == 200, answer.text
    told: Row = answer.json()
    assert told["id"] == 1, told
    return told


def code_of(answer: Row) -> int:
    assert "error" in answer, answer
    return int(answer["error"]["code"])


def result(answer: Row) -> Any:
    assert "result" in answer, answer
    return answer["result"]


def text_message(text: str = "Write about tide pools", **fields: Any) -> Row:
    return {"messageId": secrets.token_hex(8), "role": "ROLE_USER", "parts": [{"text": text}], **fields}


@dataclass
class Hand:
    """A worker played by the test, step by step."""

    operator: Caller
    organization: str
    lease: Row = field(default_factory=dict)

    def claim(self) -> bool:
        """Take the organization's next task, if there is one."""
        for claimed in ok(self.operator.rpc("claim_tasks", worker_id="hand", organizations=[self.organization])):
            self.lease = {"task_id": claimed["task"]["id"]} | {key: claimed[key] for key in ("attempt", "lease_token")}
            return True
        return False

    def say(self, text: str) -> None:
        self.report("add_task_events", type="partial", data={"text": text})

    def complete(self, text: str) -> None:
        deliverable = {"title": "A post", "type": "text", "format": "markdown", "content": text}
        self.report("complete_tasks", response=text, deliverable=deliverable)

    def fail(self, *, retryable: bool) -> None:
        told = {"error_code": "endpoint_error", "error_message": "It broke.", "retryable": retryable, "retry_after": 0}
        self.report("fail_tasks", **told)

    def report(self, function: str, **item: Any) -> None:
        (outcome,) = ok(self.operator.rpc(function, worker_id="hand", items=[self.lease | item]))
        assert outcome["outcome"] == "ok", outcome


class Relay:
    """Carries connections to the gateway; while `away` is set it cuts those there are and takes no new ones."""

    def __init__(self, gateway_url: str) -> None:
        self._target = int(gateway_url.rpartition(":")[2])
        self._writers: set[asyncio.StreamWriter] = set()
        self._away = False

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Carry while the block runs; yields the address to call."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            self.go_away()

    def go_away(self) -> None:
        self._away = True
        for writer in self._writers:
            writer.transport.abort()

    def come_back(self) -> None:
        self._away = False

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        gateway_reader, gateway_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, gateway_writer}
        self._writers |= both
        await asyncio.gather(_pipe(reader, gateway_writer), _pipe(gateway_reader, writer))
        self._writers -= both


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


COMPLETED = TaskState.TASK_STATE_COMPLETED
