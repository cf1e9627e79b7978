"""Calls of agents by agents: what an attempt asks of another agent, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AgentCall:
    """A call, as `pause_task` takes it; `call_id` is the caller's own name for it, which comes back with its result.

    With `agent_instance` it is a command to that agent of the orchestrator whose turn calls.
    """

    call_id: str
    agent_slug: str
    prompt: str
    params: Mapping[str, Any] = field(default_factory=dict)
    agent_instance: str | None = None


@dataclass(frozen=True, slots=True)
class ReturnedCall:
    """A call that is over: `status` as of a task, rejected when the database did not let it begin (`task_id` is None).

    `response` has at most 100,000 characters; `is_cut` says that there were more. `seconds` is how long it took.
    """

    call_id: str
    agent_slug: str
    status: str
    task_id: str | None = None
    response: str | None = None
    is_cut: bool = False
    error_code: str | None = None
    error_message: str | None = None
    seconds: float | None = None
