"""The methods `orchestrate` and `command_agent`: a turn of the orchestrator, and a command to one of its agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workers.agents.call_agents import result_of
from workers.agents.context import ContextAgents
from workers.agents.extras import Extras
from workers.agents.prompts import render_history
from workers.agents.result import AgentResult, AgentRunner
from workers.agents.usable import usable_agent
from workers.backend import Backend
from workers.contract import AgentRow, Completion
from workers.errors import PauseNeeded, TaskFailure
from workers.handlers import complete
from workers.job import Job
from workers.orchestrator.desk import Begun, Desk, Instance
from workers.orchestrator.logbook import LogBook
from workers.orchestrator.sample_turn import sample_turn
from workers.orchestrator.tools import Tools

GUIDE = """\
You are an orchestrator. A person talks to you; you let agents do the work and say what came of it.
- list_agents shows your agents and the catalogue. Use an agent that fits before you create another: it remembers.
- Wait for a command when you need its answer to go on. Several calls in one answer run side by side.
- Without waiting, tell the person that it has begun; a message will come when it has ended.
- What begins with [agent NAME], or says that a command has ended, is from one of your agents, not the person.
- When a tool answers with an error, mend what its hint says or tell the person; do not repeat the same call.
- Answer the person shortly and plainly, with what the agents found, not with how you did it."""


class Orchestrators:
    """The handlers of both methods."""

    def __init__(self, context: ContextAgents, others: Mapping[str, AgentRunner], database: Backend) -> None:
        self._context = context
        self._others = others
        self._database = database

    async def orchestrate(self, job: Job) -> Completion:
        """Let the orchestrator answer a message; what an attempt did that was lost is not done again.

        Raises:
            PauseNeeded: it waits for its agents, or asks the person.
            TaskFailure: those of context agents, and agent_inactive for an archived one.
        """
        agent = usable_agent(job.claimed)
        desk = Desk(job, self._database)
        begun = await desk.begin()
        _require(not begun.orchestrator.archived, agent, "The orchestrator is archived.")
        if agent.agent_type != "context":
            raise TaskFailure("agent_type_unsupported", "Only context agents orchestrate.")
        context = "\n\n".join(part for part in (GUIDE, agent.context, begun.orchestrator.system_prompt) if part)
        acting = replace(agent, context=context, io_schema={}, llm_config=_limited(agent.llm_config, begun))
        book = LogBook(desk)
        extras = Extras(
            listener=book,
            tools=Tools(desk).all(),
            history=render_history(begun.history),
            reached=begun.reached(),
            offline_steps=sample_turn(job.claimed.task.prompt),
        )
        result = await self._logged(job, acting, book, extras)
        return complete(job.claimed, agent, result, None)

    async def command(self, job: Job) -> Completion:
        """Let an agent of the orchestrator do what it is told; its session goes on.

        Raises:
            PauseNeeded: it asks a person, or calls other agents.
            TaskFailure: those of its type of agents, and agent_inactive for an archived one.
        """
        agent = usable_agent(job.claimed)
        desk = Desk(job, self._database)
        begun = await desk.begin()
        if begun.instance is None:
            raise TaskFailure("internal_error", "The command names no agent.")
        _require(not begun.instance.archived, agent, f"The agent {begun.instance.name!r} is archived.")
        acting = _acting(agent, begun.instance)
        book = LogBook(desk, job.claimed.task.prompt)
        extras = Extras(listener=book, history=begun.session_messages(), reached=_with_session(begun))
        result = await self._logged(job, acting, book, extras)
        return complete(job.claimed, agent, result, None)

    async def _logged(self, job: Job, agent: AgentRow, book: LogBook, extras: Extras) -> AgentResult:
        if job.claimed.checkpoint is None:
            book.hook("UserPromptSubmit", job.claimed.task.prompt, {"attempt": job.claimed.attempt})
        for call in job.claimed.agent_calls if job.claimed.checkpoint is not None else ():
            book.hook("SubagentStop", call.agent_slug, {"task_id": call.task_id, "status": call.status})
            book.tool_result(call.agent_slug, call.call_id, result_of(call))
        stop: dict[str, Any] = {"outcome": "completed"}
        try:
            return await self._run(job, agent, book, extras)
        except PauseNeeded:
            stop = {"outcome": "waiting"}
            raise
        except TaskFailure as failure:
            stop = {"outcome": "failed", "error_code": failure.code}
            raise
        finally:
            book.hook("Stop", stop["outcome"], stop)
            await book.flush()

    async def _run(self, job: Job, agent: AgentRow, book: LogBook, extras: Extras) -> AgentResult:
        claimed = replace(job.claimed, agent=agent)
        job.progress(10, "Session read")
        if agent.agent_type == "context":
            return await self._context.run(claimed, agent, job, extras=extras)
        runner = self._others.get(agent.agent_type)
        if runner is None:
            raise TaskFailure("agent_type_unsupported", f"This worker cannot run agents of type {agent.agent_type!r}.")
        result = await runner.run(claimed, agent, job)
        book.response("text", result.text)
        return result


def _require(condition: bool, agent: AgentRow, problem: str) -> None:
    if not condition:
        raise TaskFailure("agent_inactive", f"{problem} It does nothing any more; {agent.name} runs on without it.")


def _limited(llm_config: Any, begun: Begun) -> Any:
    """Return the config within the orchestrator's limits, which only lower those of its agent."""
    if not isinstance(llm_config, dict):
        return llm_config
    limits = dict(llm_config.get("limits") or {})
    for name, most in (
        ("max_tool_calls", begun.orchestrator.max_tool_calls),
        ("max_cost", begun.orchestrator.max_cost),
    ):
        if most is not None:
            own = limits.get(name)
            limits[name] = min(own, most) if isinstance(own, int | float) else most
    return {**llm_config, "limits": limits}


def _acting(agent: AgentRow, instance: Instance) -> AgentRow:
    """Return the agent as this instance of it acts: its model and prompt; on the orchestrator's agent without tools."""
    config = agent.llm_config
    if isinstance(config, dict):
        config = {**config, "model": instance.model}
    if instance.agent_slug is not None:
        parts = (agent.context, instance.system_prompt)
        return replace(agent, llm_config=config, context="\n\n".join(part for part in parts if part))
    if isinstance(config, dict):
        config = {**config, "tools": {}}  # It is the orchestrator that asks people.
    context = instance.system_prompt or f"You are {instance.name}, an agent that does what its orchestrator asks for."
    return replace(agent, name=instance.name, context=context, io_schema={}, llm_config=config)


def _with_session(begun: Begun) -> Any:
    """Return where a lost attempt got to, after the session that its transcript leaves out."""
    reached = begun.reached()
    return None if reached is None else replace(reached, messages=[*begun.session_messages(), *reached.messages])
