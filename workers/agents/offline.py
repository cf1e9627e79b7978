"""The offline model: a pydantic-ai model that writes a draft by rule, for use without any provider.

A worker uses it only when it is told to, for every context agent, and says so in `llm_metadata.offline`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import (
    AgentInfo,
    BuiltinToolCallsReturns,
    DeltaThinkingCalls,
    DeltaToolCall,
    DeltaToolCalls,
    FunctionModel,
)

from workers.agents.ask import ASK_PERSON, NO_ANSWER
from workers.agents.draft import write_draft
from workers.agents.extras import OfflineCall, OfflineSteps
from workers.agents.plan_format import PlanBrief
from workers.agents.sample import fill_schema
from workers.agents.sample_plan import sample_plan

OFFLINE = "offline"
_CHUNKS = 24
# What tokenisers of English average out to.
_CHARS_PER_TOKEN = 4

_Streamed = str | DeltaToolCalls | DeltaThinkingCalls | BuiltinToolCallsReturns


@dataclass(frozen=True, slots=True)
class OfflineBrief:
    """What the draft, or the plan, is made from; `seconds` is how long writing it takes."""

    prompt: str
    params: Mapping[str, Any]
    agent_name: str
    agent_context: str
    seconds: float
    plan: PlanBrief | None = None
    steps: OfflineSteps | None = None


def offline_model(brief: OfflineBrief) -> Model:
    """Return a model that streams the draft for `brief`, as text or as the structured answer it is asked for.

    Where it may ask a person and the params name no `audience`, it asks first who the draft is for.
    """

    async def write(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[_Streamed]:
        if brief.steps is not None:
            async for piece in _play(brief.steps(messages), brief.seconds):
                yield piece
            return
        told = _told(messages)
        may_ask = any(tool.name == ASK_PERSON for tool in info.function_tools)
        if may_ask and told is None and "audience" not in brief.params:
            question = json.dumps({"question": "Who is it for?"})
            yield {0: DeltaToolCall(name=ASK_PERSON, json_args=question, tool_call_id="offline-question")}
            return
        params = {**brief.params, **(told or {})}
        draft = write_draft(brief.prompt, params, brief.agent_name, brief.agent_context)
        if not info.output_tools:
            async for piece in _slowly(draft.text, brief.seconds):
                yield piece
            return
        tool = info.output_tools[0]
        schema = tool.parameters_json_schema
        filled = sample_plan(brief.plan, draft) if brief.plan is not None else fill_schema(schema, draft)
        document = json.dumps(filled, ensure_ascii=False)
        name: str | None = tool.name
        async for piece in _slowly(document, brief.seconds):
            yield {0: DeltaToolCall(name=name, json_args=piece, tool_call_id="offline")}
            name = None

    return FunctionModel(stream_function=write, model_name=OFFLINE)


async def _play(step: OfflineCall | str, seconds: float) -> AsyncIterator[_Streamed]:
    if isinstance(step, str):
        async for piece in _slowly(step, seconds):
            yield piece
        return
    yield {0: DeltaToolCall(name=step.tool, json_args=json.dumps(step.arguments), tool_call_id=step.call_id)}


def _told(messages: list[ModelMessage]) -> dict[str, Any] | None:
    """Return the params that a person's answer adds, None when nobody was asked."""
    parts = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    if not parts:
        return None
    return {} if parts[-1].content == NO_ANSWER else {"audience": parts[-1].content}


def estimate_tokens(*texts: str) -> int:
    """Return about how many tokens the texts are."""
    return sum(-(-len(text) // _CHARS_PER_TOKEN) for text in texts)


async def _slowly(text: str, seconds: float) -> AsyncIterator[str]:
    """Yield `text` in about 24 pieces that end between words, spread over `seconds`."""
    size = max(1, len(text) // _CHUNKS)
    for piece in re.findall(rf".{{1,{size}}}\S*", text, flags=re.DOTALL):
        await asyncio.sleep(seconds / _CHUNKS)
        yield piece
