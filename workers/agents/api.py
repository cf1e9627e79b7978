"""Api agents: one HTTP request to the agent's endpoint, and its answer as the result.

Without `request_transform` the request's JSON body is::

    {"taskId": "…", "prompt": "…", "params": {…}, "context": "the agent's context",
     "history": [{"role": "user" | "assistant", "content": "…"}, …],
     "status_webhook": {…}}                                  (where the endpoint may report later)

and for GET the query `taskId` and `prompt`. Without `response_transform` a JSON answer gives its text as the first of
`content`, `result`, `summary`, `message`, `output`, at the top or under `data`; without any of them the whole JSON is
the deliverable. Text answers are taken as they are.

An endpoint with `status_webhook` may answer 202 and report later. The attempt waits; when its worker is lost, the next
attempt goes on waiting for the same job and does not call the endpoint again.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import httpx

from workers.agents.endpoint import Endpoint, misconfigured, read_endpoint
from workers.agents.endpoint_answer import Answer, build_result, read_answer, reported_answer
from workers.agents.endpoint_status import failure_of_status
from workers.agents.result import AgentResult, Reporter
from workers.agents.status_webhooks import StatusWebhook, StatusWebhooks
from workers.agents.transforms import TransformError, TransformLimits, Transforms
from workers.contract import AgentRow, ClaimedTask
from workers.door import Door, DoorError, door_failure
from workers.errors import TaskFailure
from workers.secrets import Secrets
from workers.trace import step

MAX_RESPONSE_BYTES = 10_000_000
_TAKEN_ON, _CALLED, _ANSWERED = 11.0, 50.0, 95.0
_ACCEPTED = 202
_MIN_SECRET = 8  # Shorter texts of a status webhook name its form.
_QUOTED_VALUE = re.compile(r"""\((?:"[^"]*"|[^()"]*)(?:\)|$)""")


class ApiAgents:
    """Runs agents of type `api`; use as a context manager."""

    def __init__(
        self,
        door: Door,
        secrets: Secrets,
        webhooks: StatusWebhooks,
        *,
        limits: TransformLimits | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self._door = door
        self._secrets = secrets
        self._webhooks = webhooks
        self._max_bytes = max_response_bytes
        self._transforms = Transforms(limits)

    async def __aenter__(self) -> Self:
        await self._transforms.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transforms.__aexit__(kind, error, trace)

    async def run(self, claimed: ClaimedTask, agent: AgentRow, reporter: Reporter) -> AgentResult:
        """Run one attempt.

        Raises:
            TaskFailure: with a message that holds no header, and of the endpoint's answer only what it reports as
                the reason of a failure.
        """
        organization = claimed.task.organization_slug
        endpoint = await read_endpoint(agent.endpoint, organization, self._secrets)
        await self._check_filter(endpoint, organization)
        webhook = await self._webhooks.open(claimed, endpoint.reports_within) if endpoint.reports else None
        if webhook is not None and webhook.under_way:
            answer = await self._reported(webhook, organization, reporter)
        else:
            answer = await self._answered(endpoint, claimed, agent, webhook, reporter)
        reporter.progress(_ANSWERED, "Endpoint answered")
        return build_result(agent, await self._transformed(endpoint, organization, answer))

    async def _answered(
        self,
        endpoint: Endpoint,
        claimed: ClaimedTask,
        agent: AgentRow,
        webhook: StatusWebhook | None,
        reporter: Reporter,
    ) -> Answer:
        """Call the endpoint and return its answer, or what it reports later."""
        arguments = await self._arguments(endpoint, claimed, agent, webhook)
        reporter.progress(_CALLED if webhook is None else _TAKEN_ON, "Endpoint called")
        shown = _shown(endpoint, arguments, webhook)
        with step("http_request", f"{endpoint.method} {endpoint.url.host}", shown) as record:
            response, body = await self._call(endpoint, claimed, arguments)
            record.metadata = {"status": response.status_code, "bytes": len(body)}
            record.output = body.decode(errors="replace") if record.is_kept else None
        if webhook is not None and response.status_code == _ACCEPTED:
            return await self._reported(webhook, claimed.task.organization_slug, reporter)
        return read_answer(response, body)

    async def _reported(self, webhook: StatusWebhook, organization: str, reporter: Reporter) -> Answer:
        tell = functools.partial(self._tell, organization, reporter)
        try:
            return reported_answer(await self._webhooks.wait(webhook, tell))
        except TaskFailure as failure:
            failure.message = self._secrets.redact(failure.message, organization)
            raise

    def _tell(self, organization: str, reporter: Reporter, percent: float | None, message: str | None) -> None:
        """Pass on how far the endpoint says it is."""
        text = self._secrets.redact(message, organization) if message is not None else None
        if percent is not None and percent > _TAKEN_ON:
            reporter.progress(min(percent, _ANSWERED), text)
        elif text is not None:
            reporter.event("progress", text)

    async def _arguments(
        self, endpoint: Endpoint, claimed: ClaimedTask, agent: AgentRow, webhook: StatusWebhook | None
    ) -> dict[str, Any]:
        """Return the query or the body of the request, as arguments of the HTTP client."""
        task = claimed.task
        if endpoint.request_transform is not None:
            names = _names(claimed, agent, webhook)
            try:
                with step("transform", "request_transform", endpoint.request_transform) as record:
                    made = await self._transforms.render(task.organization_slug, endpoint.request_transform, names)
                    record.output = _hidden(made, webhook)
            except TransformError as error:
                problem = f"cannot be used: {self._secrets.redact(error.message, task.organization_slug)[:500]}"
                raise misconfigured("endpoint.request_transform", problem) from None
            return _sent(endpoint, made)
        if endpoint.method == "GET":
            return {"params": {**endpoint.url.params, "taskId": task.id, "prompt": task.prompt}}
        body = {
            "taskId": task.id,
            "prompt": task.prompt,
            "params": task.params if task.params is not None else {},
            "context": agent.context,
            "history": [asdict(turn) for turn in claimed.history],
        }
        return {"json": body if webhook is None else {**body, "status_webhook": webhook.for_endpoint}}

    async def _call(
        self, endpoint: Endpoint, claimed: ClaimedTask, arguments: dict[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        """Send the request and read its answer within the endpoint's timeout and the cap on its size."""
        limit = asyncio.timeout(endpoint.timeout)
        door = self._door.client(
            claimed.allowed_hosts,
            timeout=endpoint.timeout,
            max_bytes=self._max_bytes,
            organization=claimed.task.organization_slug,
        )
        try:
            async with (
                limit,
                door as client,
                client.stream(endpoint.method, endpoint.url, headers=dict(endpoint.headers), **arguments) as response,
            ):
                if not response.is_success:
                    raise failure_of_status(response, "The endpoint", repeatable=True)
                return response, await response.aread()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failed(endpoint, claimed.task.organization_slug, error) from None
        except TimeoutError:
            if limit.expired():
                raise _timed_out(endpoint) from None
            raise

    def _failed(self, endpoint: Endpoint, organization: str, error: httpx.HTTPError | httpx.InvalidURL) -> TaskFailure:
        """Return how an attempt ends whose request did not work."""
        reason = {"reason": type(error).__name__}
        if isinstance(error, DoorError) and (refused := door_failure(error)) is not None:
            refused.message = self._secrets.redact(refused.message, organization)
            return refused
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return _unreachable(error, reason)
        if isinstance(error, httpx.TimeoutException):
            return _timed_out(endpoint)
        if isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError | httpx.ReadError):
            problem = "The endpoint's answer broke off or is not valid HTTP."
            return TaskFailure("endpoint_response_invalid", problem, retryable=True, data=reason)
        problem = "The request to the endpoint could not be sent."
        return TaskFailure("endpoint_unreachable", problem, retryable=True, data=reason)

    async def _check_filter(self, endpoint: Endpoint, organization: str) -> None:
        """Refuse a filter that cannot work before anything is called."""
        if endpoint.response_transform is not None:
            try:
                await self._transforms.check_filter(organization, endpoint.response_transform)
            except TransformError as error:
                raise misconfigured("endpoint.response_transform", f"is no jq filter: {error.message[:500]}") from None

    async def _transformed(self, endpoint: Endpoint, organization: str, answer: Answer) -> Answer:
        """Return what the endpoint's filter makes of its answer."""
        if endpoint.response_transform is None:
            return answer
        try:
            given = {"filter": endpoint.response_transform, "document": answer.document}
            with step("transform", "response_transform", given) as record:
                value = await self._transforms.run_filter(organization, endpoint.response_transform, answer.document)
                record.output = value
        except TransformError as error:
            # jq quotes the values it met: they are the endpoint's, and may be anything.
            problem = self._secrets.redact(_QUOTED_VALUE.sub("(…)", error.message), organization)[:500]
            if error.kind == "too_much":
                raise misconfigured("endpoint.response_transform", f"cannot be used: {problem}") from None
            raise TaskFailure(
                "endpoint_response_invalid",
                f"The agent's endpoint.response_transform does not fit the endpoint's answer: {problem}",
                data={"field": "endpoint.response_transform"},
            ) from None
        return answer.replaced(value)


def _shown(endpoint: Endpoint, arguments: Mapping[str, Any], webhook: StatusWebhook | None) -> Any:
    """Return what is kept of a request: what is sent, without what stands in the endpoint's URL."""
    shown = dict(arguments)
    if "params" in shown:
        shown["params"] = {name: value for name, value in shown["params"].items() if name not in endpoint.url.params}
    if "content" in shown:
        shown["content"] = shown["content"].decode(errors="replace")
    return _hidden(shown, webhook)


def _hidden(value: Any, webhook: StatusWebhook | None) -> Any:
    """Return a JSON value without what lets an endpoint report."""
    if webhook is None:
        return value
    text = json.dumps(value)
    for secret in _texts(webhook.for_endpoint):
        text = text.replace(json.dumps(secret)[1:-1], "[left out]")
    return json.loads(text)


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for entry in value.values() for text in _texts(entry)]
    return [value] if isinstance(value, str) and len(value) >= _MIN_SECRET else []


def _names(claimed: ClaimedTask, agent: AgentRow, webhook: StatusWebhook | None) -> dict[str, Any]:
    """Return what a template may name: nothing of the worker, and no secret but the webhook's own."""
    task = claimed.task
    return {
        "task": {
            "id": task.id,
            "prompt": task.prompt,
            "params": task.params if task.params is not None else {},
            "metadata": task.metadata if task.metadata is not None else {},
            "deliverable_type": task.deliverable_type,
        },
        "agent": {"slug": agent.slug, "name": agent.name, "context": agent.context},
        "history": [asdict(turn) for turn in claimed.history],
        "user": {"id": task.user_id},
        "organization": {"slug": task.organization_slug},
        "status_webhook": None if webhook is None else webhook.for_endpoint,
    }


def _sent(endpoint: Endpoint, made: Any) -> dict[str, Any]:
    """Return what a template made as arguments of the HTTP client."""
    if endpoint.method == "GET":
        if not isinstance(made, dict):
            raise misconfigured("endpoint.request_transform", "must give an object, which is the query of a GET")
        query = {key: value if isinstance(value, str) else json.dumps(value) for key, value in made.items()}
        return {"params": {**endpoint.url.params, **query}}
    if isinstance(made, str):
        return {"content": made.encode("utf-8", errors="replace")}
    return {"json": made}


def _unreachable(error: httpx.HTTPError, reason: dict[str, str]) -> TaskFailure:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        problem = "The endpoint's TLS certificate or handshake is not valid."
        return TaskFailure("endpoint_unreachable", problem, data={"reason": "tls"})
    return TaskFailure("endpoint_unreachable", "The endpoint cannot be reached.", retryable=True, data=reason)


def _timed_out(endpoint: Endpoint) -> TaskFailure:
    problem = f"The endpoint did not answer within its {endpoint.timeout:g} seconds."
    return TaskFailure("timeout", problem, retryable=True)
