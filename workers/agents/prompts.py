"""Renders a task for a language model: the prompt with its params, and the conversation so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart

from workers.agents.documents import readable_json
from workers.contract import Turn


def render_prompt(prompt: str, params: Any) -> str:
    """Return the prompt with the task's params, if there are any, as a JSON block under it."""
    if not params:
        return prompt
    block = readable_json(params)
    return f"{prompt}\n\nParameters of this task:\n```json\n{block}\n```"


def render_history(history: Sequence[Turn]) -> list[ModelMessage]:
    """Return the conversation so far, oldest first, as messages of the model."""
    return [
        ModelRequest(parts=[UserPromptPart(turn.content)])
        if turn.role == "user"
        else ModelResponse(parts=[TextPart(turn.content)])
        for turn in history
    ]
