"""Every error a worker raises on purpose, in one tree.

::

    OrchestratorError
    ├── SettingsError             a setting is missing or unusable; names the variable
    ├── BackendError              a call to the database did not work
    │   ├── BackendUnavailable    no answer, or a passing fault: send the same request again
    │   ├── BackendRefused        the key is not accepted
    │   ├── BackendRejected       the database read the request and refused it
    │   │   ├── BackendOutdated   a function is missing: the migrations are not applied
    │   │   └── BackendTooLarge   the request or its answer is too large: ask for less at once
    │   └── AnswerUnreadable      the request was carried out, its answer cannot be read
    ├── PauseNeeded               an attempt ends as paused
    │   ├── InputNeeded           until a person has answered
    │   └── AgentsNeeded          until other agents have answered
    └── TaskFailure               an attempt ends as failed, with a stable code for people and programs

    asyncio.CancelledError
    └── AttemptStopped            an attempt that was stopped from outside says what it cost
"""

# ruff: noqa: N818 - these are named for what happened, and end in Error where that is all there is to say.

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from workers.calls import AgentCall
from workers.ledger import UsageRow
from workers.questions import InputRequest

ErrorCode = Literal[
    "address_not_allowed",
    "agent_inactive",
    "agent_misconfigured",
    "agent_not_found",
    "agent_type_unsupported",
    "checkpoint_unreadable",
    "context_too_long",
    "endpoint_auth_failed",
    "endpoint_error",
    "endpoint_response_invalid",
    "endpoint_unreachable",
    "extra_missing",
    "host_not_allowed",
    "input_invalid",
    "input_request_invalid",
    "internal_error",
    "limit_reached",
    "marketplace_answer_invalid",
    "marketplace_listing_gone",
    "marketplace_misconfigured",
    "marketplace_refused",
    "marketplace_unavailable",
    "mcp_unavailable",
    "method_unsupported",
    "output_invalid",
    "plan_changed",
    "plan_has_started",
    "plan_invalid",
    "program_failed",
    "project_not_found",
    "protocol_unsupported",
    "provider_auth_failed",
    "provider_key_missing",
    "provider_overloaded",
    "provider_rate_limited",
    "provider_refused",
    "provider_unavailable",
    "remote_cancelled",
    "remote_failed",
    "remote_rejected",
    "remote_task_lost",
    "repository_auth_failed",
    "repository_branch_missing",
    "repository_directory_missing",
    "repository_empty",
    "repository_not_found",
    "repository_too_large",
    "repository_unreachable",
    "repository_unreadable",
    "response_encoding_unsupported",
    "response_too_large",
    "result_invalid",
    "result_too_large",
    "scheme_not_allowed",
    "secrets_unavailable",
    "timeout",
    "too_many_redirects",
    "url_invalid",
    "webhook_failed",
    "webhook_gone",
    "webhook_unreachable",
    "workflow_misconfigured",
]


class OrchestratorError(Exception):
    """The root of this package's errors."""


class SettingsError(OrchestratorError):
    """A setting is missing or unusable; the message names the variable and what it should hold."""


class BackendError(OrchestratorError):
    """A call to the database did not work."""


class BackendUnavailable(BackendError):
    """Nobody answered, or somebody on the way said to come back later; whether the call acted is unknown."""


class BackendRefused(BackendError):
    """The database does not accept this worker's key."""


class BackendRejected(BackendError):
    """The database read the request, refused it and changed nothing.

    `token` is the snake_case message the database gave, or its error code.
    """

    def __init__(self, token: str, detail: str = "") -> None:
        super().__init__(f"{token}: {detail}" if detail else token)
        self.token = token


class BackendOutdated(BackendRejected):
    """The database does not have the function that was called."""


class BackendTooLarge(BackendRejected):
    """The request, or the answer it asks for, is more than the database puts into one piece."""


class AnswerUnreadable(BackendError):
    """The call was carried out, but its answer is not the JSON that was agreed."""


class PauseNeeded(OrchestratorError):
    """An attempt needs what others know: its task pauses, holds no worker, and goes on when the answers are there.

    `checkpoint` is a JSON object of at most 1 MiB that the next attempt gets back as `ClaimedTask.checkpoint`, so that
    it need not do again what is finished. `usage` is what the attempt cost so far.
    """

    def __init__(
        self, problem: str, checkpoint: Mapping[str, Any] | None = None, usage: Sequence[UsageRow] = ()
    ) -> None:
        super().__init__(problem)
        self.checkpoint = dict(checkpoint) if checkpoint is not None else None
        self.usage = tuple(usage)


class InputNeeded(PauseNeeded):
    """An attempt needs a person's answer; see `PauseNeeded`."""

    def __init__(
        self,
        request: InputRequest,
        *,
        checkpoint: Mapping[str, Any] | None = None,
        usage: Sequence[UsageRow] = (),
    ) -> None:
        super().__init__("a person's answer is needed", checkpoint, usage)
        self.request = request


class AgentsNeeded(PauseNeeded):
    """An attempt needs the answers of other agents, 1 to 20 at once; see `PauseNeeded`."""

    def __init__(
        self,
        calls: Sequence[AgentCall],
        *,
        checkpoint: Mapping[str, Any] | None = None,
        usage: Sequence[UsageRow] = (),
    ) -> None:
        super().__init__("answers of other agents are needed", checkpoint, usage)
        self.calls = tuple(calls)


class TaskFailure(OrchestratorError):
    """An attempt ends as failed.

    `message` is read by the tenant: it says what to do and holds no secret and no trace. `data` is JSON for
    programs. `retry_after` is in seconds. `rejected` says that the agent declined the task, so that it is not tried
    again. `usage` is what the attempt cost although it failed.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code: ErrorCode = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after
        self.data = dict(data) if data is not None else None
        self.rejected = False
        self.usage: tuple[UsageRow, ...] = ()

    def as_rejected(self) -> Self:
        """Say that the agent declined the task, and return the failure."""
        self.rejected = True
        return self

    def with_usage(self, usage: Sequence[UsageRow]) -> Self:
        """Account for `usage` and return the failure."""
        self.usage = tuple(usage)
        return self


class AttemptStopped(asyncio.CancelledError):
    """An attempt was cancelled, as every stopped one is, and had cost `usage` by then; raised instead, by agents."""

    def __init__(self, usage: Sequence[UsageRow]) -> None:
        super().__init__("stopped")
        self.usage = tuple(usage)


def not_accepted(kind: str, detail: str) -> TaskFailure | None:
    """Return how an attempt ends whose last word of this kind the database refused; None when that ends nothing."""
    if kind == "completed":
        return TaskFailure("result_invalid", f"The database did not accept the result: {detail}")
    if kind == "paused":
        return TaskFailure("input_request_invalid", f"The database did not accept the question: {detail}")
    return None
