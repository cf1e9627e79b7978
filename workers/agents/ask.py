"""The tool `ask_person`: how a language model asks a person, what is kept while it waits, and how it goes on.

The library's deferred tools end a run whose model called the tool. The messages so far become the checkpoint; with
them and the person's answer as the tool's result the run goes on, and no request to the model is made again. Of
several questions asked at once each pauses the task by itself, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_ai import CallDeferred, DeferredToolRequests, DeferredToolResults
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter

from workers.agents.llm_config import AskPerson
from workers.contract import ClaimedTask
from workers.errors import InputNeeded, TaskFailure
from workers.ledger import UsageRow
from workers.questions import InputRequest

ASK_PERSON = "ask_person"
NO_ANSWER = "Nobody answered in time. Go on without the answer, and say what you assume instead."

_Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
_Choice = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
_Choices = Annotated[list[_Choice], Field(min_length=2, max_length=20)]


async def ask_person(question: _Question, choices: _Choices | None = None) -> str:
    """Ask the person you work for one question and wait for the answer.

    Use it only when the answer changes what you write and cannot be found in what you were given.

    Args:
        question: The question, complete in itself.
        choices: The answers to choose from; leave it out for an answer in free text.
    """
    raise CallDeferred({"question": question, "choices": choices}, kind="question")


class _Asked(BaseModel):
    """One call of the tool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tool_call_id: str
    question: str
    choices: list[str] | None = None


class _Checkpoint(BaseModel):
    """What is kept while a person thinks: the messages, the questions in their order, the answers so far by call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["context/1"] = "context/1"
    messages: list[dict[str, Any]]
    questions: list[_Asked]
    answers: dict[str, Any] = {}

    @property
    def open(self) -> list[_Asked]:
        """The questions that are not answered yet."""
        return [asked for asked in self.questions if asked.tool_call_id not in self.answers]


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that goes on: its messages so far, and the people's answers as the results of the tool."""

    messages: list[ModelMessage]
    results: DeferredToolResults


def pause(
    requests: DeferredToolRequests, messages: Sequence[ModelMessage], tool: AskPerson, usage: Sequence[UsageRow]
) -> InputNeeded:
    """Return how a run ends whose model asked."""
    calls = [call.tool_call_id for call in requests.calls]
    kept = _Checkpoint(
        messages=ModelMessagesTypeAdapter.dump_python(list(messages), mode="json"),
        questions=[_Asked.model_validate({"tool_call_id": call, **requests.metadata[call]}) for call in calls],
    )
    return _ask(kept, tool, usage)


def resume(claimed: ClaimedTask, tool: AskPerson | None) -> Resumed | None:
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
    if claimed.answer is None or not kept.open:
        raise _unreadable("waits for no question that was closed")
    told = claimed.answer.response if claimed.answer.status == "answered" else NO_ANSWER
    kept = kept.model_copy(update={"answers": {**kept.answers, kept.open[0].tool_call_id: told}})
    if kept.open:
        raise _ask(kept, tool or AskPerson(), ())
    return Resumed(messages, DeferredToolResults(calls=kept.answers))


def _ask(kept: _Checkpoint, tool: AskPerson, usage: Sequence[UsageRow]) -> InputNeeded:
    asked = kept.open[0]
    request = InputRequest(
        prompt=asked.question,
        request_type="choice" if asked.choices else "input",
        schema={"type": "string", "enum": asked.choices} if asked.choices else {"type": "string", "minLength": 1},
        required_role=tool.required_role,
        expires_in_seconds=tool.expires_in_seconds,
        on_expiry=tool.on_expiry,
    )
    return InputNeeded(request, checkpoint=kept.model_dump(mode="json"), usage=usage)


def _unreadable(problem: str) -> TaskFailure:
    # Another worker may be of the version that wrote it.
    return TaskFailure("checkpoint_unreadable", f"The task's checkpoint {problem}.", retryable=True)
