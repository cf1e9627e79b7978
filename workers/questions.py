"""Questions to people: what an attempt asks, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RequestType = Literal["approval", "input", "choice"]
RequiredRole = Literal["member", "developer", "admin", "owner"]
OnExpiry = Literal["fail", "resume"]


@dataclass(frozen=True, slots=True)
class InputRequest:
    """A question to a person, as `pause_task` takes it; the database refuses one that cannot be asked.

    `schema` is what the answer must fit, in the part of JSON Schema that the database checks. With `required_role`
    member the task's user answers, else whoever has that role. `expires_in_seconds` is 1 to 90 days, None for no end;
    `on_expiry` says whether the task then fails, or goes on and sees an answer whose status is expired.
    """

    prompt: str
    request_type: RequestType = "input"
    schema: Mapping[str, Any] = field(default_factory=dict)
    required_role: RequiredRole = "member"
    expires_in_seconds: float | None = None
    on_expiry: OnExpiry = "fail"
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """A closed question of a task; `response` fits the question's schema, and is None when it expired."""

    id: str
    request_type: RequestType
    prompt: str
    status: Literal["answered", "expired"]
    response: Any = None
    responded_by: str | None = None
    responded_at: str | None = None
