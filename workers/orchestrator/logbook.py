"""Writes what a run does to `agent_logs`: hooks and responses, in order, secrets hidden.

Entries wait until the model has answered or the run ends. That they cannot be written ends no run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_core import to_jsonable_python

from workers.agents.documents import readable_json
from workers.clean import clean_json, clean_text
from workers.errors import TaskFailure
from workers.orchestrator.desk import Desk
from workers.trace import MAX_VALUE_BYTES

_MAX_CONTENT = 32_000
_BATCH = 100


class LogBook:
    """The log of one attempt; a `Listener`, too, which keeps the transcript of the run."""

    def __init__(self, desk: Desk, own_prompt: str | None = None) -> None:
        self._desk = desk
        self._own_prompt = own_prompt
        self._waiting: list[dict[str, Any]] = []
        self._next = 1

    def hook(self, event_type: str, content: str = "", payload: Mapping[str, Any] | None = None) -> None:
        """Note that something begins or ends."""
        self._note("hook", event_type, content, payload)

    def response(self, event_type: str, content: str, payload: Mapping[str, Any] | None = None) -> None:
        """Note what the model or a tool said."""
        self._note("response", event_type, content, payload)

    async def responded(self, messages: Sequence[ModelMessage], used: Mapping[str, int]) -> None:
        """Keep the transcript, and note the parts of the model's answer."""
        await self._desk.save(self._own(messages), used)
        answer = messages[-1]
        for part in answer.parts if isinstance(answer, ModelResponse) else ():
            match part:
                case TextPart(content=text):
                    self.response("text", text)
                case ThinkingPart(content=text):
                    self.response("thinking", text)
                case ToolCallPart():
                    given = {"tool": part.tool_name, "call_id": part.tool_call_id, "input": part.args_as_dict()}
                    self.response("tool_use", f"{part.tool_name} {readable_json(given['input'])}", given)
        await self.flush()

    async def tool_begins(self, call: ToolCallPart, arguments: Mapping[str, Any]) -> None:
        """Note a tool that is about to run."""
        self.hook("PreToolUse", call.tool_name, {"call_id": call.tool_call_id, "input": dict(arguments)})
        await self.flush()

    async def tool_ended(self, call: ToolCallPart, result: Any) -> None:
        """Note what a tool gave."""
        self.tool_result(call.tool_name, call.tool_call_id, result)

    def tool_result(self, name: str, call_id: str, result: Any) -> None:
        """Note what a tool gave, at once or after a pause."""
        told = to_jsonable_python(result, fallback=str)
        text = told if isinstance(told, str) else readable_json(told)
        self.response("tool_result", text, {"tool": name, "call_id": call_id})
        self.hook("PostToolUse", name, {"call_id": call_id})

    async def flush(self) -> None:
        """Write what waits; what the database does not take is forgotten."""
        while self._waiting:
            batch, number = self._waiting[:_BATCH], self._next
            del self._waiting[:_BATCH]
            self._next += len(batch)
            try:
                await self._desk.log(number, batch)
            except TaskFailure:
                return

    def _own(self, messages: Sequence[ModelMessage]) -> Sequence[ModelMessage]:
        """Return, for an instance, what belongs to this command: from its prompt on."""
        if self._own_prompt is None:
            return messages
        for index in range(len(messages) - 1, -1, -1):
            if any(getattr(part, "content", None) == self._own_prompt for part in messages[index].parts):
                return messages[index:]
        return messages

    def _note(self, category: Literal["hook", "response"], kind: str, content: str, payload: Any) -> None:
        shown = clean_json(to_jsonable_python(payload or {}, fallback=str))
        if len(readable_json(shown)) > MAX_VALUE_BYTES:
            shown = {"cut": True}
        # Hidden before it is cut: half a secret would not be found.
        text = self._desk.job.veil.text(clean_text(content))[:_MAX_CONTENT]
        self._waiting.append(
            {"event_category": category, "event_type": kind, "content": text or None, "payload": shown}
        )
