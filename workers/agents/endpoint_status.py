"""What it means that an agent's endpoint answered with a status other than success."""

from __future__ import annotations

import httpx

from workers.agents.retry_after import read_retry_after
from workers.errors import TaskFailure


def failure_of_status(response: httpx.Response, what: str, *, repeatable: bool, said: str = "") -> TaskFailure:
    """Return how an attempt ends: endpoint_auth_failed or endpoint_error, with the status in its data.

    `what` is how messages call the endpoint, `repeatable` says that the request may be made again, and `said` is what
    the endpoint says of its error, fit for a message.
    """
    status = response.status_code
    data = {"status": status}
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        problem = f"{what} refused the credentials (status {status}): check endpoint.authentication."
        return TaskFailure("endpoint_auth_failed", problem, data=data)
    if response.is_redirect:
        problem = f"{what} redirects (status {status}), which is not followed: set endpoint.url to where it leads."
        return TaskFailure("endpoint_error", problem, data=data)
    # These two say that nothing was done.
    turned_away = status in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}
    return TaskFailure(
        "endpoint_error",
        f"{what} answered with status {status}{f': {said}' if said else '.'}",
        retryable=turned_away or (repeatable and status >= httpx.codes.INTERNAL_SERVER_ERROR),
        retry_after=read_retry_after(response.headers.get("retry-after")),
        data=data,
    )
