"""Follows a model's stream: passes the text on as it is written, and says how far the answer is."""

from __future__ import annotations

import json
import math
import time

import pydantic_core
from pydantic_ai.messages import (
    ModelResponsePart,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)

from workers.agents.documents import TEXT_PROPERTIES
from workers.agents.result import MAX_RESPONSE_CHARS, Reporter
from workers.errors import TaskFailure

# The tool by which a model gives a structured answer.
ANSWER_TOOL = "answer"
MODEL_CALLED, ALMOST_DONE = 50.0, 95.0
# The length of an answer at which the bar has covered 63 % of the way from "called" to "almost done".
_TYPICAL_CHARS = 2500.0
_MIN_SECONDS_BETWEEN_PARSES = 0.2


class LiveAnswer:
    """Tells the reporter what the model writes while it writes it."""

    def __init__(self, reporter: Reporter, structured: bool) -> None:
        self._reporter = reporter
        self._structured = structured
        self._answers: set[int] = set()  # Which parts of the response are the answer.
        self._chars = 0
        self._json: list[str] = []
        self._shown = ""
        self._gap = ""
        self._parsed_at = 0.0

    def begin(self) -> None:
        """Begin another response of the same run."""
        self._answers.clear()
        self._json.clear()
        self._gap = "\n\n" if self._shown else ""

    def hear(self, event: object) -> None:
        """Take in one event of the stream.

        Raises:
            TaskFailure: response_too_large.
        """
        if not isinstance(event, PartStartEvent | PartDeltaEvent):
            return
        if isinstance(event, PartStartEvent) and self._is_answer(event.part):
            self._answers.add(event.index)
        text = _text_of_event(event)
        if not text:
            return
        self._chars += len(text)
        if self._chars > MAX_RESPONSE_CHARS:
            raise TaskFailure("response_too_large", f"The answer is longer than {MAX_RESPONSE_CHARS} characters.")
        if event.index in self._answers:
            self._show(text)
        share = 1 - math.exp(-self._chars / _TYPICAL_CHARS)
        self._reporter.progress(math.floor(MODEL_CALLED + (ALMOST_DONE - MODEL_CALLED) * share), "Writing")

    def _is_answer(self, part: ModelResponsePart) -> bool:
        if self._structured:
            return isinstance(part, ToolCallPart) and part.tool_name == ANSWER_TOOL
        return isinstance(part, TextPart)

    def _show(self, text: str) -> None:
        if not self._structured:
            self._reporter.partial(self._gap + text)
            self._gap, self._shown = "", self._shown or text
            return
        self._json.append(text)
        if time.monotonic() - self._parsed_at >= _MIN_SECONDS_BETWEEN_PARSES:
            self.flush()

    def flush(self) -> None:
        """Show what a structured answer's text property has grown by."""
        if not self._json:
            return
        self._parsed_at = time.monotonic()
        self._json = ["".join(self._json)]
        try:
            document = pydantic_core.from_json(self._json[0], allow_partial="trailing-strings")
        except ValueError:
            return
        if not isinstance(document, dict):
            return
        text = next((document[name] for name in TEXT_PROPERTIES if isinstance(document.get(name), str)), "")
        if text.startswith(self._shown) and text != self._shown:
            self._reporter.partial(text[len(self._shown) :])
            self._shown = text


def _text_of_event(event: PartStartEvent | PartDeltaEvent) -> str:
    match event:
        case PartStartEvent(part=TextPart(content=text)):
            return text
        case PartStartEvent(part=ToolCallPart(args=str() as text)):
            return text
        case PartStartEvent(part=ToolCallPart(args=dict() as arguments)):
            return json.dumps(arguments, ensure_ascii=False)
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return text
        case PartDeltaEvent(delta=ToolCallPartDelta(args_delta=str() as text)):
            return text
        case _:
            return ""
