"""Context agents with MCP servers: real servers of the official SDK on 127.0.0.1, and some that misbehave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.unit.agents.api_kit import CountingDoor
from tests.unit.agents.context_kit import GivenSecrets, Heard, Surroundings, context_agents, llm_config, names
from tests.unit.agents.test_agents_ask import script
from tests.unit.agents.test_agents_context import TOOL_STOP
from tests.unit.http_server import Reply, serve
from tests.unit.wire import EVENTS, stream
from workers.agents.result import AgentResult
from workers.contract import AgentRow, ClaimedTask, TaskRow
from workers.door import Door
from workers.errors import TaskFailure

ALL = sorted(EVENTS)


class Tide:
    """The address of a server that knows tides, and the headers that it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.headers: list[dict[str, str]] = []

    def app(self) -> ASGIApp:
        server = MCPServer("tides")

        @server.tool()
        def height(place: str) -> str:
            """The height of the tide."""
            return f"3 m at {place}"

        @server.tool()
        def ebb() -> str:
            """Always fails."""
            raise ValueError("no ebb today")

        @server.tool()
        async def slack() -> str:
            """Takes its time."""
            await asyncio.sleep(30)
            return "late"

        @server.tool()
        def flood() -> str:
            """Says much."""
            return "x" * 300_000

        inner = server.streamable_http_app()

        async def outer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
            await inner(scope, receive, send)

        return outer


@contextmanager
def tides() -> Iterator[Tide]:
    tide = Tide()
    config = uvicorn.Config(tide.app(), host="127.0.0.1", port=0, log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.02)
    tide.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    try:
        yield tide
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def tide() -> Iterator[Tide]:
    with tides() as tide:
        yield tide


async def run(
    provider: str, url: str, *servers: Any, heard: Heard | None = None, around: Surroundings | None = None, **more: Any
) -> AgentResult:
    """Run one attempt of an agent with these MCP servers."""
    config = llm_config(provider, tools={"mcp_servers": list(servers)}, **more)
    row = AgentRow("a", "A", "context", "Be kind.", "active", llm_config=config)
    claimed = ClaimedTask(TaskRow("t1", "demo-org", "process", "How high?", 3), row, 1, "token")
    async with context_agents(provider, url, around) as agents:
        result: AgentResult = await agents.run(claimed, row, heard or Heard())
    return result


async def test_the_connections_are_of_the_organizations_share(tide: Tide) -> None:
    door = CountingDoor(allow_private=True)
    with serve(script(stream("openai", ["High."]))) as model:
        await run("openai", model.url, {"name": "tide", "url": tide.url}, around=Surroundings(door=door))
    assert door.shares == ["demo-org"]


async def failure(*servers: Any, around: Surroundings | None = None) -> TaskFailure:
    """Run one attempt that must fail before the model is asked."""
    with serve(script()) as model, pytest.raises(TaskFailure) as caught:
        await run("openai", model.url, *servers, around=around)
    assert model.seen == []
    return caught.value


def using(provider: str, tool: str, arguments: str = "{}") -> Reply:
    return stream(provider, [arguments], tool=tool, stop=TOOL_STOP[provider])


def said(heard: Heard) -> list[tuple[Any, Any, Any]]:
    return [(data["tool"], data["server"], data["outcome"]) for kind, data in heard.events if kind == "tool"]


@pytest.mark.parametrize("provider", ALL)
async def test_a_tool_is_listed_called_and_heard_of(provider: str, tide: Tide) -> None:
    heard = Heard()
    replies = script(using(provider, "sea_height", '{"place": "Ostend"}'), stream(provider, ["3 m."]))
    with serve(replies) as model:
        result = await run(provider, model.url, {"name": "sea", "url": tide.url}, heard=heard)
    assert (result.text, heard.text, len(model.seen)) == ("3 m.", "3 m.", 2)
    assert [(row.input_tokens, row.output_tokens) for row in result.usage] == [(60, 30)]
    assert "The height of the tide." in model.seen[0].body.decode()
    assert "3 m at Ostend" in model.seen[1].body.decode()
    assert said(heard) == [("height", "sea", "ok")]
    assert heard.events[0][1]["duration_ms"] >= 0


async def test_two_servers_and_only_the_tools_that_are_named(tide: Tide) -> None:
    servers = [{"name": "a", "url": tide.url, "tools": ["height"]}, {"name": "b", "url": tide.url, "tools": ["ebb"]}]
    with serve(script(stream("openai", ["ok"]))) as model:
        await run("openai", model.url, *servers)
    assert names(model.seen[0].json["tools"]) == ["a_height", "b_ebb"]
    failed = await failure({"name": "a", "url": tide.url, "tools": ["depth"]})
    assert failed.code == "agent_misconfigured"
    assert "depth" in failed.message


async def test_secrets_are_in_the_headers_and_nowhere_else(tide: Tide) -> None:
    heard = Heard()
    around = Surroundings(secrets=GivenSecrets(SEA_KEY="s3cret"))
    server = {"name": "sea", "url": tide.url, "headers": {"Authorization": "Bearer ${SEA_KEY}"}}
    tide.headers.clear()
    with serve(script(using("openai", "sea_height", '{"place": "x"}'), stream("openai", ["ok"]))) as model:
        result = await run("openai", model.url, server, heard=heard, around=around)
    assert {headers.get("authorization") for headers in tide.headers} == {"Bearer s3cret"}
    assert "s3cret" not in repr([seen.body for seen in model.seen]) + repr(heard.events) + repr(result)


@pytest.mark.parametrize(
    ("tool", "outcome", "told"),
    [("sea_ebb", "error", "reports an error"), ("sea_slack", "failed", "took longer"), ("sea_flood", "ok", "cut off")],
)
async def test_errors_time_outs_and_floods_are_results(tide: Tide, tool: str, outcome: str, told: str) -> None:
    heard = Heard()
    with serve(script(using("openai", tool), stream("openai", ["Anyway."]))) as model:
        result = await run("openai", model.url, {"name": "sea", "url": tide.url, "timeout": 2}, heard=heard)
    assert result.text == "Anyway."
    assert said(heard)[0][2] == outcome
    (answer,) = [message for message in model.seen[1].json["messages"] if message["role"] == "tool"]
    assert told in answer["content"]
    assert len(answer["content"]) < 101_000


async def test_calls_are_held_to_the_limit(tide: Tide) -> None:
    with serve(lambda _seen: using("openai", "sea_height", '{"place": "x"}')) as model:
        with pytest.raises(TaskFailure) as caught:
            await run("openai", model.url, {"name": "sea", "url": tide.url}, limits={"max_tool_calls": 2})
        assert (caught.value.code, len(model.seen)) == ("limit_reached", 3)
        with pytest.raises(TaskFailure) as caught:
            await run("openai", model.url, {"name": "sea", "url": tide.url}, limits={"max_requests": 2})
    assert (caught.value.code, len(model.seen)) == ("limit_reached", 5)
    assert [row.output_tokens for row in caught.value.usage] == [30]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(401),
        Reply(200, {"Content-Type": "text/html"}, [b"<html>"]),
        Reply(200, {"Content-Type": "application/json"}, [b"[1, 2"]),
        Reply(raw=b"garbage\r\n\r\n"),
        Reply(delay=30),
        Reply(200, {"Content-Type": "text/event-stream"}, [b": drip\n\n"] * 200, chunk_delay=0.02),
    ],
    ids=["500", "401", "a web page", "broken json", "no http", "silence", "drip"],
)
async def test_a_server_that_does_not_speak_mcp_ends_the_attempt(reply: Reply) -> None:
    with serve(lambda _seen: reply) as server:
        failed = await failure({"name": "sea", "url": server.url, "timeout": 1})
    assert (failed.code, failed.retryable) == ("mcp_unavailable", True)
    assert "sea" in failed.message


async def test_nobody_at_the_address() -> None:
    with serve(lambda _seen: Reply()) as server:
        url = server.url
    assert (await failure({"name": "sea", "url": url, "timeout": 2})).code == "mcp_unavailable"


async def test_what_the_door_refuses_names_the_field(tide: Tide) -> None:
    failed = await failure({"name": "sea", "url": tide.url, "timeout": 2}, around=Surroundings(door=Door()))
    assert (failed.code, failed.retryable) == ("agent_misconfigured", False)
    assert failed.data is not None
    assert failed.data["field"] == "llm_config.tools.mcp_servers.0.url"


@pytest.mark.parametrize(
    ("server", "field"),
    [
        ({"name": "a b", "url": "http://x"}, "0.name"),
        ({"name": "a", "url": "ftp://x"}, "0.url"),
        ({"name": "a", "command": "sh"}, "0.url"),
        ({"name": "a", "url": "http://x", "command": "sh"}, "0.command"),
        ({"name": "a", "url": "http://x", "timeout": 0}, "0.timeout"),
    ],
)
async def test_a_server_that_is_set_wrongly_is_refused_by_name(server: Any, field: str) -> None:
    failed = await failure(server)
    assert failed.code == "agent_misconfigured"
    assert failed.data is not None
    assert failed.data["field"] == f"llm_config.tools.mcp_servers.{field}"
    twice = await failure({"name": "a", "url": "http://x"}, {"name": "a", "url": "http://y"})
    assert "same name" in twice.message
