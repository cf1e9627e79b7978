"""What is kept while a run waits for people or other agents, and how it goes on.

The library's deferred tools end a run whose model called them. The messages so far become the checkpoint; with them
and the answers as the tools' results the run goes on, and no request to the model is made again. Agents that were
called at once answer at once; of several questions each pauses the task by itself, after the agents, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_ai import DeferredToolRequests, DeferredToolResults
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter
from pydantic_ai.usage import RunUsage

from workers.agents.ask import NO_ANSWER, Asked
from workers.agents.asked import record_answer
from workers.agents.call_agents import Called, result_of, tell
from workers.agents.limits import Meter, usage_of
from workers.agents.llm_config import AskPerson
from workers.agents.result import Reporter
from workers.agents.steps import record_returned
from workers.contract import ClaimedTask
from workers.errors import AgentsNeeded, InputNeeded, PauseNeeded, TaskFailure
from workers.ledger import UsageRow

_MAX_CALLS = 20


class _Checkpoint(BaseModel):
    """The messages, the questions and calls in their order, the answers so far by call, and the usage so far."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["context/1"] = "context/1"
    messages: list[dict[str, Any]]
    questions: list[Asked] = []
    calls: list[Called] = []
    answers: dict[str, Any] = {}
    used: dict[str, int] = {}

    @property
    def open_calls(self) -> list[Called]:
        """The agents that have not answered yet."""
        return [called for called in self.calls if called.tool_call_id not in self.answers]

    @property
    def open_questions(self) -> list[Asked]:
        """The questions that are not answered yet."""
        return [asked for asked in self.questions if asked.tool_call_id not in self.answers]


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that goes on: its messages so far, the answers as the results of its tools, what it had used.

    `used` is in the ledger already; `total`, where it is given, is what the run has used in all.
    """

    messages: list[ModelMessage]
    results: DeferredToolResults | None
    used: RunUsage
    total: RunUsage | None = None


def pause(
    requests: DeferredToolRequests,
    messages: Sequence[ModelMessage],
    tool: AskPerson,
    meter: Meter,
    usage: list[UsageRow],
) -> PauseNeeded:
    """Return how a run ends whose model asked people or called agents.

    Raises:
        TaskFailure: output_invalid, for more calls at once than there may be.
    """
    waits = {
        call.tool_call_id: {"tool_call_id": call.tool_call_id, **requests.metadata[call.tool_call_id]}
        for call in requests.calls
    }
    calls = [Called.model_validate(waiting) for waiting in waits.values() if "agent_slug" in waiting]
    if len(calls) > _MAX_CALLS:
        raise TaskFailure(
            "output_invalid", f"The model called {len(calls)} agents at once: at most {_MAX_CALLS}.", retryable=True
        )
    kept = _Checkpoint(
        messages=ModelMessagesTypeAdapter.dump_python(list(messages), mode="json"),
        questions=[Asked.model_validate(waiting) for waiting in waits.values() if "question" in waiting],
        calls=calls,
        used=meter.kept(),
    )
    return _wait(kept, tool, usage)


def resume(claimed: ClaimedTask, tool: AskPerson | None, reporter: Reporter) -> Resumed | None:
    """Return where the attempt goes on; None when it begins. An agent that may no longer ask hears the answer still.

    Raises:
        InputNeeded: the model asked more than one thing, and the next is due.
        TaskFailure: checkpoint_unreadable.
    """
    if claimed.checkpoint is None:
        return None
    try:
        kept = _Checkpoint.model_validate(claimed.checkpoint)
        messages = ModelMessagesTypeAdapter.validate_python(kept.messages)
    except ValidationError:
        raise _unreadable("holds what this version of the worker cannot read") from None
    kept = kept.model_copy(update={"answers": {**kept.answers, **_answers(kept, claimed, reporter)}})
    if kept.open_questions:
        raise _wait(kept, tool or AskPerson(), ())
    return Resumed(messages, DeferredToolResults(calls=kept.answers), usage_of(kept.used))


def _answers(kept: _Checkpoint, claimed: ClaimedTask, reporter: Reporter) -> dict[str, Any]:
    """Return what came of what the pause waited for; calls of agents are told to the reporter."""
    if kept.open_calls:
        returned = {call.call_id: call for call in claimed.agent_calls}
        if any(called.tool_call_id not in returned for called in kept.open_calls):
            raise _unreadable("waits for agents that were not called")
        for called in kept.open_calls:
            tell(reporter, returned[called.tool_call_id])
            record_returned(returned[called.tool_call_id])
        return {called.tool_call_id: result_of(returned[called.tool_call_id]) for called in kept.open_calls}
    if claimed.answer is None or not kept.open_questions:
        raise _unreadable("waits for no question that was closed")
    answered = claimed.answer.status == "answered"
    asked = kept.open_questions[0]
    record_answer(asked.tool_call_id, asked.question, claimed.answer)
    return {asked.tool_call_id: claimed.answer.response if answered else NO_ANSWER}


def _wait(kept: _Checkpoint, tool: AskPerson, usage: Sequence[UsageRow]) -> PauseNeeded:
    checkpoint = kept.model_dump(mode="json")
    if kept.open_calls:
        calls = [called.request() for called in kept.open_calls]
        return AgentsNeeded(calls, checkpoint=checkpoint, usage=usage)
    return InputNeeded(kept.open_questions[0].request(tool), checkpoint=checkpoint, usage=usage)


def _unreadable(problem: str) -> TaskFailure:
    # Another worker may be of the version that wrote it.
    return TaskFailure("checkpoint_unreadable", f"The task's checkpoint {problem}.", retryable=True)
