"""The tools of an orchestrator. Each is carried out by the database, for the person whose message the turn answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from pydantic_ai import CallDeferred, RunContext, Tool

from workers.orchestrator.desk import Desk

_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=63)]
_Slug = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=63)]
_Prompt = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
_Context = RunContext[None]


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of one turn."""

    desk: Desk

    def all(self) -> list[Tool[None]]:
        """Return them for the model."""
        tools = (
            self.list_agents,
            self.create_agent,
            self.command_agent,
            self.check_agent_status,
            self.interrupt_agent,
            self.archive_agent,
            self.delegate_task,
            self.check_tasks,
            self.read_agent_logs,
            self.read_system_logs,
            self.plan_project,
            self.report_cost,
            self.finish_job,
        )
        return [Tool[None](tool, takes_ctx=True, max_retries=2) for tool in tools]

    async def list_agents(self, ctx: _Context) -> Any:
        """List your agents with their status, and the catalogue of agents that you can create some from."""
        return await self._do(ctx, "list_agents")

    async def create_agent(
        self,
        ctx: _Context,
        name: _Name,
        agent_slug: _Slug | None = None,
        system_prompt: str | None = None,
        model: str | None = None,
    ) -> Any:
        """Create an agent that works for you. It remembers what it was told and did.

        Args:
            name: What you call it: letters, digits, spaces, dots, - and _.
            agent_slug: An agent of the catalogue that it is made from; leave it out for one of your own.
            system_prompt: What it is for and how it works; needed without agent_slug.
            model: Another language model of the same provider; usually left out.
        """
        return await self._do(
            ctx, "create_agent", name=name, agent_slug=agent_slug, system_prompt=system_prompt, model=model
        )

    async def command_agent(self, ctx: _Context, name: _Name, prompt: _Prompt, wait: bool = True) -> Any:
        """Tell one of your agents to do something.

        Args:
            name: The agent.
            prompt: What it should do; it knows what you told it before, and nothing else.
            wait: Wait for its answer. False: it works on by itself, and you hear from it when it has ended.
        """
        if wait:
            raise CallDeferred({"agent_slug": name, "agent_instance": name, "prompt": prompt, "params": {}})
        return await self._do(ctx, "command_agent", name=name, prompt=prompt)

    async def check_agent_status(self, ctx: _Context, name: _Name) -> Any:
        """See what one of your agents is doing: its status, last command, costs, and the end of its log.

        Args:
            name: The agent.
        """
        return await self._do(ctx, "check_agent_status", name=name)

    async def interrupt_agent(self, ctx: _Context, name: _Name) -> Any:
        """Stop what one of your agents is doing; it remembers what it did before.

        Args:
            name: The agent.
        """
        return await self._do(ctx, "interrupt_agent", name=name)

    async def archive_agent(self, ctx: _Context, name: _Name) -> Any:
        """End an agent that is not needed any more.

        Args:
            name: The agent.
        """
        return await self._do(ctx, "archive_agent", name=name)

    async def delegate_task(self, ctx: _Context, agent_slug: _Slug, prompt: _Prompt, wait: bool = True) -> Any:
        """Let an agent of the catalogue do a single task; it remembers nothing.

        Args:
            agent_slug: The agent.
            prompt: What it should do; it sees nothing else.
            wait: Wait for its answer. False: look with check_tasks what became of it.
        """
        if wait:
            raise CallDeferred({"agent_slug": agent_slug, "prompt": prompt, "params": {}})
        return await self._do(ctx, "delegate_task", agent_slug=agent_slug, prompt=prompt)

    async def check_tasks(self, ctx: _Context) -> Any:
        """List what you gave others to do, with its status and answer, the newest first."""
        return await self._do(ctx, "check_tasks")

    async def read_agent_logs(
        self,
        ctx: _Context,
        name: _Name,
        after: Annotated[int, Field(ge=0)] = 0,
        task_slug: str | None = None,
    ) -> Any:
        """Read what one of your agents did in its last command, entry by entry, at most 50 at a time.

        Args:
            name: The agent.
            after: Only entries with a higher entry_index.
            task_slug: An earlier command.
        """
        return await self._do(ctx, "read_agent_logs", name=name, after=after, task_slug=task_slug)

    async def read_system_logs(self, ctx: _Context, level: str | None = None) -> Any:
        """Read the last entries of the organization's system log; only for persons who are admins.

        Args:
            level: DEBUG, INFO, WARNING or ERROR.
        """
        return await self._do(ctx, "read_system_logs", level=level)

    async def plan_project(
        self, ctx: _Context, prompt: _Prompt, name: str | None = None, max_steps: int | None = None
    ) -> Any:
        """Have a large job planned as a project of several steps; the person approves the plan before it runs.

        Args:
            prompt: What the project is to reach.
            name: A short name.
            max_steps: How many steps there may be.
        """
        return await self._do(ctx, "plan_project", prompt=prompt, name=name, max_steps=max_steps)

    async def report_cost(self, ctx: _Context) -> Any:
        """Say what you and your agents have used: tokens, and US dollars."""
        return await self._do(ctx, "report_cost")

    async def finish_job(self, ctx: _Context) -> Any:
        """Say that all that the person wants of you is done, before your last answer."""
        return await self._do(ctx, "finish_job")

    async def _do(self, ctx: _Context, used: str, /, **arguments: Any) -> Any:
        given = {key: value for key, value in arguments.items() if value is not None}
        result = await self.desk.tool(str(ctx.tool_call_id), used, given)
        outcome = result["error"]["code"] if isinstance(result, dict) and "error" in result else "ok"
        self.desk.job.event("tool", f"{used} was called", {"tool": used, "outcome": outcome})
        return result
