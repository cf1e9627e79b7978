"""What a run with a language model leaves in its trace: requests, tools, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic_ai import CallDeferred, ModelRetry, RunContext, ToolDefinition
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.capabilities.abstract import WrapToolExecuteHandler
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelRequest, ModelResponse, ToolCallPart
from pydantic_core import to_jsonable_python

from workers.calls import ReturnedCall
from workers.ledger import UsageRow
from workers.trace import Step, step

_PARTS = ("parts", "instructions", "finish_reason", "model_name")


class TracedTools(AbstractCapability[None]):
    """Records every tool that the model calls; one that waits for an agent or a person is recorded as what it asks."""

    async def wrap_tool_execute(
        self,
        ctx: RunContext[None],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,  # noqa: ARG002 - the library's signature
        args: Mapping[str, Any],
        handler: WrapToolExecuteHandler,
    ) -> Any:
        """Run the tool within a step."""
        deferred: CallDeferred | None = None
        with step("tool_call", call.tool_name, dict(args)) as record:
            record.metadata = {"call_id": call.tool_call_id}
            if ctx.retry:
                record.metadata["retry"] = ctx.retry
            try:
                result = await handler(dict(args))
            except CallDeferred as asked:
                _note_asked(record, call.tool_call_id, asked.metadata or {})
                deferred = asked
            except ModelRetry as problem:
                record.fail(str(problem)[:2000])
                raise
            else:
                record.output = to_jsonable_python(result, fallback=str) if record.is_kept else None
                return result
        raise deferred


def llm_step(provider: str, model: str) -> Step:
    """Return a step for one request to a model."""
    record = step("llm_call", model)
    record.metadata = {"provider": provider, "model": model}
    return record


def note_request(record: Step, request: ModelRequest, history: Sequence[ModelMessage]) -> None:
    """Note what the model is sent: what is new, and how many messages go before it, which earlier steps hold."""
    if record.is_kept:
        with suppress(Exception):  # Whatever a message holds, the request goes on.
            record.input = {**_shown(request), "earlier_messages": len(history)}


def note_response(record: Step, response: ModelResponse, usage: UsageRow) -> None:
    """Note what the model answered, as far as it came, and what that cost."""
    record.usage = usage
    record.metadata["finish_reason"] = str(response.finish_reason)
    if record.is_kept:
        with suppress(Exception):
            record.output = _shown(response)


def record_returned(call: ReturnedCall) -> None:
    """Record what came of an agent that an earlier run of the task called."""
    with step("agent_call", call.agent_slug) as record:
        if call.seconds is not None:
            record.began_at -= call.seconds
        record.metadata = {"call_id": call.call_id, "phase": "answered", "task_id": call.task_id}
        if call.status == "completed":
            record.output = call.response
        else:
            record.fail(f"{call.error_code or call.status}: {call.error_message or 'no more is known.'}")


def _note_asked(record: Step, call_id: str, waits: Mapping[str, Any]) -> None:
    record.metadata = {"call_id": call_id, "phase": "asked"}
    if "agent_slug" in waits:
        record.type, record.name = "agent_call", str(waits["agent_slug"])
    elif "question" in waits:
        record.type = "input_request"


def _shown(message: ModelRequest | ModelResponse) -> dict[str, Any]:
    (dumped,) = ModelMessagesTypeAdapter.dump_python([message], mode="json")
    shown = {name: dumped[name] for name in _PARTS if dumped.get(name) is not None}
    shown["parts"] = [
        {name: value for name, value in part.items() if value is not None and name != "timestamp"}
        for part in dumped["parts"]
    ]
    return shown
