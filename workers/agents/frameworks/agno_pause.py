"""Tools of an Agno agent that wait for a person: asked one after another, handed over all at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from workers.agents.documents import readable_json
from workers.agents.frameworks.agno_events import Heard
from workers.agents.frameworks.kept import Kept, read_kept
from workers.agents.frameworks.outcome import APPROVAL, NO_ANSWER, question, shown
from workers.agents.frameworks.visit import Visit
from workers.agents.frameworks.wire import invalid
from workers.contract import AgentRow, ClaimedTask
from workers.errors import InputNeeded
from workers.ledger import UsageRow
from workers.questions import Answer

_MAX_CHARS = 500_000
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1}


class _Kept(Kept):
    """A checkpoint: the tools of the pause, answered as far as `open` does not name them."""

    format: Literal["agno/1"] = "agno/1"
    run_id: str
    session_id: str
    seen: int
    tools: list[dict[str, Any]]
    open: list[int] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes to the paused run; `seen` is the index of the last event before the pause."""

    run_id: str
    session_id: str
    seen: int
    tools: list[dict[str, Any]]


def reply_of(claimed: ClaimedTask, agent: AgentRow, redact: Callable[[str], str]) -> Reply | None:
    """Return what the answers come to; None when nothing was asked.

    Raises:
        InputNeeded: more than one tool waits, and the next is due.
        TaskFailure: checkpoint_unreadable.
    """
    found = read_kept(claimed, _Kept)
    if found is None:
        return None
    kept, answer = found
    place = kept.open[0]
    tools = [_answered(tool, answer) if number == place else tool for number, tool in enumerate(kept.tools)]
    if kept.open[1:]:
        raise _needed(kept.model_copy(update={"open": kept.open[1:], "tools": tools}), agent, redact, ())
    return Reply(kept.run_id, kept.session_id, kept.seen, tools)


def ask(paused: Mapping[str, Any], heard: Heard, visit: Visit) -> InputNeeded:
    """Return the pause for the tools that wait.

    Raises:
        TaskFailure: endpoint_response_invalid.
    """
    tools = paused.get("tools")
    tools = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    waiting = [number for number, tool in enumerate(tools) if _kind(tool) is not None]
    if not waiting or len(json.dumps(tools)) > _MAX_CHARS:
        raise invalid(visit.what, "paused, and said not in a form known here what for")
    kept = _Kept(run_id=str(heard.run_id), session_id=heard.session_id, seen=heard.seen, tools=tools, open=waiting)
    return _needed(kept, visit.agent, visit.redact, heard.bill.rows)


def _kind(tool: Mapping[str, Any]) -> Literal["confirmation", "input", "result"] | None:
    """Return what a tool waits for; None when it does not."""
    if tool.get("requires_confirmation") and tool.get("confirmed") is None:
        return "confirmation"
    if tool.get("requires_user_input") and not tool.get("answered"):
        return "input"
    if tool.get("external_execution_required") and tool.get("result") is None:
        return "result"
    return None


def _fields(tool: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the values that are asked for: those that the model has not filled in."""
    fields = tool.get("user_input_schema")
    found = [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []
    return [field for field in found if isinstance(field.get("name"), str) and field.get("value") is None][:50]


def _needed(kept: _Kept, agent: AgentRow, redact: Callable[[str], str], usage: tuple[UsageRow, ...]) -> InputNeeded:
    tool = kept.tools[kept.open[0]]
    call = f"{tool.get('tool_name')} with {readable_json(tool.get('tool_args') or {})}"
    schema: Mapping[str, Any] = APPROVAL
    match _kind(tool):
        case "confirmation":
            asked = f"The agent {agent.name} wants to call {call}. May it?"
        case "input":
            fields = _fields(tool)
            told = "".join(
                f"\n- {field['name']}: {field.get('description') or field.get('field_type')}" for field in fields
            )
            asked = f"The agent {agent.name} needs values for {tool.get('tool_name')}:{told}"
            properties = {field["name"]: _schema_of(field) for field in fields}
            schema = {"type": "object", "required": list(properties), "properties": properties}
        case _:
            asked, schema = f"The agent {agent.name} asks you to do {call}. What came of it?", _TEXT
    metadata = {"agno": {"tool": tool.get("tool_name"), "arguments": shown(tool.get("tool_args"))}}
    request = question(asked, f"{agent.name} needs input.", redact, metadata=metadata, schema=schema)
    return InputNeeded(request, checkpoint=kept.model_dump(mode="json"), usage=usage)


def _schema_of(field: Mapping[str, Any]) -> dict[str, Any]:
    known = _TYPES.get(str(field.get("field_type")))
    return {"type": known} if known else {}


def _answered(tool: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Return a tool with what the person said."""
    response = answer.response if answer.status == "answered" else None
    match _kind(tool):
        case "confirmation":
            said = response if isinstance(response, dict) else {}
            note = said.get("note") or (NO_ANSWER if response is None else None)
            return {**tool, "confirmed": said.get("approved") is True, "confirmation_note": note}
        case "input":
            said = response if isinstance(response, dict) else {}
            fields = [
                {
                    **field,
                    "value": field.get("value") if field.get("value") is not None else said.get(field.get("name")),
                }
                for field in tool["user_input_schema"]
            ]
            return {**tool, "user_input_schema": fields, "answered": True}
        case "result":
            return {**tool, "result": response if isinstance(response, str) else NO_ANSWER}
        case _:
            return tool
