"""The handler of the method `run_workflow`: a code workflow's execution, by the adapter of its framework."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.agents.documents import readable_json
from workers.agents.frameworks import Frameworks, Order
from workers.agents.frameworks.settings import Framework
from workers.agents.usable import usable_agent
from workers.backend import Backend
from workers.contract import ClaimedTask, Completion
from workers.errors import BackendError, TaskFailure
from workers.job import Job


class _Workflow(BaseModel):
    """What read_workflow_execution answers, as far as it matters here."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    name: str
    version: str
    framework: Framework
    workflow_type: str
    workflow_data: dict[str, Any]


class Workflows:
    """Runs code workflows."""

    def __init__(self, frameworks: Frameworks, database: Backend) -> None:
        self._frameworks = frameworks
        self._database = database

    async def run(self, job: Job) -> Completion:
        """Run one attempt of an execution.

        `workflow_data.endpoint` says where its framework's server is; without one it is the agent's.

        Raises:
            InputNeeded: the run waits for a person.
            TaskFailure: the attempt failed.
        """
        claimed = job.claimed
        agent = usable_agent(claimed)
        workflow = await self._read(claimed)
        if workflow.workflow_type != "code":
            raise TaskFailure(
                "workflow_misconfigured", f"The workflow {workflow.name!r} is visual: it runs as a project."
            )
        endpoint = workflow.workflow_data.get("endpoint", agent.endpoint)
        if endpoint is None:
            raise TaskFailure(
                "workflow_misconfigured",
                f"The workflow {workflow.name!r} has no endpoint: put one into workflow_data.endpoint, or into that of "
                f"its agent {agent.slug!r}.",
                data={"field": "workflow_data.endpoint"},
            )
        job.progress(10, "Workflow read")
        result = await self._frameworks.run(
            claimed, agent, _order(claimed), job, framework=workflow.framework, endpoint=endpoint
        )
        told = {"name": workflow.name, "version": workflow.version, "framework": workflow.framework}
        metadata: dict[str, Any] = {"workflow": told, **result.response_metadata}
        if result.document is not None:
            metadata["output"] = result.document
        return Completion(response=result.text, response_metadata=metadata, usage=result.usage)

    async def _read(self, claimed: ClaimedTask) -> _Workflow:
        try:
            answer = await self._database.call("read_workflow_execution", claimed.lease._asdict())
        except BackendError as error:
            # A lost lease ends here too; then nobody hears it.
            problem = f"The workflow could not be read: {type(error).__name__}."
            raise TaskFailure("internal_error", problem, retryable=True) from None
        if answer is None:
            raise TaskFailure("workflow_misconfigured", "The task's execution was deleted.")
        try:
            return _Workflow.model_validate(answer)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
            raise TaskFailure("workflow_misconfigured", f"The workflow's {place} cannot be used.") from None


def _order(claimed: ClaimedTask) -> Order:
    """Return what the execution's input asks for: a text is a prompt, an object the framework's own inputs."""
    params = claimed.task.params
    given = params.get("input") if isinstance(params, dict) else None
    match given:
        case None:
            return Order("")
        case str():
            return Order(given)
        case dict():
            return Order("", given)
        case _:
            return Order(readable_json(given))
