"""The methods of tasks: `process` makes a deliverable, `converse` only answers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workers.agents.documents import schema_of
from workers.agents.result import AgentResult, AgentRunner
from workers.contract import AgentRow, ClaimedTask, Completion, Deliverable
from workers.deliverable import build_deliverable
from workers.errors import TaskFailure
from workers.job import Handler, Job
from workers.schema_check import check_document
from workers.secrets import names_in


def build_handlers(agents: Mapping[str, AgentRunner]) -> dict[str, Handler]:
    """Return the handler of each method; `agents` maps an agent_type to what runs it."""
    return {
        "process": functools.partial(_process, agents),
        "converse": functools.partial(_converse, agents),
    }


async def _process(agents: Mapping[str, AgentRunner], job: Job) -> Completion:
    agent, result = await _run_agent(agents, job)
    deliverable = build_deliverable(
        job.claimed.task, result.text, agent_name=agent.name, text_format=result.format, title=result.title
    )
    if result.file_attachments:
        deliverable = replace(deliverable, file_attachments=result.file_attachments)
    return complete(job.claimed, agent, result, deliverable)


async def _converse(agents: Mapping[str, AgentRunner], job: Job) -> Completion:
    agent, result = await _run_agent(agents, job)
    return complete(job.claimed, agent, result, None)


async def _run_agent(agents: Mapping[str, AgentRunner], job: Job) -> tuple[AgentRow, AgentResult]:
    agent = usable_agent(job.claimed)
    runner = agents.get(agent.agent_type)
    if runner is None:
        raise TaskFailure(
            "agent_type_unsupported", f"This worker cannot run agents of type {agent.agent_type!r}.", retryable=False
        )
    _check_input(job.claimed, agent)
    job.progress(10, "Context fetched")
    return agent, await runner.run(job.claimed, agent, job)


def usable_agent(claimed: ClaimedTask) -> AgentRow:
    """Return the task's agent.

    Raises:
        TaskFailure: agent_not_found, agent_inactive, agent_misconfigured (private, and refers to secrets).
    """
    agent = claimed.agent
    if agent is None:
        named = f"The agent {claimed.task.agent_slug!r}" if claimed.task.agent_slug else "The task's agent"
        raise TaskFailure("agent_not_found", f"{named} does not exist, or not in this organization.")
    if agent.status != "active":
        raise TaskFailure(
            "agent_inactive", f"The agent {agent.slug!r} is {agent.status}: activate it and retry the task."
        )
    # Any member makes private agents and says where they send: what admins keep secret would go there.
    if agent.is_private and (names := sorted(names_in([agent.endpoint, agent.llm_config]))):
        raise TaskFailure(
            "agent_misconfigured",
            f"The agent refers to {', '.join(names)[:500]}, but it is private, and only agents of an organization may "
            "use its secrets: a developer adds it to the organization.",
            data={"secrets": names[:100]},
        )
    return agent


def _check_input(claimed: ClaimedTask, agent: AgentRow) -> None:
    """Check params, and the prompt where the schema names it, against `io_schema.input`."""
    schema = schema_of(agent, "input")
    if schema is None:
        return
    params = claimed.task.params if claimed.task.params is not None else {}
    document = dict(params) if isinstance(params, dict) else params
    properties = schema.get("properties")
    if isinstance(document, dict) and isinstance(properties, dict) and "prompt" in properties:
        document["prompt"] = claimed.task.prompt
    problems = check_document(document, schema, field="io_schema.input")
    if problems:
        raise TaskFailure(
            "input_invalid",
            f"The task's params break the agent's io_schema.input: {problems[0]['path']}: {problems[0]['message']}",
            data={"problems": problems},
        )


def complete(claimed: ClaimedTask, agent: AgentRow, result: AgentResult, deliverable: Deliverable | None) -> Completion:
    """Return the result as a task's: with a message where the task has a conversation."""
    response_metadata: dict[str, Any] = {"agent_version": agent.version, **result.response_metadata}
    if result.document is not None:
        response_metadata["output"] = result.document
    messages = []
    if claimed.task.agent_conversation_id is not None:
        messages = [{"content": result.text, "metadata": {"agent_slug": agent.slug, "task_id": claimed.task.id}}]
    return Completion(
        response=result.text,
        response_metadata=response_metadata,
        llm_metadata=result.llm_metadata,
        deliverable=deliverable,
        messages=messages,
        usage=result.usage,
    )
