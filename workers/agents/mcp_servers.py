"""The tools of an agent's MCP servers: connected for the length of an attempt, over streamable HTTP, by the door.

Servers of rows are never started as commands, and what they send is held to a size: their tools' list, each tool, each
result. A server that cannot be reached ends the attempt; a call that fails is a result that the model hears of.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from mcp_types import Tool as McpTool
from pydantic_ai import Tool
from pydantic_core import to_json

from workers.agents.llm_config import McpServer, misconfigured
from workers.agents.mcp_http import DoorTransport
from workers.agents.result import Reporter
from workers.contract import ClaimedTask
from workers.door import Door
from workers.errors import TaskFailure
from workers.secrets import Secrets

_MAX_TOOLS = 100  # of one server
_MAX_SCHEMA_BYTES = 32_000
_MAX_DESCRIPTION_CHARS = 4_000
_MAX_RESULT_CHARS = 100_000
_MAX_ANSWER_BYTES = 5_000_000
_MAX_NAME = 64
_CLOSE_SECONDS = 2.0


class McpServers:
    """The connections of one attempt; use as a context manager."""

    def __init__(self, door: Door, secrets: Secrets, claimed: ClaimedTask, reporter: Reporter) -> None:
        self._door = door
        self._secrets = secrets
        self._claimed = claimed
        self._reporter = reporter
        self._connections: list[_Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(connection.close() for connection in self._connections))

    async def connect(self, servers: Sequence[McpServer]) -> list[Tool[None]]:
        """Connect to all servers at once and return their tools, each named after its server.

        Raises:
            TaskFailure: mcp_unavailable; agent_misconfigured, naming what the door or the secrets do not let pass.
        """
        found = await asyncio.gather(*(self._tools(place, server) for place, server in enumerate(servers)))
        tools: dict[str, Tool[None]] = {}
        for tool in (tool for group in found for tool in group):
            tools.setdefault(tool.name, tool)
        return list(tools.values())

    async def _tools(self, place: int, server: McpServer) -> list[Tool[None]]:
        field = f"llm_config.tools.mcp_servers.{place}"
        url, headers = server.url, dict(server.headers)
        if "${" in url or any("${" in value for value in headers.values()):
            filled = await self._secrets.fill(
                self._claimed.task.organization_slug, {"url": server.url, "headers": dict(server.headers)}
            )
            url, headers = filled["url"], filled["headers"]
        http = self._door.client(
            self._claimed.allowed_hosts,
            timeout=server.timeout,
            max_bytes=_MAX_ANSWER_BYTES,
            organization=self._claimed.task.organization_slug,
        )
        connection = _Connection(url, headers, http, server.timeout)
        self._connections.append(connection)
        try:
            listed = await connection.list_tools()
        except _McpFailedError as error:
            if (refusal := connection.transport.refusal) is not None:
                raise misconfigured(f"{field}.url", refusal.message) from None
            raise TaskFailure(
                "mcp_unavailable",
                f"The MCP server {server.name} {error}.",
                retryable=True,
                data={"server": server.name, "field": field},
            ) from None
        wanted = [tool for tool in listed if server.tools is None or tool.name in server.tools]
        if missing := sorted(set(server.tools or ()) - {tool.name for tool in wanted}):
            raise misconfigured(f"{field}.tools", f"the server {server.name} has no tool {missing[0]!r}")
        return [
            _tool(server, tool, _CallTool(server, tool.name, connection, self._reporter))
            for tool in wanted[:_MAX_TOOLS]
            if len(to_json(tool.input_schema)) <= _MAX_SCHEMA_BYTES
        ]


class _McpFailedError(Exception):
    """The server did not do what was asked; the message ends a sentence that begins with its name."""


class _Connection:
    """A session with one server, in a task of its own, so that its end and its errors stay out of the attempt."""

    def __init__(self, url: str, headers: dict[str, str], door: httpx.AsyncClient, timeout: float) -> None:
        self.transport = DoorTransport(door)
        self._door = door
        self._timeout = timeout
        self._closing = asyncio.Event()
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._serve(url, headers))

    async def list_tools(self) -> list[McpTool]:
        """Return the server's tools, no more than are used."""
        client = await self._within(asyncio.shield(self._client), "connecting")
        tools: list[McpTool] = []
        cursor: str | None = None
        while len(tools) < _MAX_TOOLS:
            page = await self._within(client.list_tools(cursor=cursor), "listing its tools")
            tools += page.tools
            if not page.tools or page.next_cursor is None:
                break
            cursor = page.next_cursor
        return tools

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool."""
        client = await self._within(asyncio.shield(self._client), "connecting")
        result: CallToolResult = await self._within(client.call_tool(name, arguments), "answering")
        return result

    async def close(self) -> None:
        """End the session, or what is left of it."""
        self._closing.set()
        await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._door.aclose()

    async def _within(self, work: Any, doing: str) -> Any:
        """Wait for `work` as long as the server may take, and no longer than its session lives."""
        pending = asyncio.ensure_future(work)
        try:
            await asyncio.wait({pending, self._task}, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if pending.done():
                return pending.result()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise _McpFailedError(f"failed in {doing} ({type(error).__name__})") from error
        finally:
            pending.cancel()
        if self._task.done():
            raise _McpFailedError(f"broke off in {doing}")
        raise _McpFailedError(f"took longer than its {self._timeout:g} seconds in {doing}")

    async def _serve(self, url: str, headers: dict[str, str]) -> None:
        try:
            timeout = httpx2.Timeout(self._timeout)
            async with (
                httpx2.AsyncClient(headers=headers, transport=self.transport, timeout=timeout, trust_env=False) as http,
                Client(
                    streamable_http_client(url, http_client=http, max_sse_event_size=_MAX_ANSWER_BYTES), cache=None
                ) as client,
            ):
                self._client.set_result(client)
                await self._closing.wait()
        except Exception as error:
            if not self._client.done():
                self._client.set_exception(error)
                self._client.exception()  # Read here, so that nobody has to.


@dataclass(frozen=True, slots=True)
class _CallTool:
    """What is run when the model calls a tool of a server."""

    server: McpServer
    name: str
    connection: _Connection
    reporter: Reporter

    async def __call__(self, **arguments: Any) -> str:
        started = time.monotonic()
        outcome = "ok"
        try:
            result = await self.connection.call(self.name, arguments)
        except _McpFailedError as error:
            outcome = "failed"
            return f"The tool could not be used: the server {self.server.name} {error}."
        else:
            outcome = "error" if result.is_error else "ok"
            return _text_of(result)
        finally:
            said = {
                "tool": self.name,
                "server": self.server.name,
                "outcome": outcome,
                "duration_ms": round((time.monotonic() - started) * 1000),
            }
            self.reporter.event("tool", f"Tool {self.name} of {self.server.name} was called", said)


def _tool(server: McpServer, tool: McpTool, call: _CallTool) -> Tool[None]:
    name = re.sub("[^A-Za-z0-9_-]", "_", f"{server.name}_{tool.name}")[:_MAX_NAME]
    description = (tool.description or "")[:_MAX_DESCRIPTION_CHARS]
    return Tool.from_schema(call, name, description, {"type": "object", **tool.input_schema})


def _text_of(result: CallToolResult) -> str:
    """Return what the model reads of a result; only text is passed on."""
    parts = [part.text if isinstance(part, TextContent) else f"[{part.type} left out]" for part in result.content]
    text = "\n".join(parts)
    if not text and result.structured_content is not None:
        text = to_json(result.structured_content).decode()
    if len(text) > _MAX_RESULT_CHARS:
        text = f"{text[:_MAX_RESULT_CHARS]}\n[cut off after {_MAX_RESULT_CHARS} characters]"
    return f"The tool reports an error: {text}" if result.is_error else text
