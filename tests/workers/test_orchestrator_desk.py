"""What a turn sends to the database can be kept there, whatever its model and tools said."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from pydantic_ai.messages import ModelRequest, UserPromptPart

from workers.backend import Backend
from workers.job import Job
from workers.orchestrator.desk import Desk

SENT: list[dict[str, Any]] = []


async def _call(name: str, arguments: dict[str, Any]) -> bool:
    assert name == "call_orchestrator"
    SENT.append(arguments["arguments"])
    return True


def test_characters_that_jsonb_refuses_end_no_turn() -> None:
    lease = SimpleNamespace(task_id="t", attempt=1, lease_token="l")
    veil = SimpleNamespace(json=lambda value: value)
    job = SimpleNamespace(claimed=SimpleNamespace(lease=lease), veil=veil)
    desk = Desk(cast(Job, job), cast(Backend, SimpleNamespace(call=_call)))
    SENT.clear()
    asyncio.run(desk.tool("c", "command_agent", {"name": "a\0b", "prompt": "x\ud800"}))
    asyncio.run(desk.save([ModelRequest(parts=[UserPromptPart("page\0")])], {}))
    assert SENT[0]["arguments"] == {"name": "a\ufffdb", "prompt": "x\ufffd"}
    assert SENT[1]["messages"][0]["parts"][0]["content"] == "page\ufffd"
