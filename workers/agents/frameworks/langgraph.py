"""LangGraph servers (`langgraph-api`), through the SDK, which is given the door's HTTP client.

A task is a run on a thread whose id follows from the message's, so that a run that was begun is found again by the next
attempt whatever its worker still could write down. Interrupts become questions; the answer resumes the same thread.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from langgraph_sdk.client import LangGraphClient

from workers.agents.external.wire import quote
from workers.agents.frameworks.langgraph_events import Heard, text_in
from workers.agents.frameworks.langgraph_pause import Reply, ask, reply_of
from workers.agents.frameworks.langgraph_state import RUNS, STATES, Run, State
from workers.agents.frameworks.outcome import build_result
from workers.agents.frameworks.settings import LangGraphSettings
from workers.agents.frameworks.visit import Visit
from workers.agents.frameworks.wire import WIRE_ERRORS, failure_of, invalid, is_unknown, said_by
from workers.agents.result import AgentResult
from workers.errors import TaskFailure

_MARK = "orchestrator_message_id"
_MODES = ("messages-tuple", "updates", "custom")
_RUNS = 100
# What is wrong with an answer, or forbidden, stays so however often the run is looked at.
_FINAL = frozenset({"response_too_large", "address_not_allowed", "host_not_allowed", "endpoint_auth_failed"})


class LangGraph:
    """One attempt's run of a graph."""

    def __init__(self, visit: Visit, settings: LangGraphSettings) -> None:
        self._visit = visit
        self._settings = settings
        self._sdk = LangGraphClient(visit.wire.http)
        self._heard = Heard(visit)
        self._message_id = self._thread = ""

    async def run(self) -> AgentResult:
        """Run it, or go on with it; see `Adapter`."""
        visit = self._visit
        reply = reply_of(visit.claimed, visit.agent, visit.redact)
        self._message_id = reply.message_id if reply else visit.link.message_id
        self._thread = self._thread_of(reply)
        known = None if reply is None and visit.fresh else await self._find()
        if known is not None:
            visit.reporter.event("log", "Goes on with the remote run", {"run_id": known})
            await self._heard.began(known, self._thread)
            # -1: from the beginning of what the server kept of the stream.
            await self._listen(self._sdk.runs.join_stream(self._thread, known, last_event_id="-1"))
        else:
            await self._listen(self._start(reply))
        return await self._settle(await self._end())

    async def cancel(self) -> None:
        """Stop the run, which is looked for when its id is not known yet."""
        run_id = self._heard.run_id or await self._find()
        if run_id is not None:
            await self._visit.wire.translated(lambda: self._sdk.runs.cancel(self._thread, run_id, action="interrupt"))

    def _thread_of(self, reply: Reply | None) -> str:
        thread = reply.thread_id if reply else self._visit.link.context_id
        return thread or str(uuid.uuid5(uuid.NAMESPACE_URL, f"orchestrator:{self._message_id}"))

    def _start(self, reply: Reply | None) -> AsyncIterator[Any]:
        sent: dict[str, Any] = {"command": reply.command, "input": None} if reply else {"input": self._input()}
        runs: Any = self._sdk.runs  # Its overloads know no union of what may be sent.
        events: AsyncIterator[Any] = runs.stream(
            self._thread,
            self._settings.assistant_id,
            **sent,
            stream_mode=list(_MODES),
            metadata={_MARK: self._message_id, "task_id": self._visit.claimed.task.id},
            config=self._settings.config,
            context=self._settings.context,
            if_not_exists="create",
            on_disconnect="continue",
            stream_resumable=True,
        )
        return events

    def _input(self) -> Mapping[str, Any]:
        order, key = self._visit.order, self._settings.input_key
        if not order.prompt:
            return order.data
        if key != "messages":
            return {**order.data, key: order.prompt}
        # A thread that the conversation has here already knows what was said.
        earlier = [asdict(turn) for turn in order.history] if self._visit.link.context_id is None else []
        return {**order.data, key: [*earlier, {"role": "user", "content": order.prompt}]}

    async def _find(self) -> str | None:
        """Return the run that an earlier attempt began with this message, if it is of use."""

        async def look() -> list[Run]:
            return RUNS.validate_python(await self._sdk.runs.list(self._thread, limit=_RUNS))

        try:
            found: list[Run] = await self._visit.wire.surely(look, self._visit.polls().next)
        except TaskFailure as failure:
            if is_unknown(failure):
                return None
            raise
        mine = [run for run in found if (run.metadata or {}).get(_MARK) == self._message_id]
        for run in mine:
            if run.status not in {"error", "timeout"} and (run.status != "interrupted" or await self._asks()):
                return run.run_id
        return None

    async def _asks(self) -> bool:
        """Whether an interrupted run waits for a person; one that was cancelled is called the same."""

        async def status() -> bool:
            return bool((await self._sdk.threads.get(self._thread))["status"] == "interrupted")

        return bool(await self._visit.wire.surely(status, self._visit.polls().next))

    async def _listen(self, events: AsyncIterator[Any]) -> None:
        """Take in a stream; when it breaks after the server has named the run, polling takes over."""
        try:
            async for part in events:
                await self._heard.take(part, self._thread)
        except WIRE_ERRORS as error:
            failure = failure_of(error, self._visit.what, repeatable=False)
            if self._heard.run_id is None or failure.code in _FINAL:
                raise failure from None
            data = {"error_code": failure.code}
            self._visit.reporter.event("log", "The stream broke off; the remote run is polled", data)
        finally:
            await events.aclose()  # type: ignore[attr-defined]
        if self._heard.run_id is None:
            raise invalid(self._visit.what, "began no run")

    async def _end(self) -> Run:
        run_id = str(self._heard.run_id)

        async def look() -> Run:
            return Run.model_validate(await self._sdk.runs.get(self._thread, run_id))

        try:
            run: Run = await self._visit.until(look, lambda run: run.over)
            return run
        except TaskFailure as failure:
            if not is_unknown(failure):
                raise
            self._visit.over = True
            problem = "The LangGraph server does not know the run any more: it is begun again."
            raise TaskFailure("remote_task_lost", problem, retryable=True) from None

    async def _settle(self, run: Run) -> AgentResult:
        """Turn the run's end into ours."""
        visit, used = self._visit, self._heard.bill.rows
        state = await self._state(run.run_id)
        stopped = state.interrupts or (state.next if run.status == "success" else [])
        if stopped and run.status in {"success", "interrupted"}:
            raise ask(state.interrupts, self._thread, visit.agent, visit.redact, used, before=state.next)
        visit.over = True
        if run.status == "success":
            return self._result(state.values)
        data = {"run_id": run.run_id, "thread_id": self._thread, "status": run.status}
        if run.status == "interrupted":
            problem = "The run was cancelled at the LangGraph server."
            raise TaskFailure("remote_cancelled", problem, data=data).with_usage(used)
        errors = (self._heard.error, *(task.error for task in state.tasks))
        said = next((quote(visit.redact(said_by(error))) for error in errors if error), "it gave no reason.")
        problem = "The graph ran out of its time." if run.status == "timeout" else f"The graph failed: {said}"
        raise TaskFailure("remote_failed", problem, data=data).with_usage(used)

    async def _state(self, run_id: str) -> State:
        """Return the thread as this run left it: another run may have gone on since."""

        async def look() -> State:
            seen = await self._sdk.threads.get_history(self._thread, limit=1, metadata={"run_id": run_id})
            if found := STATES.validate_python(seen):
                return found[0]
            # It ended before its first step did, by a failure or the next question of a node: the thread is as it was.
            return State.model_validate(await self._sdk.threads.get_state(self._thread))

        state: State = await self._visit.wire.surely(look, self._visit.polls().next)
        return state

    def _result(self, values: Any) -> AgentResult:
        visit, key = self._visit, self._settings.output_key
        text: str | None = None
        if key is not None:
            document = values.get(key) if isinstance(values, dict) else None
            text = document if isinstance(document, str) else None
            document = None if text is not None else document
        else:
            text = text_in(values)
            left = {name: value for name, value in values.items() if name != "messages"} if text else values
            document = left or None
        if text is None and document is None:
            raise invalid(visit.what, f"ended without {key or 'any state'}: set endpoint.output_key")
        told = {"thread_id": self._thread, "run_id": self._heard.run_id, "assistant_id": self._settings.assistant_id}
        return build_result(visit, text, document, {"langgraph": told}, self._heard.bill.rows)


def make(visit: Visit) -> LangGraph:
    """Return the adapter for a visit."""
    assert isinstance(visit.remote.settings, LangGraphSettings)
    return LangGraph(visit, visit.remote.settings)
