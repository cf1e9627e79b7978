"""What the database says, in A2A's errors.

`data` of an error is text for programs: `reason` the database's stable token (docs/errors.md), `hint` the next step,
`retryable` "true" where the same request may work later. A2A has no code for "too many" or "not now": both are
internal errors (-32603) that say so there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from a2a.utils.errors import (
    A2AError,
    InternalError,
    InvalidParamsError,
    InvalidRequestError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from structlog.typing import FilteringBoundLogger

from workers.a2a.database import Refusal
from workers.errors import BackendError, BackendRefused, BackendUnavailable

_BY_STATUS: Mapping[int, tuple[type[A2AError], bool]] = {
    403: (InvalidRequestError, False),
    409: (UnsupportedOperationError, False),
    429: (InternalError, True),
}


def invalid(field: str, problem: str, hint: str) -> InvalidParamsError:
    """Return the error for a field of a request that cannot be used."""
    return InvalidParamsError(f"{field} {problem}", data={"reason": "invalid_argument", "field": field, "hint": hint})


def busy(reason: str, message: str, retry_after: int = 5) -> InternalError:
    """Return the error for what may work later; `retry_after` is in seconds."""
    return InternalError(message, data={"reason": reason, "retryable": "true", "retryAfter": str(retry_after)})


def task_not_found(task_id: str) -> TaskNotFoundError:
    """Return the error for a task that does not exist for the caller."""
    return TaskNotFoundError(f"You have no task {task_id[:100]!r} of this agent.", data={"reason": "task_not_found"})


def translated(error: BackendError) -> A2AError:
    """Return a failed request to the database as what a client of A2A understands."""
    if isinstance(error, BackendUnavailable):
        return busy("database_unavailable", "The database does not answer; send the same request again.")
    if isinstance(error, BackendRefused):
        data = {"reason": "token_not_accepted", "hint": "Get a new access token and send the request again."}
        return InvalidRequestError("The access token is not accepted, or no longer.", data=data)
    if not isinstance(error, Refusal):
        return InternalError("The database refused the request.")
    kind, retryable = _BY_STATUS.get(error.status, (InvalidParamsError if error.status < 500 else InternalError, False))
    if error.token == "task_not_found":  # noqa: S105
        kind = TaskNotFoundError
    data = {"reason": error.token, "hint": error.hint} | ({"retryable": "true"} if retryable else {})
    return kind(error.detail or error.token, data=data)


@contextmanager
def told_in_a2a(log: FilteringBoundLogger) -> Iterator[None]:
    """Let nothing out of the block but A2A's errors, without what is not the client's business."""
    try:
        yield
    except A2AError:
        raise
    except BackendError as error:
        raise translated(error) from error
    except Exception as error:
        # The SDK would tell the client what the exception says.
        log.error("unexpected", exc_info=error)
        raise InternalError("Something went wrong here; it was logged.") from None
