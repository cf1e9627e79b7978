"""External agents, which are reached by the A2A protocol: not yet."""

from __future__ import annotations

from workers.agents.result import AgentResult, Reporter
from workers.contract import AgentRow, ClaimedTask
from workers.errors import TaskFailure


class ExternalAgents:
    """Refuses agents of type `external` with a clear message."""

    async def run(self, _claimed: ClaimedTask, agent: AgentRow, _reporter: Reporter, /) -> AgentResult:
        """Fail the attempt.

        Raises:
            TaskFailure: agent_type_unsupported, always.
        """
        raise TaskFailure(
            "agent_type_unsupported",
            f"The agent {agent.slug!r} is external; this version does not speak the A2A protocol yet.",
        )
