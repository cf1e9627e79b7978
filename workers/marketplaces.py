"""Publishes agents on marketplaces, by whatever HTTP API a row of `marketplaces` describes.

What becomes of an integration follows from its task, in the database: its status, retries, when usage is fetched again.
The operator's credentials are used for the platform's marketplaces and an organization's for its own, never mixed: an
organization that chose where requests go could else collect the operator's, or act with them on others' listings.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from pydantic_core import to_json

from workers.agents.endpoint import Endpoint, read_endpoint
from workers.agents.retry_after import read_retry_after
from workers.backend import Backend
from workers.clean import clean_json
from workers.contract import ClaimedTask, Completion
from workers.door import Door, DoorError, door_failure
from workers.errors import BackendError, TaskFailure
from workers.job import Job
from workers.marketplace_job import Wanted, dig, misconfigured, request_body
from workers.secrets import Secrets, filled, names_in
from workers.snippet import read_snippet
from workers.trace import step

_MAX_ANSWER_BYTES = 256_000
_MAX_USAGE_BYTES = 16_384
_MAX_ID_CHARS = 255
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes = b""


class _OperatorSecrets:
    """The operator's `${MARKETPLACE_…}`, as `Secrets` for organizations."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    async def fill(self, organization: str, value: Any) -> Any:  # noqa: ARG002 - as in Secrets
        """Return JSON with each `${NAME}` replaced, whichever the organization.

        Raises:
            TaskFailure: marketplace_misconfigured, naming what the operator has not set.
        """
        if missing := sorted(name for name in names_in(value) if name not in self._values):
            raise misconfigured(f"needs {', '.join(missing)[:500]}, which the operator has not set for this worker")
        return filled(value, self._values)


class Marketplaces:
    """The handlers of publish_agent, unpublish_agent and fetch_marketplace_usage.

    `operator` are the operator's MARKETPLACE_* settings; `timeout` is in seconds, for a whole attempt.
    """

    def __init__(
        self, door: Door, database: Backend, secrets: Secrets, operator: Mapping[str, str], *, timeout: float = 30.0
    ) -> None:
        self._door = door
        self._database = database
        self._secrets = secrets
        self._operator = _OperatorSecrets(operator)
        self._timeout = timeout

    async def publish(self, job: Job) -> Completion:
        """List an agent, or change its listing; `response_metadata` holds the marketplace's id of it.

        Raises:
            TaskFailure: a marketplace_… code, or one of the door's.
        """
        wanted = await self._read(job)
        if wanted is None:
            return _nothing_to_do()
        answer = await self._ask(job.claimed, wanted, request_body(wanted))
        if answer.status in _GONE:
            raise TaskFailure(
                "marketplace_listing_gone",
                "The marketplace does not know the agent any more: publish it again, and it is listed anew.",
                data={"status": answer.status},
            )
        known = wanted.marketplace_agent_id if wanted.updates else None
        return Completion(
            response="Published.",
            response_metadata={"marketplace_agent_id": known or _id_in(answer.body, wanted.fields.id)},
        )

    async def unpublish(self, job: Job) -> Completion:
        """Take an agent off; that it is not there is as good.

        Raises:
            TaskFailure: a marketplace_… code, or one of the door's.
        """
        wanted = await self._read(job)
        if wanted is None:
            return _nothing_to_do()
        answer = await self._ask(job.claimed, wanted, None)
        return Completion(response="Unpublished.", response_metadata={"status": answer.status})

    async def fetch_usage(self, job: Job) -> Completion:
        """Fetch what the marketplace counts; `response_metadata.usage` is an object of at most 16 KiB.

        Raises:
            TaskFailure: a marketplace_… code, or one of the door's.
        """
        wanted = await self._read(job)
        if wanted is None:
            return _nothing_to_do()
        answer = await self._ask(job.claimed, wanted, None)
        if answer.status in _GONE:
            raise _refused(answer.status, "")
        usage = clean_json(dig(_document(answer.body), wanted.fields.usage))
        if not isinstance(usage, dict) or len(to_json(usage)) > _MAX_USAGE_BYTES:
            raise _invalid(f"holds no object of at most {_MAX_USAGE_BYTES} bytes where its usage should be")
        return Completion(response="Fetched.", response_metadata={"usage": usage})

    async def _read(self, job: Job) -> Wanted | None:
        params = job.claimed.task.params
        arguments = {"integration_id": str(params["integration_id"]), "lease_token": job.claimed.lease_token}
        try:
            answer = await self._database.call("read_marketplace_job", arguments)
            return None if answer is None else Wanted.model_validate(answer)
        except (BackendError, ValidationError) as error:
            raise TaskFailure(
                "internal_error", f"The integration could not be read: {type(error).__name__}.", retryable=True
            ) from None

    async def _ask(self, claimed: ClaimedTask, wanted: Wanted, body: Mapping[str, Any] | None) -> _Answer:
        """Send the request and return a success, or that the marketplace knows nothing of the agent."""
        endpoint = await self._endpoint(claimed, wanted)
        try:
            async with asyncio.timeout(self._timeout):
                with step("http_request", f"{wanted.operation.method} marketplace", body) as record:
                    answer = await self._send(claimed, wanted, endpoint, body)
                    record.metadata = {"status": answer.status}
                    return answer
        except TimeoutError:
            raise _unavailable(f"did not answer within {self._timeout:g} seconds") from None
        except DoorError as error:
            if error.code in {"response_too_large", "response_encoding_unsupported"}:
                raise _invalid(f"cannot be read: {error.message}") from None
            raise door_failure(error) or _unavailable("cannot be called") from None
        except httpx.HTTPError as error:
            raise _unavailable("did not answer, or broke off", reason=type(error).__name__) from None

    async def _endpoint(self, claimed: ClaimedTask, wanted: Wanted) -> Endpoint:
        names = {
            "{id}": wanted.marketplace_agent_id or "",
            "{integration_id}": str(claimed.task.params["integration_id"]),
            "{slug}": wanted.agent_slug,
        }
        path = wanted.operation.path
        for name, value in names.items():
            path = path.replace(name, quote(value, safe=""))
        raw = {"url": wanted.base_url.rstrip("/") + path, "headers": wanted.headers}
        secrets = self._operator if wanted.is_platform else self._secrets
        try:
            return await read_endpoint(raw, claimed.task.organization_slug, secrets)
        except TaskFailure as failure:
            if failure.code != "agent_misconfigured":
                raise
            problem = failure.message.replace("The agent's endpoint.", "Its ").replace("The agent", "It")
            raise misconfigured(f"cannot be called as it is configured. {problem.rstrip('.')}") from None

    async def _send(
        self, claimed: ClaimedTask, wanted: Wanted, endpoint: Endpoint, body: Mapping[str, Any] | None
    ) -> _Answer:
        headers = {"accept": "application/json", "user-agent": "orchestrator-marketplace", **endpoint.headers}
        if wanted.action != "fetch_usage":
            headers["idempotency-key"] = wanted.idempotency_key
        if body is not None:
            headers["content-type"] = "application/json"
        door = self._door.client(
            claimed.allowed_hosts,
            timeout=self._timeout,
            max_bytes=_MAX_ANSWER_BYTES,
            organization=claimed.task.organization_slug,
        )
        content = None if body is None else to_json(body)
        async with (
            door as client,
            client.stream(wanted.operation.method, endpoint.url, headers=headers, content=content) as response,
        ):
            if response.is_success:
                return _Answer(response.status_code, await response.aread())
            if response.status_code in _GONE and (wanted.updates or wanted.action != "publish"):
                return _Answer(response.status_code)
            raise _not_done(response, await read_snippet(response))


def _document(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _invalid("is not JSON") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _id_in(body: bytes, path: str) -> str:
    found = dig(_document(body), path)
    text = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    if not 1 <= len(text) <= _MAX_ID_CHARS or not text.isprintable() or text.strip() != text or text in {".", ".."}:
        raise _invalid(f"has no id of the agent in its field {path!r}")
    return text


def _not_done(response: httpx.Response, snippet: str) -> TaskFailure:
    status = response.status_code
    if status >= _SERVER_ERROR or status in _PASSING:
        failure = _unavailable(f"answered with status {status}" + (f": {snippet}" if snippet else ""), status=status)
        failure.retry_after = read_retry_after(response.headers.get("retry-after"))
        return failure
    return _refused(status, "it redirects, which is not followed" if response.is_redirect else snippet)


def _refused(status: int, problem: str) -> TaskFailure:
    why = "does not accept the credentials" if status in {401, 403} else "refused the request"
    return TaskFailure(
        "marketplace_refused",
        f"The marketplace {why} (status {status})" + (f": {problem}" if problem else "."),
        data={"status": status},
    )


def _unavailable(problem: str, **data: Any) -> TaskFailure:
    return TaskFailure("marketplace_unavailable", f"The marketplace {problem}.", retryable=True, data=data or None)


def _invalid(problem: str) -> TaskFailure:
    return TaskFailure("marketplace_answer_invalid", f"The marketplace's answer {problem}.")


def _nothing_to_do() -> Completion:
    return Completion(response="There was nothing to do: something else was asked for since.")
