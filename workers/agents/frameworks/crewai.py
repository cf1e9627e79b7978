"""Crews behind CrewAI's API: POST /kickoff, GET /status/{kickoff_id}, POST /resume (docs.crewai.com, API reference).

The API has no way to find an execution again but by its id, and none to stop one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workers.agents.external.wire import quote
from workers.agents.frameworks.outcome import APPROVAL, NO_ANSWER, Bill, build_result, question, shown
from workers.agents.frameworks.settings import CrewAISettings
from workers.agents.frameworks.visit import ANSWERED, CALLED, Visit
from workers.agents.frameworks.wire import in_path, invalid, is_unknown, said_by
from workers.agents.result import AgentResult
from workers.errors import InputNeeded, TaskFailure

_FORMAT = "crewai/1"
_DONE = frozenset({"completed", "success"})
_FAILED = frozenset({"error", "failed", "failure"})
_CANCELLED = frozenset({"cancelled", "canceled"})


class CrewAI:
    """One attempt's execution of a crew."""

    def __init__(self, visit: Visit, settings: CrewAISettings) -> None:
        self._visit = visit
        self._settings = settings
        self._told: Any = None

    async def run(self) -> AgentResult:
        """Kick the crew off, or go on with it; see `Adapter`."""
        visit = self._visit
        if visit.link.remote_task_id is None:
            told = await visit.wire.ask("POST", "/kickoff", json=self._kickoff())
            await visit.keep(told.get("kickoff_id") if isinstance(told, dict) else None)
        else:
            visit.reporter.event("log", "Goes on with the remote execution", {"kickoff_id": visit.link.remote_task_id})
            await self._answer()
        seen = await self._end()
        return self._settle(seen)

    async def cancel(self) -> None:
        """Do nothing: the API cannot stop an execution."""

    def _kickoff(self) -> dict[str, Any]:
        order, task = self._visit.order, self._visit.claimed.task
        inputs = {**order.data, **({self._settings.input_key: order.prompt} if order.prompt else {})}
        return {"inputs": inputs, "meta": {"taskId": task.id, "messageId": self._visit.link.message_id}}

    async def _answer(self) -> None:
        """Hand a person's answer over, unless an earlier attempt did."""
        visit, kept, answer = self._visit, self._visit.claimed.checkpoint, self._visit.claimed.answer
        if answer is None or not isinstance(kept, dict) or kept.get("format") != _FORMAT:
            return
        message_id = f"{visit.claimed.task.id}.{answer.id}"
        if visit.link.message_id == message_id or kept.get("kickoff_id") != visit.link.remote_task_id:
            return
        if _state(await self._look()) == "waiting":
            said = answer.response if answer.status == "answered" and isinstance(answer.response, dict) else {}
            approved = said.get("approved") is True
            feedback = said.get("note") or (NO_ANSWER if not said else "Approved." if approved else "Not approved.")
            sent = {
                "execution_id": visit.link.remote_task_id,
                "task_id": kept.get("crew_task_id"),
                "human_feedback": feedback,
                "is_approve": approved,
            }
            await visit.wire.ask("POST", "/resume", json=sent)
        visit.link = replace(visit.link, message_id=message_id)
        await visit.keep(visit.link.remote_task_id)

    async def _look(self) -> dict[str, Any]:
        seen = await self._visit.wire.ask(
            "GET", f"/status/{in_path(str(self._visit.link.remote_task_id))}", repeatable=True
        )
        if not isinstance(seen, dict) or not isinstance(seen.get("status") or seen.get("state"), str):
            raise invalid(self._visit.what, "gave no status")
        self._tell(seen)
        return seen

    def _tell(self, seen: Mapping[str, Any]) -> None:
        """Say how far the crew is, when that has changed."""
        progress = seen.get("progress")
        done, total = (
            (progress.get(key) for key in ("completed_tasks", "total_tasks")) if isinstance(progress, dict) else (0, 0)
        )
        task = seen.get("current_task")
        if (done, task) == self._told or _state(seen) != "running":
            return
        self._told = (done, task)
        name = quote(self._visit.redact(task), 200) if isinstance(task, str) else "the crew"
        if isinstance(done, int) and isinstance(total, int) and 0 <= done <= total and total > 0:
            self._visit.reporter.progress(CALLED + (ANSWERED - CALLED) * done / total, f"Works on {name}")
        self._visit.reporter.event("log", f"Works on {name}", {"current_task": name})

    async def _end(self) -> dict[str, Any]:
        try:
            seen: dict[str, Any] = await self._visit.until(self._look, lambda seen: _state(seen) != "running")
            return seen
        except TaskFailure as failure:
            if not is_unknown(failure):
                raise
            self._visit.over = True
            problem = "The CrewAI server does not know the execution any more: it is begun again."
            raise TaskFailure("remote_task_lost", problem, retryable=True) from None

    def _settle(self, seen: Mapping[str, Any]) -> AgentResult:
        visit, state = self._visit, _state(seen)
        if state == "waiting":
            raise self._ask(seen)
        visit.over = True
        data = {
            "kickoff_id": visit.link.remote_task_id,
            "status": quote(str(seen.get("status") or seen.get("state")), 100),
        }
        bill = _bill(seen)
        if state == "completed":
            return self._result(seen, bill)
        if state == "cancelled":
            problem = "The execution was cancelled at the CrewAI server."
            raise TaskFailure("remote_cancelled", problem, data=data).with_usage(bill.rows)
        said = quote(visit.redact(said_by(seen.get("error") or seen.get("result") or ""))) or "it gave no reason."
        raise TaskFailure("remote_failed", f"The crew failed: {said}", data=data).with_usage(bill.rows)

    def _ask(self, seen: Mapping[str, Any]) -> InputNeeded:
        last = seen.get("last_executed_task")
        last = last if isinstance(last, dict) else {}
        names = (seen.get("task_id"), seen.get("current_task"), last.get("task_id"), last.get("name"))
        crew_task = next((name for name in names if isinstance(name, str) and name), None)
        if crew_task is None:
            raise invalid(self._visit.what, "waits for a person, and does not say for which task")
        outputs = (seen.get("task_output"), seen.get("output"), last.get("output"), seen.get("result"))
        output = next((output for output in outputs if output), None)
        fallback = f"The crew {self._visit.agent.name} waits for feedback on {quote(crew_task, 200)}."
        metadata = {"crewai": {"task_id": quote(crew_task, 200), "output": shown(output)}}
        asked = question(output, fallback, self._visit.redact, metadata=metadata, schema=APPROVAL)
        kept = {"format": _FORMAT, "kickoff_id": self._visit.link.remote_task_id, "crew_task_id": crew_task}
        return InputNeeded(asked, checkpoint=kept)

    def _result(self, seen: Mapping[str, Any], bill: Bill) -> AgentResult:
        visit, result = self._visit, seen.get("result")
        told: dict[str, Any] = {"kickoff_id": visit.link.remote_task_id}
        text, document = (result, None) if isinstance(result, str) else (None, result)
        if isinstance(result, dict):
            output, data = result.get("output", result.get("raw")), result.get("json_dict")
            text = output if isinstance(output, str) else None
            document = data if isinstance(data, dict) else None if text is not None else output or result
            told["tasks"] = shown(result.get("tasks"))
        if text is None and document is None:
            raise invalid(visit.what, "answered with nothing")
        return build_result(visit, text, document, {"crewai": told}, bill.rows)


def _state(seen: Mapping[str, Any]) -> str:
    """Return running, waiting, completed, failed or cancelled; the API reference names the first and the last ones.

    What a crew that waits for a person says stands in no reference; it names the human in the versions there are.
    """
    status = str(seen.get("status") or seen.get("state")).strip().lower().replace(" ", "_")
    if "human" in status or status == "paused":
        return "waiting"
    known = {"completed": _DONE, "failed": _FAILED, "cancelled": _CANCELLED}
    return next((state for state, names in known.items() if status in names), "running")


def _bill(seen: Mapping[str, Any]) -> Bill:
    """Count what the crew used, where its server says so (`token_usage`, as crewai's CrewOutput has it)."""
    bill = Bill()
    result = seen.get("result")
    for place in (seen, result if isinstance(result, dict) else {}):
        used = place.get("token_usage")
        if isinstance(used, dict):
            counts = (used.get("prompt_tokens"), used.get("completion_tokens"), used.get("cached_prompt_tokens"))
            bill.add(used.get("provider") or "crewai", used.get("model"), counts, cost=used.get("cost"))
            break
    return bill


def make(visit: Visit) -> CrewAI:
    """Return the adapter for a visit."""
    assert isinstance(visit.remote.settings, CrewAISettings)
    return CrewAI(visit, visit.remote.settings)
