"""Which agent a task may run."""

from __future__ import annotations

from workers.contract import AgentRow, ClaimedTask
from workers.errors import TaskFailure
from workers.secrets import names_in


def usable_agent(claimed: ClaimedTask) -> AgentRow:
    """Return the task's agent.

    Raises:
        TaskFailure: agent_not_found, agent_inactive; agent_misconfigured for a private one that refers to secrets.
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
