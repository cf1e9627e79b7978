"""The methods of tasks: `process` makes a deliverable, `converse` only answers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workers.agents.documents import schema_of
from workers.agents.result import AgentResult, AgentRunner
from workers.agents.usable import usable_agent
from workers.contract import AgentRow, ClaimedTask, Completion, Deliverable
from workers.deliverable import build_deliverable
from workers.errors import TaskFailure
from workers.job import Handler, Job
from workers.schema_check import check_document


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
