"""Workflows of n8n: begun by their production webhook; their end is the webhook's answer, a signed report, or is read
from n8n's public API (docs.n8n.io, /api/v1/executions).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import httpx

from workers.agents.endpoint_answer import Answer, read_answer, reported_answer
from workers.agents.endpoint_answer import build_result as build_answer
from workers.agents.external.wire import quote
from workers.agents.frameworks.outcome import build_result, shown
from workers.agents.frameworks.settings import N8nSettings
from workers.agents.frameworks.visit import ANSWERED, CALLED, Visit
from workers.agents.frameworks.wire import in_path, invalid, is_unknown, said_by
from workers.agents.result import AgentResult
from workers.agents.status_webhooks import StatusWebhook
from workers.errors import TaskFailure

_STARTED = "Workflow was started"
_OVER = frozenset({"success", "error", "canceled", "cancelled", "crashed"})
_RESPOND = 'let it answer {"executionId": "{{ $execution.id }}"} by a Respond to Webhook node'


class N8n:
    """One attempt's execution of a workflow."""

    def __init__(self, visit: Visit, settings: N8nSettings) -> None:
        self._visit = visit
        self._settings = settings
        base = visit.remote.endpoint.url
        self._webhook = base
        if settings.webhook_path is not None:
            path = "/".join(in_path(part) for part in settings.webhook_path.strip("/").split("/"))
            self._webhook = base.copy_with(raw_path=f"{base.path.rstrip('/')}/{path}".encode())
        root = base.path.partition("/webhook")[0].rstrip("/")
        self._api = base.copy_with(raw_path=f"{root}/api/v1/executions/".encode())
        # Credentials of the webhook are for the webhook alone, and the API's key for the API.
        for name in visit.remote.endpoint.headers:
            visit.wire.http.headers.pop(name, None)

    async def run(self) -> AgentResult:
        """Begin the workflow, or go on with it; see `Adapter`."""
        match self._settings.wait_for:
            case "answer":
                return self._answered(await self._begin(None))
            case "report":
                return await self._reported()
            case "execution":
                return await self._executed()

    async def cancel(self) -> None:
        """Stop the execution, where its id and the API's key are known."""
        execution_id = self._visit.link.remote_task_id
        if execution_id is not None and self._settings.api_key is not None:
            await self._visit.wire.ask("POST", f"{self._api}{in_path(execution_id)}/stop", headers=self._key())

    async def _begin(self, webhook: StatusWebhook | None) -> httpx.Response:
        order, task = self._visit.order, self._visit.claimed.task
        body = {
            "taskId": task.id,
            "messageId": self._visit.link.message_id,
            "prompt": order.prompt,
            "params": dict(order.data),
            "context": self._visit.agent.context,
            "history": [asdict(turn) for turn in order.history],
        }
        if webhook is not None:
            body["status_webhook"] = dict(webhook.for_endpoint)
        headers = dict(self._visit.remote.endpoint.headers)

        async def call() -> httpx.Response:
            response = await self._visit.wire.http.post(self._webhook, json=body, headers=headers)
            return response.raise_for_status()

        response: httpx.Response = await self._visit.wire.translated(call)
        return response

    def _answered(self, response: httpx.Response) -> AgentResult:
        self._visit.over = True
        answer = read_answer(response, response.content)
        if isinstance(answer.document, dict) and answer.document.get("message") == _STARTED:
            raise TaskFailure(
                "agent_misconfigured",
                "The workflow's Webhook node responds immediately, so nothing is known of its end: let it respond when "
                "the last node finishes, or set endpoint.wait_for to report or execution.",
                data={"field": "endpoint.wait_for"},
            )
        return build_answer(self._visit.agent, _one(answer))

    async def _reported(self) -> AgentResult:
        visit = self._visit
        webhook = await visit.webhooks.open(visit.claimed, self._settings.report_seconds)
        if not webhook.under_way:
            response = await self._begin(webhook)
            execution_id = _execution_id(response)
            if execution_id is not None:
                await visit.keep(execution_id)
        result = await visit.webhooks.wait(webhook, functools.partial(self._tell, visit))
        return build_answer(visit.agent, _one(reported_answer(result)))

    @staticmethod
    def _tell(visit: Visit, percent: float | None, message: str | None) -> None:
        text = visit.redact(message) if message is not None else None
        if percent is not None and percent > CALLED:
            visit.reporter.progress(min(percent, ANSWERED), text)
        elif text is not None:
            visit.reporter.event("progress", text)

    async def _executed(self) -> AgentResult:
        visit = self._visit
        if visit.link.remote_task_id is None:
            execution_id = _execution_id(await self._begin(None))
            if execution_id is None:
                problem = f"The workflow began without saying its execution's id: {_RESPOND}."
                raise TaskFailure("endpoint_response_invalid", problem)
            await visit.keep(execution_id)
        else:
            told = {"execution_id": visit.link.remote_task_id}
            visit.reporter.event("log", "Goes on with the remote execution", told)
        seen = await self._end()
        if seen["status"] == "success":
            return self._result(await self._look(data=True))
        visit.over = True
        data = {"execution_id": visit.link.remote_task_id, "status": seen["status"]}
        if seen["status"] in {"canceled", "cancelled"}:
            raise TaskFailure("remote_cancelled", "The execution was cancelled at the n8n server.", data=data)
        error = _within(await self._look(data=True), "data", "resultData", "error")
        said = quote(visit.redact(said_by(error or ""))) or "it gave no reason."
        raise TaskFailure("remote_failed", f"The workflow failed: {said}", data=data)

    async def _end(self) -> dict[str, Any]:
        try:
            seen: dict[str, Any] = await self._visit.until(self._look, lambda seen: seen["status"] in _OVER)
            return seen
        except TaskFailure as failure:
            if not is_unknown(failure):
                raise
            self._visit.over = True
            problem = "The n8n server does not know the execution any more: does the workflow save its executions?"
            raise TaskFailure("remote_failed", problem) from None

    async def _look(self, *, data: bool = False) -> dict[str, Any]:
        url = f"{self._api}{in_path(str(self._visit.link.remote_task_id))}"
        query = {"includeData": "true"} if data else {}
        seen = await self._visit.wire.ask("GET", url, repeatable=True, headers=self._key(), params=query)
        if not isinstance(seen, dict):
            raise invalid(self._visit.what, "gave an execution that cannot be read")
        # Versions before 1.0 say finished alone.
        return {**seen, "status": str(seen.get("status") or ("success" if seen.get("finished") else "running"))}

    def _key(self) -> dict[str, str]:
        return {"X-N8N-API-KEY": self._settings.api_key or ""}

    def _result(self, seen: Mapping[str, Any]) -> AgentResult:
        """Return what the last node made: the JSON of its item, or of its items."""
        self._visit.over = True
        node = _within(seen, "data", "resultData", "lastNodeExecuted")
        runs = _within(seen, "data", "resultData", "runData", node)
        made = _within(runs[-1], "data", "main") if isinstance(runs, list) and runs else None
        items = made[0] if isinstance(made, list) and made and isinstance(made[0], list) else []
        found = [item["json"] for item in items if isinstance(item, dict) and "json" in item]
        told = {"execution_id": self._visit.link.remote_task_id, "last_node": shown(node)}
        document = found[0] if len(found) == 1 else found
        if not found:
            raise invalid(
                self._visit.what, "says nothing of what the workflow made: does it save its executions' data?"
            )
        return build_result(self._visit, None, document, {"n8n": told})


def _one(answer: Answer) -> Answer:
    """Return an answer that is the only item of a list as that item: n8n hands over items."""
    document = answer.document
    return answer.replaced(document[0]) if isinstance(document, list) and len(document) == 1 else answer


def _execution_id(response: httpx.Response) -> str | None:
    try:
        told = response.json()
    except (ValueError, RecursionError):
        return None
    told = told[0] if isinstance(told, list) and told else told
    value = told.get("executionId") if isinstance(told, dict) else None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _within(value: Any, *path: Any) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def make(visit: Visit) -> N8n:
    """Return the adapter for a visit."""
    assert isinstance(visit.remote.settings, N8nSettings)
    return N8n(visit, visit.remote.settings)
