"""The orchestrator of an organization: its turns, and the commands to its agents."""

from workers.orchestrator.turns import Orchestrators

__all__ = ["Orchestrators"]
