"""What a LangGraph run says while it runs: its id, the text of its models and what they used, steps, custom events."""

from __future__ import annotations

from typing import Any

from workers.agents.external.wire import quote
from workers.agents.frameworks.langgraph_state import RUN_ID
from workers.agents.frameworks.outcome import Bill, shown
from workers.agents.frameworks.visit import Visit

_MAX_EVENTS = 100
_MAX_SAID = 4000


class Heard:
    """Takes in the events of one run and passes them on."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._message: str | None = None
        self._events = 0
        self.run_id: str | None = None
        self.error: Any = None
        self.bill = Bill()

    async def began(self, run_id: Any, thread_id: str) -> None:
        """Note the run's id, for this attempt and the next."""
        self.run_id = await self._visit.keep(RUN_ID.validate_python(run_id), thread_id)

    async def take(self, part: Any, thread_id: str) -> None:
        """Take in one event of the stream."""
        name, data = str(part.event).partition("|")[0], part.data
        match name:
            case "metadata" if isinstance(data, dict) and "run_id" in data:
                await self.began(data["run_id"], thread_id)
            case "messages" if isinstance(data, list) and len(data) == 2:
                self._said(*data)
            case "updates" if isinstance(data, dict):
                for node in data:
                    if node != "__interrupt__":
                        self._visit.step(f"Step {node} done", {"node": quote(str(node), 200)})
            case "custom":
                self._told(data)
            case "error":
                self.error = data
            case _:
                return

    def _said(self, message: Any, about: Any) -> None:
        if not isinstance(message, dict) or message.get("type") not in {"ai", "AIMessageChunk"}:
            return
        about = about if isinstance(about, dict) else {}
        text, message_id = _text_of(message.get("content")), message.get("id")
        if text:
            begins = self._message is not None and message_id != self._message
            self._message = message_id if isinstance(message_id, str) else ""
            self._visit.stream(f"\n\n{text}" if begins else text)
        used, model = message.get("usage_metadata"), message.get("response_metadata") or {}
        if isinstance(used, dict) and isinstance(model, dict):
            details = used.get("input_token_details")
            cached = details.get("cache_read") if isinstance(details, dict) else 0
            whole = message_id if message["type"] == "ai" and isinstance(message_id, str) else None
            self.bill.add(
                model.get("model_provider") or about.get("ls_provider"),
                model.get("model_name") or about.get("ls_model_name"),
                (used.get("input_tokens"), used.get("output_tokens"), cached),
                key=whole,
            )

    def _told(self, data: Any) -> None:
        self._events += 1
        if self._events > _MAX_EVENTS:
            return
        text = data if isinstance(data, str) else "The graph says"
        told = {"custom": None if isinstance(data, str) else shown(data)}
        self._visit.reporter.event("message", quote(self._visit.redact(text), _MAX_SAID), told)


def text_in(values: Any) -> str | None:
    """Return the text of the last message of a model in a graph's state, if it keeps messages."""
    messages = values.get("messages") if isinstance(values, dict) else None
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("type") == "ai" and (text := _text_of(message.get("content"))):
            return text
    return None


def _text_of(content: Any) -> str:
    """Return the text of a message, which is a text, or blocks some of which are."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    return "".join(text for text in texts if isinstance(text, str))
