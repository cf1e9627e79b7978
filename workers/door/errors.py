"""What the door says when it refuses, and what that means for an attempt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import httpx

from workers.errors import TaskFailure

DoorCode = Literal[
    "address_not_allowed",
    "host_not_allowed",
    "response_encoding_unsupported",
    "response_too_large",
    "scheme_not_allowed",
    "too_many_redirects",
    "url_invalid",
]


class DoorError(httpx.RequestError):
    """The door refused a request, or broke off an answer. `code` is a stable token; the message holds no secret."""

    def __init__(self, code: DoorCode, message: str) -> None:
        super().__init__(message)
        self.code: DoorCode = code
        self.message = message


def door_failure(error: BaseException) -> TaskFailure | None:
    """Return how an attempt ends because of the door; None when the door has nothing to do with the error.

    Libraries wrap what an HTTP client raises, so causes, contexts and groups of exceptions are looked through.
    """
    for found in _chain(error, set()):
        if isinstance(found, DoorError):
            return TaskFailure(found.code, found.message)
        if isinstance(found, httpx.InvalidURL):
            return TaskFailure("url_invalid", "The address is not a URL.")
    return None


def _chain(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for found in (*inner, error.__cause__, error.__context__):
        if found is not None:
            yield from _chain(found, seen)
