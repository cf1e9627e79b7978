"""An orchestrator by rule, without a language model; used by the offline model only.

It understands one instruction a line; whatever else is said, a writer is created and told to do::

    create agent NAME [from SLUG]      ask NAME to ...           start NAME to ...  (and does not wait)
    status of NAME                     interrupt NAME            archive NAME
    logs of NAME                       delegate to SLUG: ...     plan: ...
    list agents, check tasks, cost, done, ask me: ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_ai.messages import ModelMessage, RetryPromptPart, ToolReturnPart

from workers.agents.extras import OfflineCall, OfflineSteps

_Call = tuple[str, dict[str, Any]]
_RULES: tuple[tuple[str, Callable[[re.Match[str]], _Call]], ...] = (
    (r"create agent ([\w.-]+)(?: from ([\w-]+))?", lambda m: ("create_agent", _create(m[1], m[2]))),
    (r"ask me:? (.+)", lambda m: ("ask_person", {"question": m[1]})),
    (r"ask ([\w.-]+) to (.+)", lambda m: ("command_agent", {"name": m[1], "prompt": m[2]})),
    (r"start ([\w.-]+) to (.+)", lambda m: ("command_agent", {"name": m[1], "prompt": m[2], "wait": False})),
    (r"status of ([\w.-]+)", lambda m: ("check_agent_status", {"name": m[1]})),
    (r"logs of ([\w.-]+)", lambda m: ("read_agent_logs", {"name": m[1]})),
    (r"(interrupt|archive) ([\w.-]+)", lambda m: (f"{m[1].lower()}_agent", {"name": m[2]})),
    (r"delegate to ([\w-]+): (.+)", lambda m: ("delegate_task", {"agent_slug": m[1], "prompt": m[2]})),
    (r"plan: (.+)", lambda m: ("plan_project", {"prompt": m[1]})),
    (r"list agents", lambda _: ("list_agents", {})),
    (r"check tasks", lambda _: ("check_tasks", {})),
    (r"cost", lambda _: ("report_cost", {})),
    (r"done", lambda _: ("finish_job", {})),
)
_FROM_AN_AGENT = 'Your agent "'


def sample_turn(prompt: str) -> OfflineSteps:
    """Return what to do next, given the messages so far: a call of a tool, or the answer."""
    calls = _calls(prompt)

    def step(messages: Sequence[ModelMessage]) -> OfflineCall | str:
        parts = [part for message in messages for part in message.parts]
        told = [part for part in parts if isinstance(part, ToolReturnPart | RetryPromptPart)]
        if len(told) < len(calls):
            tool, arguments = calls[len(told)]
            return OfflineCall(f"offline-{len(told) + 1}", tool, arguments)
        answers = [_shown(part.content) for part in told if part.tool_name not in {"create_agent", "finish_job"}]
        return "\n\n".join(answers) or ("Noted: " + prompt[:500] if prompt.startswith(_FROM_AN_AGENT) else "Done.")

    return step


def _calls(prompt: str) -> list[_Call]:
    if prompt.startswith(_FROM_AN_AGENT):
        return []
    found = [call for line in prompt.splitlines() if (call := _call(line.strip())) is not None]
    return found or [("create_agent", _create("writer", None)), ("command_agent", {"name": "writer", "prompt": prompt})]


def _call(line: str) -> _Call | None:
    for pattern, make in _RULES:
        match = re.fullmatch(pattern, line, flags=re.IGNORECASE | re.DOTALL)
        if match:
            return make(match)
    return None


def _create(name: str, slug: str | None) -> dict[str, Any]:
    own = {"agent_slug": slug} if slug else {"system_prompt": f"You are {name}. Do what you are asked, in plain words."}
    return {"name": name, **own}


def _shown(content: Any) -> str:
    if isinstance(content, dict) and "response" in content:
        return str(content["response"])
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=2, default=str)
