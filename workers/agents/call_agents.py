"""The tools by which a language model calls other agents of its organization, one for each agent it may call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_ai import CallDeferred, ModelRetry, Tool

from workers.agents.llm_config import CallAgents
from workers.agents.result import Reporter
from workers.backend import Backend
from workers.calls import AgentCall, ReturnedCall
from workers.contract import ClaimedTask
from workers.errors import BackendError, TaskFailure

_MAX_RESULT_CHARS = 32_000
_MAX_PROMPT_CHARS = 100_000
_MAX_NAME = 64


class Called(BaseModel):
    """One call, as a checkpoint keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tool_call_id: str
    agent_slug: str
    prompt: str
    params: dict[str, Any] = {}
    agent_instance: str | None = None

    def request(self) -> AgentCall:
        """Return the call to be made."""
        return AgentCall(self.tool_call_id, self.agent_slug, self.prompt, self.params, self.agent_instance)


@dataclass(frozen=True, slots=True)
class _CallAgent:
    """What is run when the model calls one of the tools: the run is put off until the agent has answered."""

    slug: str

    async def __call__(self, **arguments: Any) -> str:
        prompt, params = arguments.get("prompt"), arguments.get("params") or {}
        if not isinstance(prompt, str) or not 0 < len(prompt.strip()) <= _MAX_PROMPT_CHARS:
            raise ModelRetry(f"prompt must be a text of 1 to {_MAX_PROMPT_CHARS} characters.")
        if not isinstance(params, dict):
            raise ModelRetry("params must be an object.")
        raise CallDeferred({"agent_slug": self.slug, "prompt": prompt, "params": params})


async def call_tools(claimed: ClaimedTask, setting: CallAgents | None, database: Backend) -> list[Tool[None]]:
    """Return a tool for each agent that may be called and can be; none where the stack of calls is full.

    Raises:
        TaskFailure: internal_error, retryable, when the database does not say which there are.
    """
    if setting is None or len(claimed.call_stack) >= setting.max_depth:
        return []
    arguments = {"task_id": claimed.task.id, "slugs": list(dict.fromkeys(setting.agents))}
    try:
        known = await database.call("agents_to_call", arguments)
    except BackendError:
        raise TaskFailure(
            "internal_error", "The worker could not read which agents may be called.", retryable=True
        ) from None
    names = _names(row["slug"] for row in known)
    return [_tool(names[row["slug"]], row) for row in known]


def result_of(call: ReturnedCall) -> dict[str, Any]:
    """Return what the model is told about a call that is over."""
    told: dict[str, Any] = {"agent": call.agent_slug, "status": call.status}
    if call.status == "completed":
        text = call.response or ""
        told["response"] = text[:_MAX_RESULT_CHARS]
        if call.is_cut or len(text) > _MAX_RESULT_CHARS:
            told["note"] = f"The response is longer: this is its beginning. The whole is in task {call.task_id}."
    else:
        told["error"] = f"{call.error_code or call.status}: {call.error_message or 'no more is known.'}"
    return told


def tell(reporter: Reporter, call: ReturnedCall) -> None:
    """Leave a call that is over in the task's trail."""
    said: dict[str, Any] = {
        "tool": "call_agent",
        "agent": call.agent_slug,
        "task_id": call.task_id,
        "outcome": "ok" if call.status == "completed" else call.error_code or call.status,
        "duration_ms": round(call.seconds * 1000) if call.seconds is not None else None,
    }
    reporter.event("tool", f"Agent {call.agent_slug} was called", said)


def _names(slugs: Iterable[str]) -> dict[str, str]:
    """Return a tool's name for each slug, in the letters that all providers take, no name twice."""
    names: dict[str, str] = {}
    for slug in slugs:
        plain = f"call_{re.sub('[^A-Za-z0-9_-]', '_', slug)}"[:_MAX_NAME]
        taken = set(names.values())
        numbered = (f"{plain[: _MAX_NAME - 4]}_{number}" for number in range(2, 100))
        names[slug] = plain if plain not in taken else next(name for name in numbered if name not in taken)
    return names


def _tool(name: str, row: Mapping[str, Any]) -> Tool[None]:
    accepts = row.get("input")
    params: dict[str, Any] = accepts if isinstance(accepts, dict) and accepts.get("type") == "object" else {}
    schema = {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string", "description": "What the agent should do; it sees nothing else."},
            "params": {**params, "type": "object"},
        },
    }
    description = f"Call the agent {row['name']} and wait for its answer. {row.get('description') or ''}".strip()
    tool = Tool.from_schema(_CallAgent(row["slug"]), name, description, schema)
    tool.max_retries = 1
    return tool
