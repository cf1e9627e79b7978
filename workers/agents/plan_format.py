"""The format of plans, as a language model is told it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.agents.documents import readable_json
from workers.errors import TaskFailure

Plan = dict[str, Any]

GUIDE = """\
You plan the work that is asked for; you do not do it. Answer with a plan of steps that agents and people carry out.
- Each step has an id (letters, digits, - and _) and a name for people. type is agent unless said otherwise.
- dependencies are the ids of the steps that must be over before. Let steps run in parallel where they can.
- agent: the slug of one of the agents below. prompt: what it should do; it sees nothing else.
- A prompt may use the result of a step that it depends on: {{ steps.ID.result }}, or a part: {{ steps.ID.result.a.b }}.
- map: does the same once for each element of a list. over is the id of the step that gives the list as JSON;
  the prompt uses {{ item }}.
- human_approval: a person approves before what depends on it goes on. prompt is the question, shows the id of the step
  whose result is shown; later steps find what was approved, perhaps edited, in {{ steps.ID.result.value }}.
- human_input: a person answers the question in prompt.
- transform: a jq program over {"steps": {ID: {"status", "result"}}}. condition: the same, as a predicate; unless it
  holds the step is skipped.
- deliverable: on a step of an agent whose result the user is to keep, what it is (report, text, code, ...): the result
  is then saved as a document. At least the last result should be; drafts in between need not.
- subproject: plan holds {"steps": [...]} of its own.
Leave out keys that a step does not need. Use as few steps as do the work well."""

_ID = "^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
_TEXT = {"type": "string"}
_TYPES = ("agent", "human_approval", "human_input", "subproject", "transform", "map")


@dataclass(frozen=True, slots=True)
class PlanBrief:
    """What a plan is made with.

    `agents` are rows {slug, name, description, input}; `present` is the plan that is refined, if there is one. `write`
    saves a plan and returns None, or what is wrong with it.
    """

    request: str
    agents: Sequence[Mapping[str, Any]]
    max_steps: int
    present: Plan | None
    write: Callable[[Plan], Awaitable[str | None]]

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the answer: {name, steps}, with the slugs of the agents that may be named."""
        return {
            "type": "object",
            "required": ["name", "steps"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 500, "description": "A short name for it all."},
                "steps": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": self.max_steps,
                    "items": _step([str(agent["slug"]) for agent in self.agents]),
                },
            },
            "additionalProperties": False,
        }

    def prompt(self) -> str:
        """Return the request with the agents, the limit, and the plan that is to be refined."""
        parts = [self.request, f"Plan at most {self.max_steps} steps. The agents:", readable_json(list(self.agents))]
        if self.present is not None:
            parts += ["The present plan, which the request above is to change:", readable_json(self.present)]
        return "\n\n".join(parts)


def plan_invalid(problems: list[dict[str, str]]) -> TaskFailure:
    """Return the failure for a plan with these problems `{path, message}`, also after it was asked for once more."""
    return TaskFailure(
        "plan_invalid",
        f"The agent's plan cannot be carried out. {problems[0]['message']}",
        data={"problems": problems},
    )


def _step(slugs: list[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "id": {"type": "string", "pattern": _ID},
        "name": {"type": "string", "minLength": 1, "maxLength": 500},
        "type": {"type": "string", "enum": list(_TYPES)},
        "agent": {"type": "string", "enum": slugs} if slugs else _TEXT,
        "prompt": _TEXT,
        "params": {"type": "object"},
        "dependencies": {"type": "array", "items": _TEXT},
        "condition": _TEXT,
        "on_failure": {"type": "string", "enum": ["stop", "continue"]},
        "required_role": {"type": "string", "enum": ["member", "developer", "admin", "owner"]},
        "schema": {"type": "object"},
        "shows": _TEXT,
        "expires_in_seconds": {"type": "integer", "minimum": 1},
        "on_expiry": {"type": "string", "enum": ["fail", "skip", "approve"]},
        "over": _TEXT,
        "transform": _TEXT,
        "plan": {"type": "object", "required": ["steps"], "properties": {"steps": {"type": "array"}}},
        "timeout_seconds": {"type": "integer", "minimum": 1},
        "max_attempts": {"type": "integer", "minimum": 1},
        "deliverable": {"type": "string", "minLength": 1, "maxLength": 100},
    }
    return {"type": "object", "required": ["id", "name"], "properties": properties, "additionalProperties": False}
