"""What every type of agent gives back, and what it may use meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from workers.contract import AgentRow, ClaimedTask, EventType, Format
from workers.ledger import UsageRow

MAX_RESPONSE_CHARS = 10_000_000


class Reporter(Protocol):
    """How an agent says how it goes."""

    def progress(self, percent: float, message: str | None = None) -> None:
        """Say how far the attempt is, 0 to 100."""

    def partial(self, text: str) -> None:
        """Stream the next piece of the response."""

    def event(self, event_type: EventType, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Leave an entry in the task's trail."""


@dataclass(frozen=True, slots=True)
class AgentResult:
    """An agent's answer.

    `text` is what people read, `document` the whole structured answer if there was one, `title` and `format` what
    the agent said about it, if it did. `file_attachments` become those of the deliverable.
    """

    text: str
    document: Any = None
    title: str | None = None
    format: Format | None = None
    llm_metadata: Mapping[str, Any] = field(default_factory=dict)
    response_metadata: Mapping[str, Any] = field(default_factory=dict)
    usage: Sequence[UsageRow] = ()
    file_attachments: Sequence[Mapping[str, Any]] = ()


class AgentRunner(Protocol):
    """Runs agents of one type."""

    async def run(self, claimed: ClaimedTask, agent: AgentRow, reporter: Reporter, /) -> AgentResult:
        """Run one attempt.

        Raises:
            PauseNeeded: the agent asks a person, or calls other agents.
            TaskFailure: the attempt failed.
        """
