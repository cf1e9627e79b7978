"""Interrupts of a LangGraph run: asked one after another, answered all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from workers.agents.frameworks.kept import Kept, read_kept
from workers.agents.frameworks.langgraph_state import Interrupt
from workers.agents.frameworks.outcome import question, response_of, shown
from workers.contract import AgentRow, ClaimedTask
from workers.errors import InputNeeded
from workers.ledger import UsageRow

_MAX_QUESTIONS = 50


class _Kept(Kept):
    """A checkpoint: which interrupts are open, the first of them asked, and what was answered to the others."""

    format: Literal["langgraph/1"] = "langgraph/1"
    thread_id: str
    open: list[Interrupt]
    answers: dict[str, Any] = Field(default_factory=dict)
    before: list[str] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes to the thread, as the message of this id; without a command it just goes on from a breakpoint."""

    message_id: str
    thread_id: str
    command: Any


def reply_of(claimed: ClaimedTask, agent: AgentRow, redact: Callable[[str], str]) -> Reply | None:
    """Return what the answers come to; None when nothing was asked.

    Raises:
        InputNeeded: the graph asked more than one thing, and the next is due.
        TaskFailure: checkpoint_unreadable.
    """
    found = read_kept(claimed, _Kept)
    if found is None:
        return None
    kept, answer = found
    message_id = f"{claimed.task.id}.{answer.id}"
    if not kept.open:
        return Reply(message_id, kept.thread_id, None)
    answers = {**kept.answers, kept.open[0].id: response_of(answer)}
    if kept.open[1:]:
        raise _needed(kept.model_copy(update={"open": kept.open[1:], "answers": answers}), agent, redact, ())
    # One is resumed by its answer alone, which all versions of the server know.
    resume = next(iter(answers.values())) if len(answers) == 1 else answers
    return Reply(message_id, kept.thread_id, {"resume": resume})


def ask(  # noqa: PLR0913 - it is what a pause is made of
    interrupts: Sequence[Interrupt],
    thread_id: str,
    agent: AgentRow,
    redact: Callable[[str], str],
    usage: Sequence[UsageRow],
    *,
    before: Sequence[str] = (),
) -> InputNeeded:
    """Return the pause for a run's interrupts, or for the breakpoint at which it stopped `before` nodes."""
    nodes = [node[:200] for node in before[:20]]
    kept = _Kept(thread_id=thread_id, open=list(interrupts[:_MAX_QUESTIONS]), before=nodes)
    return _needed(kept, agent, redact, usage)


def _needed(kept: _Kept, agent: AgentRow, redact: Callable[[str], str], usage: Sequence[UsageRow]) -> InputNeeded:
    if kept.open:
        asked: Any = kept.open[0].value
        metadata = {"interrupt_id": kept.open[0].id, "value": shown(asked)}
    else:
        asked = f"The graph stopped before {', '.join(kept.before)}. Answer to let it go on."
        metadata = {"before": kept.before}
    request = question(asked, f"{agent.name} needs more input.", redact, metadata={"langgraph": metadata})
    return InputNeeded(request, checkpoint=kept.model_dump(mode="json"), usage=usage)
