"""A network between worker and gateway that loses, cuts, delays and repeats what it carries.

It speaks HTTP/1.1 without looking further than the ends of messages: what it repeats is the same bytes. The worker's
client asks for HTTP/2 only during a TLS handshake, so over http:// it speaks HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.workers.waiting import Row

Fault = Literal[
    "none",
    "lose_request",  # before it got through
    "cut_request",  # half of it got through
    "delay_request",  # longer than the worker waits: it comes twice, the first one late
    "lose_answer",  # after the request got through
    "cut_answer",
    "delay_answer",
    "repeat_at_once",  # two copies side by side
    "repeat_later",  # another copy after the first was answered
]


@dataclass
class Sent:
    """One request as the worker sent it, and the answers to all copies of it that reached the gateway."""

    path: str
    body: Row
    fault: Fault
    answers: list[tuple[int, Any]] = field(default_factory=list)  # (status, JSON)

    @property
    def carries(self) -> set[str]:
        """Return which lists its report holds, and `claim` when it asks for tasks."""
        return {*self.body.get("report", {}), *({"claim"} if self.body.get("max_tasks") else ())}


@dataclass(frozen=True)
class Message:
    """A request or an answer: all its bytes, and what they say."""

    head: bytes
    raw: bytes
    body: bytes


Choose = Callable[[Sent], Fault]


class Network:
    """The proxy; `choose` says what happens to a request, and `away` is set while nobody answers at all."""

    def __init__(self, gateway_port: int, choose: Choose, delay_seconds: float) -> None:
        self._gateway_port = gateway_port
        self._choose = choose
        self._delay_seconds = delay_seconds
        self._echoes: set[asyncio.Task[None]] = set()
        self.away = threading.Event()
        self.sent: list[Sent] = []
        self.mistakes: list[Exception] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def faults(self) -> Counter[Fault]:
        return Counter(sent.fault for sent in self.sent)

    def exchanges(self) -> list[Sent]:
        return [sent for sent in list(self.sent) if sent.path.endswith("/exchange_work")]

    def outcomes(self) -> list[Row]:
        """Return what became of every item, as far as the gateway answered."""
        answers = [answer for sent in self.exchanges() for status, answer in sent.answers if status == 200]
        return [outcome for answer in answers for outcome in answer["outcomes"]]

    async def serve(self, ready: Callable[[asyncio.AbstractEventLoop, asyncio.Event], None]) -> None:
        """Carry until the event that `ready` is given is set, then let go of every connection."""
        done = asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connection(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready(asyncio.get_running_loop(), done)
        await done.wait()
        server.close()
        pending = [*connections, *self._echoes]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (answer := await self._carry(await _read_message(reader))) is not None:
                data, is_whole = answer
                writer.write(data)
                await writer.drain()
                if not is_whole:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # One of the two has gone.
        except Exception as error:
            self.mistakes.append(error)
            raise
        finally:
            writer.transport.abort()

    async def _carry(self, request: Message) -> tuple[bytes, bool] | None:
        """Return what to send back and whether that is all of it; None for nothing."""
        if self.away.is_set():
            return None
        sent = Sent(request.head.split(b" ", 2)[1].decode(), json.loads(request.body), "none")
        sent.fault = self._choose(sent)
        self.sent.append(sent)
        return await self._suffer(sent, request.raw)

    async def _suffer(self, sent: Sent, request: bytes) -> tuple[bytes, bool] | None:
        match sent.fault:
            case "lose_request":
                return None
            case "cut_request":
                await self._send_part(request[: len(request) - 10])
                return None
            case "delay_request":
                self._echo(sent, request)
                await asyncio.sleep(2 * self._delay_seconds)  # The worker has given up.
                return None
            case "repeat_at_once":
                answer, _ = await asyncio.gather(self._ask(sent, request), self._ask(sent, request))
                return answer, True
        return await self._suffer_afterwards(sent, request, await self._ask(sent, request))

    async def _suffer_afterwards(self, sent: Sent, request: bytes, answer: bytes) -> tuple[bytes, bool] | None:
        match sent.fault:
            case "lose_answer":
                return None
            case "cut_answer":
                return answer[: len(answer) - 1], False
            case "delay_answer":
                await asyncio.sleep(self._delay_seconds)
            case "repeat_later":
                self._echo(sent, request)
        return answer, True

    def _echo(self, sent: Sent, request: bytes) -> None:
        """Deliver a copy later, whoever still waits for it."""

        async def deliver() -> None:
            await asyncio.sleep(self._delay_seconds)
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._ask(sent, request)

        task = asyncio.ensure_future(deliver())
        self._echoes.add(task)
        task.add_done_callback(self._echoes.discard)

    async def _ask(self, sent: Sent, request: bytes) -> bytes:
        """Deliver a request to the gateway on a connection of its own and return the answer's bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._gateway_port)
        try:
            writer.write(request)
            answer = await _read_message(reader)
        finally:
            writer.transport.abort()
        body = json.loads(answer.body) if answer.body else None
        sent.answers.append((int(answer.head.split(b" ", 2)[1]), body))
        return answer.raw

    async def _send_part(self, part: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._gateway_port)
        writer.write(part)
        await writer.drain()
        writer.transport.abort()


async def _read_message(reader: asyncio.StreamReader) -> Message:
    """Read one HTTP/1.1 message; the body may have a length, come in chunks, or not be there."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:-2])
    if b"transfer-encoding" not in fields:
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
        return Message(head, head + body, body)
    raw, body, size = head, b"", 1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line, 16)
        chunk = await reader.readexactly(size + 2)
        raw += line + chunk
        body += chunk[:-2]
    return Message(head, raw, body)


@contextmanager
def network(gateway_url: str, choose: Choose = lambda _: "none", delay_seconds: float = 0.3) -> Iterator[Network]:
    """Run a network before the gateway, in a thread of its own."""
    between = Network(int(gateway_url.rpartition(":")[2]), choose, delay_seconds)
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    def ready(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
        stop.append(lambda: loop.call_soon_threadsafe(done.set))
        started.set()

    work: Coroutine[Any, Any, None] = between.serve(ready)
    thread = threading.Thread(target=asyncio.run, args=(work,), name="network")
    thread.start()
    try:
        assert started.wait(10)
        yield between
    finally:
        stop[0]()
        thread.join(10)
    assert between.mistakes == []
