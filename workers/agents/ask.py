"""The tool `ask_person`: how a language model asks a person, and what it is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_ai import CallDeferred

from workers.agents.llm_config import AskPerson
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


class Asked(BaseModel):
    """One call of the tool, as a checkpoint keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tool_call_id: str
    question: str
    choices: list[str] | None = None

    def request(self, tool: AskPerson) -> InputRequest:
        """Return the question to the person."""
        return InputRequest(
            prompt=self.question,
            request_type="choice" if self.choices else "input",
            schema={"type": "string", "enum": self.choices} if self.choices else {"type": "string", "minLength": 1},
            required_role=tool.required_role,
            expires_in_seconds=tool.expires_in_seconds,
            on_expiry=tool.on_expiry,
        )
