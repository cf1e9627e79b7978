"""External agents: those of a framework by its adapter, the others as A2A servers."""

from __future__ import annotations

from typing import cast, get_args

from workers.agents.endpoint import misconfigured
from workers.agents.frameworks import Frameworks, Order
from workers.agents.frameworks.settings import Framework
from workers.agents.result import AgentResult, AgentRunner, Reporter
from workers.contract import AgentRow, ClaimedTask


class FrameworkAgents:
    """Runs agents of type `external`; `others` those without a framework, and those whose protocol is a2a."""

    def __init__(self, frameworks: Frameworks, others: AgentRunner) -> None:
        self._frameworks = frameworks
        self._others = others

    async def run(self, claimed: ClaimedTask, agent: AgentRow, reporter: Reporter, /) -> AgentResult:
        """Run one attempt; the task's params are data for the framework's own inputs.

        Raises:
            InputNeeded: the run waits for a person.
            TaskFailure: the attempt failed.
        """
        raw = agent.endpoint
        if agent.framework is None or (isinstance(raw, dict) and raw.get("protocol") == "a2a"):
            return await self._others.run(claimed, agent, reporter)
        if agent.framework not in get_args(Framework):
            raise misconfigured("framework", f"is {agent.framework!r}, which this worker does not know")
        params = claimed.task.params
        data = params if isinstance(params, dict) else {} if params is None else {"params": params}
        order = Order(claimed.task.prompt, data, claimed.history)
        framework = cast(Framework, agent.framework)
        return await self._frameworks.run(claimed, agent, order, reporter, framework=framework, endpoint=raw)
