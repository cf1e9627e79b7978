"""The method `plan_project`: a context agent writes the plan of a project.

The plan is written to the database while the model can still be told what is wrong with it, by the lease and once: an
attempt after that finds it written and only says so. What becomes of the project follows from it, in the database.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from workers.agents.context import ContextAgents
from workers.agents.plan_format import GUIDE, Plan, PlanBrief
from workers.agents.result import AgentResult
from workers.agents.usable import usable_agent
from workers.backend import Backend
from workers.contract import AgentRow, Completion
from workers.errors import BackendError, BackendRejected, ErrorCode, TaskFailure
from workers.handlers import complete
from workers.job import Job

_MAX_STEPS_TOLD = 100
_REFUSALS: dict[str, ErrorCode] = {
    "plan_has_started": "plan_has_started",
    "plan_changed": "plan_changed",
    "project_not_found": "project_not_found",
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Written(_Model):
    """A plan that is saved."""

    project_id: str
    name: str | None
    status: str
    plan_version: int
    plan: Plan

    def text(self) -> str:
        """Return the plan as people read it."""
        steps = self.plan["steps"]
        lines = [
            f"{number}. **{step.get('name') or step['id']}** ({step.get('agent') or step.get('type') or 'agent'})"
            + (f", after {', '.join(step['dependencies'])}" if step.get("dependencies") else "")
            for number, step in enumerate(steps[:_MAX_STEPS_TOLD], start=1)
        ]
        lines += [f"… and {len(steps) - _MAX_STEPS_TOLD} more"] if len(steps) > _MAX_STEPS_TOLD else []
        state = "It is running." if self.status == "running" else "It waits for your approval."
        return f"# Plan: {self.name or 'project'}\n\n" + "\n".join(lines) + f"\n\n{state}"


class _Project(_Model):
    id: str
    plan: Plan | None


class _Request(_Model):
    """What there is to plan, as read_plan_request answers."""

    written: _Written | None
    project: _Project
    max_steps: int
    agents: list[dict[str, Any]]


class _Problem(_Model):
    error_code: str
    error_message: str | None
    hint: str | None

    def text(self) -> str:
        return " ".join(part for part in (self.error_message or self.error_code, self.hint) if part)


class _Refused(_Model):
    problem: _Problem


class _Told(RootModel[_Written | _Refused]):
    """What write_plan answers."""


_T = TypeVar("_T", bound=BaseModel)


@dataclass(slots=True)
class _Desk:
    """The plan of one attempt and where it is written."""

    job: Job
    database: Backend
    written: _Written | None = None

    async def read(self) -> _Request:
        return await self._call(_Request, "read_plan_request")

    async def write(self, answer: Plan) -> str | None:
        """Save the plan; return what is wrong with it, if anything is.

        Raises:
            TaskFailure: plan_has_started, plan_changed, project_not_found; internal_error when nobody can tell.
        """
        name = answer.get("name")
        plan, name = {"steps": answer.get("steps")}, name if isinstance(name, str) else None
        told = await self._call(_Told, "write_plan", plan=plan, name=name)
        if isinstance(told.root, _Refused):
            return told.root.problem.text()
        self.written = told.root
        return None

    async def _call(self, kind: type[_T], function: str, **arguments: Any) -> _T:
        lease = self.job.claimed.lease
        fence = {"task_id": lease.task_id, "attempt": lease.attempt, "lease_token": lease.lease_token}
        try:
            return kind.model_validate(await self.database.call(function, fence | arguments))
        except BackendRejected as error:
            if error.token in _REFUSALS:
                raise TaskFailure(_REFUSALS[error.token], f"The plan was not written: {error}") from None
            raise _unreadable(error) from None
        except (BackendError, ValidationError) as error:
            raise _unreadable(error) from None


class Planner:
    """The handler of the method `plan_project`."""

    def __init__(self, agents: ContextAgents, database: Backend) -> None:
        self._agents = agents
        self._database = database

    async def plan(self, job: Job) -> Completion:
        """Let the agent plan; an invalid plan is given back to it once.

        Raises:
            PauseNeeded: the agent asks a person, or calls other agents.
            TaskFailure: plan_invalid, with what is wrong; plan_changed, plan_has_started, project_not_found; and those
                of context agents.
        """
        agent = usable_agent(job.claimed)
        if agent.agent_type != "context":
            raise TaskFailure(
                "agent_type_unsupported", f"Only context agents plan, not those of type {agent.agent_type!r}."
            )
        desk = _Desk(job, self._database)
        request = await desk.read()
        if request.written is not None:
            return _completion(job, agent, request.written, AgentResult(text=request.written.text()))
        job.progress(10, "Request read")
        result = await self._run(job, agent, request, desk)
        if desk.written is None:
            raise TaskFailure("internal_error", "The agent answered without a plan.", retryable=True)
        return _completion(job, agent, desk.written, result)

    async def _run(self, job: Job, agent: AgentRow, request: _Request, desk: _Desk) -> AgentResult:
        task = job.claimed.task
        brief = PlanBrief(task.prompt, request.agents, request.max_steps, request.project.plan, desk.write)
        context = "\n\n".join(part for part in (agent.context, GUIDE) if part)
        planner = replace(agent, context=context, io_schema={"output": brief.schema()})
        claimed = replace(job.claimed, task=replace(task, prompt=brief.prompt(), params=None), agent=planner)
        return await self._agents.run(claimed, planner, job, brief)


def _completion(job: Job, agent: AgentRow, written: _Written, result: AgentResult) -> Completion:
    about = {"project_id": written.project_id, "plan_version": written.plan_version, "project_status": written.status}
    told = replace(result, text=written.text(), document=written.plan, response_metadata=about)
    return complete(job.claimed, agent, told, None)


def _unreadable(error: Exception) -> TaskFailure:
    return TaskFailure(
        "internal_error", f"The plan could not be read or written: {type(error).__name__}.", retryable=True
    )
