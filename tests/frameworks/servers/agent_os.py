"""A real AgentOS with an agent whose model is made here; the prompt says what it does.

Runs in the venv of tests/frameworks/running.py: agent_os.py PORT DATABASE_FILE.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.message import Message
from agno.models.response import ModelResponse
from agno.os import AgentOS
from agno.tools import tool


@dataclass
class Scripted(Model):
    """Answers by its prompt."""

    id: str = "gpt-4o-mini"
    name: str = "Scripted"
    provider: str = "OpenAI"

    def answer(self, messages: list[Message]) -> ModelResponse:
        last, prompt = messages[-1], _prompt(messages)
        used = MessageMetrics(input_tokens=30, output_tokens=4, total_tokens=34)
        if last.role == "user" and prompt.startswith("ask"):
            name, arguments = ("send_mail", {"to": "bob"}) if "confirm" in prompt else ("paint", {})
            call = {"id": "call1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            return ModelResponse(role="assistant", tool_calls=[call], response_usage=used)
        text = f"Done: {last.content}" if last.role == "tool" else f"Echo {prompt}"
        return ModelResponse(role="assistant", content=text, response_usage=used)

    def invoke(self, messages: list[Message], **_: Any) -> ModelResponse:
        return self.answer(messages)

    async def ainvoke(self, messages: list[Message], **_: Any) -> ModelResponse:
        return self.answer(messages)

    def invoke_stream(self, messages: list[Message], **_: Any) -> Iterator[ModelResponse]:
        yield self.answer(messages)

    async def ainvoke_stream(self, messages: list[Message], **_: Any) -> AsyncIterator[ModelResponse]:
        prompt = _prompt(messages)
        if prompt.startswith("fail"):
            raise RuntimeError(f"boom {prompt.removeprefix('fail ')}")
        if prompt.startswith("slow"):
            await asyncio.sleep(float(prompt.split()[1]))
        yield self.answer(messages)

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response


def _prompt(messages: list[Message]) -> str:
    return [message for message in messages if message.role == "user"][-1].get_content_string()


@tool(requires_confirmation=True)
def send_mail(to: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


@tool(requires_user_input=True, user_input_fields=["colour"])
def paint(colour: str) -> str:
    """Paint the fence."""
    return f"painted {colour}"


def main() -> None:
    port, database = int(sys.argv[1]), SqliteDb(db_file=sys.argv[2])
    kept = Agent(id="kept", model=Scripted(), db=database, tools=[send_mail, paint], telemetry=False)
    bare = Agent(id="bare", model=Scripted(), telemetry=False)
    app = AgentOS(id="tests", agents=[kept, bare], telemetry=False).get_app()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


main()
