"""Sends deliveries of webhooks, in the form of Standard Webhooks (standardwebhooks.com).

What becomes of a delivery follows from its task, in the database: retries, dead letters, when a webhook is disabled.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from workers.agents.retry_after import read_retry_after
from workers.backend import Backend
from workers.contract import ClaimedTask, Completion
from workers.door import Door, DoorError
from workers.errors import BackendError, TaskFailure
from workers.job import Job
from workers.snippet import read_snippet
from workers.trace import Step, step

_MAX_ANSWER_BYTES = 64_000
_ASKS_TO_WAIT = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class _Delivery(BaseModel):
    """What to send and where to, as read_webhook_delivery answers; `secrets` sign, the current one first."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    url: str
    body: str
    secrets: tuple[str, ...]


class Webhooks:
    """The handler of the method `deliver_webhook`; `timeout` is in seconds, for a whole attempt."""

    def __init__(self, door: Door, database: Backend, *, timeout: float = 15.0) -> None:
        self._door = door
        self._database = database
        self._timeout = timeout

    async def deliver(self, job: Job) -> Completion:
        """Send one delivery; whatever the receiver does, within the timeout.

        Raises:
            TaskFailure: webhook_failed, webhook_unreachable or webhook_gone; `data` holds the status of the answer.
        """
        delivery_id, delivery = await self._read(job)
        if delivery is None:
            return Completion(response="There was nothing to send: the webhook is gone or disabled.")
        headers = signed_headers(delivery_id, int(time.time()), delivery.body, delivery.secrets)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._send(job.claimed, delivery, headers)
        except TimeoutError:
            raise _unreachable(f"did not answer within {self._timeout:g} seconds") from None
        except DoorError as error:
            raise _unreachable(f"cannot be called: {error.message}", reason=error.code) from None
        except httpx.HTTPError as error:
            raise _unreachable("did not answer", reason=type(error).__name__) from None
        except httpx.InvalidURL:
            raise _unreachable("has a url that cannot be read", retryable=False) from None

    async def _read(self, job: Job) -> tuple[str, _Delivery | None]:
        params = job.claimed.task.params
        delivery_id = str(params["delivery_id"])
        arguments = {"delivery_id": delivery_id, "lease_token": job.claimed.lease_token}
        try:
            answer = await self._database.call("read_webhook_delivery", arguments)
            return delivery_id, None if answer is None else _Delivery.model_validate(answer)
        except (BackendError, ValidationError) as error:
            raise TaskFailure(
                "internal_error", f"The delivery could not be read: {type(error).__name__}.", retryable=True
            ) from None

    async def _send(self, claimed: ClaimedTask, delivery: _Delivery, headers: Mapping[str, str]) -> Completion:
        door = self._door.client(
            claimed.allowed_hosts,
            timeout=self._timeout,
            max_bytes=_MAX_ANSWER_BYTES,
            organization=claimed.task.organization_slug,
        )
        # Not the body: it tells of everybody's tasks, and whoever the delivery runs for may be no admin any more.
        with step("http_request", f"POST {httpx.URL(delivery.url).host}", {"bytes": len(delivery.body)}) as record:
            return await self._post(door, delivery, headers, record)

    async def _post(
        self, door: httpx.AsyncClient, delivery: _Delivery, headers: Mapping[str, str], record: Step
    ) -> Completion:
        async with (
            door as client,
            client.stream("POST", delivery.url, content=delivery.body.encode(), headers=headers) as response,
        ):
            record.metadata = {"status": response.status_code}
            if response.is_success:  # The rest of its answer does not matter, and is not waited for.
                return Completion(response="Delivered.", response_metadata={"status": response.status_code})
            raise _refused(response, await read_snippet(response))


def signed_headers(message_id: str, timestamp: int, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of a message, with a signature by each secret (`whsec_` and base64); time in seconds."""
    message = f"{message_id}.{timestamp}.{body}".encode()
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    signatures = [base64.b64encode(hmac.digest(key, message, "sha256")).decode() for key in keys]
    return {
        "content-type": "application/json",
        "user-agent": "orchestrator-webhooks",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _refused(response: httpx.Response, snippet: str) -> TaskFailure:
    status = response.status_code
    data: dict[str, Any] = {"status": status, "snippet": snippet}
    if status == HTTPStatus.GONE:
        return TaskFailure("webhook_gone", "The receiver answered 410 Gone.", data=data)
    problem = "which redirects and is not followed: set the url to where it leads" if response.is_redirect else snippet
    return TaskFailure(
        "webhook_failed",
        f"The receiver answered with status {status}" + (f": {problem}" if problem else "."),
        retryable=True,
        retry_after=read_retry_after(response.headers.get("retry-after")) if status in _ASKS_TO_WAIT else None,
        data=data,
    )


def _unreachable(problem: str, *, reason: str | None = None, retryable: bool = True) -> TaskFailure:
    data = {"reason": reason} if reason else None
    return TaskFailure("webhook_unreachable", f"The receiver {problem}.", retryable=retryable, data=data)
