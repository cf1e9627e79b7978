"""Agents, teams and workflows of an AgentOS (Agno), over its HTTP API.

The session's id follows from the message's, so that a run that was begun is found again by the next attempt. Runs are
asked for in the background where the AgentOS keeps them, so that they outlive a stream that breaks.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import httpx_sse

from workers.agents.external.wire import quote
from workers.agents.frameworks.agno_events import ENDED, Heard
from workers.agents.frameworks.agno_pause import Reply, ask, reply_of
from workers.agents.frameworks.outcome import build_result
from workers.agents.frameworks.settings import AgnoSettings
from workers.agents.frameworks.visit import Visit
from workers.agents.frameworks.wire import WIRE_ERRORS, failure_of, in_path, invalid, is_unknown, said_by
from workers.agents.result import AgentResult
from workers.errors import TaskFailure

_MARK = "orchestrator_message_id"
# What is wrong with an answer, or forbidden, stays so however often the run is looked at.
_FINAL = frozenset({"response_too_large", "address_not_allowed", "host_not_allowed", "endpoint_auth_failed"})


class Agno:
    """One attempt's run."""

    def __init__(self, visit: Visit, settings: AgnoSettings) -> None:
        self._visit = visit
        self._kind, name = settings.runs
        self._runs = f"/{self._kind}/{in_path(name)}/runs"
        self._session = ""
        self._heard = Heard(visit, self._kind)

    async def run(self) -> AgentResult:
        """Run it, or go on with it; see `Adapter`."""
        visit = self._visit
        reply = reply_of(visit.claimed, visit.agent, visit.redact)
        self._session = (reply.session_id if reply else visit.link.context_id) or str(
            uuid.uuid5(uuid.NAMESPACE_URL, f"orchestrator:{visit.link.message_id}")
        )
        self._heard.session_id = self._session
        if reply is not None:
            await self._continue(reply)
        elif (known := None if visit.fresh else await self._find()) is not None:
            await self._rejoin(known, -1)
        else:
            await self._start()
        return await self._settle()

    async def cancel(self) -> None:
        """Stop the run, which is looked for when its id is not known yet."""
        run_id = self._heard.run_id or await self._find()
        if run_id is not None:
            await self._visit.wire.ask("POST", f"{self._run(run_id)}/cancel", params={"session_id": self._session})

    async def _start(self) -> None:
        order = self._visit.order
        form = {
            "message": order.prompt or _message_in(order.data),
            "stream": "true",
            "background": "true",
            "session_id": self._session,
            "metadata": json.dumps({_MARK: self._visit.link.message_id, "task_id": self._visit.claimed.task.id}),
        }
        if order.data:
            form["dependencies"] = json.dumps(order.data)
        try:
            await self._listen(self._runs, form)
        except TaskFailure as failure:
            if self._heard.run_id is not None or not _is_bad_request(failure):
                raise
            # Without a database an AgentOS has no background; nothing was begun.
            await self._listen(self._runs, {**form, "background": "false"})
        if self._heard.run_id is None:
            raise invalid(self._visit.what, "began no run")

    async def _continue(self, reply: Reply) -> None:
        """Hand the answers over, unless an earlier attempt did."""
        self._heard.run_id = reply.run_id
        self._heard.seen = reply.seen
        run = await self._look()
        if run.get("status") != "PAUSED":
            await self._rejoin(reply.run_id, reply.seen)
            return
        form = {"tools": json.dumps(reply.tools), "session_id": self._session, "stream": "true", "background": "true"}
        await self._listen(f"{self._run(reply.run_id)}/continue", form)

    async def _rejoin(self, run_id: str, seen: int) -> None:
        self._visit.reporter.event("log", "Goes on with the remote run", {"run_id": run_id})
        self._heard.run_id = await self._visit.keep(run_id, self._session)
        form = {"session_id": self._session}
        if seen >= 0:
            form["last_event_index"] = str(seen)
        await self._listen(f"{self._run(run_id)}/resume", form)

    async def _find(self) -> str | None:
        """Return the run that an earlier attempt began with this message, if it is of use."""
        visit = self._visit

        async def runs() -> list[Any]:
            answer = await visit.wire.ask("GET", f"/sessions/{in_path(self._session)}/runs", repeatable=True)
            return [run for run in answer if run["status"] not in {"ERROR", "CANCELLED"}]

        try:
            found = await visit.wire.surely(runs, visit.polls().next)
        except TaskFailure as failure:
            if is_unknown(failure):
                return None
            raise
        mine = (run for run in found if (run.get("metadata") or {}).get(_MARK) == visit.link.message_id)
        return next((str(run["run_id"]) for run in mine), None)

    async def _listen(self, path: str, form: Mapping[str, str]) -> None:
        """Take in a stream; when it breaks after the server has named the run, polling takes over."""
        try:
            async for event in self._events(path, form):
                await self._heard.take(event)
        except WIRE_ERRORS as error:
            failure = failure_of(error, self._visit.what, repeatable=False)
            if self._heard.run_id is None or failure.code in _FINAL:
                raise failure from None
            data = {"error_code": failure.code}
            self._visit.reporter.event("log", "The stream broke off; the remote run is polled", data)

    async def _events(self, path: str, form: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        accept = {"accept": "text/event-stream"}
        async with self._visit.wire.http.stream("POST", path, data=dict(form), headers=accept) as response:
            if not response.is_success:
                await response.aread()
                response.raise_for_status()
            async for event in httpx_sse.EventSource(response).aiter_sse():
                data = json.loads(event.data)
                if isinstance(data, dict):
                    yield {"event": event.event, **data}

    async def _look(self) -> dict[str, Any]:
        path = self._run(str(self._heard.run_id))

        async def look() -> dict[str, Any]:
            seen = await self._visit.wire.ask("GET", path, repeatable=True, params={"session_id": self._session})
            return {**seen, "status": str(seen["status"]).upper()}

        try:
            run: dict[str, Any] = await self._visit.until(look, lambda run: run["status"] not in {"RUNNING", "PENDING"})
            return run
        except TaskFailure as failure:
            if not is_unknown(failure):
                raise
            self._visit.over = True
            problem = "The AgentOS does not know the run any more: it is begun again."
            raise TaskFailure("remote_task_lost", problem, retryable=True) from None

    def _run(self, run_id: str) -> str:
        return f"{self._runs}/{in_path(run_id)}"

    async def _settle(self) -> AgentResult:
        visit, heard = self._visit, self._heard
        end = heard.end if heard.end is not None else await self._look()
        status = ENDED.get(heard.name_of(end), end.get("status"))
        if status == "COMPLETED":
            visit.over = True
            heard.bill_whole(end)
            return self._result(end)
        told = {"run_id": heard.run_id, "session_id": self._session, "status": status}
        if status == "PAUSED":
            if self._kind == "agents":
                raise ask(end, heard, visit)
            visit.over = True
            await visit.quietly(self.cancel)
            problem = f"The run paused for a person, which is supported for agents only, not for {self._kind}."
            raise TaskFailure("protocol_unsupported", problem, data=told).with_usage(heard.bill.rows)
        visit.over = True
        if status == "CANCELLED":
            problem = "The run was cancelled at the AgentOS."
            raise TaskFailure("remote_cancelled", problem, data=told).with_usage(heard.bill.rows)
        said = quote(visit.redact(said_by(end.get("content") or end.get("error") or ""))) or "it gave no reason."
        raise TaskFailure("remote_failed", f"The run failed: {said}", data=told).with_usage(heard.bill.rows)

    def _result(self, end: Mapping[str, Any]) -> AgentResult:
        content = end.get("content")
        told = {"agno": {"run_id": self._heard.run_id, "session_id": self._session}}
        text = content if isinstance(content, str) else None
        if text is None and content is None:
            raise invalid(self._visit.what, "answered with nothing")
        document = None if text is not None else content
        return build_result(self._visit, text, document, told, self._heard.bill.rows)


def _message_in(data: Mapping[str, Any]) -> str:
    """Return what is said to an agent that is given data alone."""
    said = next((data[key] for key in ("message", "prompt", "input") if isinstance(data.get(key), str)), None)
    return said or json.dumps(data, ensure_ascii=False)


def _is_bad_request(failure: TaskFailure) -> bool:
    return failure.data is not None and failure.data.get("status") == httpx.codes.BAD_REQUEST


def make(visit: Visit) -> Agno:
    """Return the adapter for a visit."""
    assert isinstance(visit.remote.settings, AgnoSettings)
    return Agno(visit, visit.remote.settings)
