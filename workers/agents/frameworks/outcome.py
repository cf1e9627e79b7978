"""What a framework's answer means for ours: results, questions to people, and what the models cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_ai.usage import RunUsage

from workers.agents.documents import fit_output, readable_json, schema_of, text_of, title_of
from workers.agents.external.wire import quote
from workers.agents.frameworks.visit import Visit
from workers.agents.frameworks.wire import invalid
from workers.agents.result import MAX_RESPONSE_CHARS, AgentResult
from workers.agents.usage import price_usage
from workers.errors import TaskFailure
from workers.ledger import UsageRow
from workers.questions import Answer, InputRequest, RequestType

_MAX_PROMPT = 20_000
_MAX_SHOWN_CHARS = 16_000
_ASKS = ("question", "prompt", "message", "description", "text")
# Whatever a framework asks, a person answers in words; a program may answer with what it asks for.
ANY_ANSWER: Mapping[str, Any] = {"type": ["string", "number", "boolean", "object", "array"]}
APPROVAL: Mapping[str, Any] = {
    "type": "object",
    "required": ["approved"],
    "properties": {"approved": {"type": "boolean"}, "note": {"type": "string"}},
}
NO_ANSWER = "Nobody answered in time. Go on without the answer, and say what you assume instead."


def build_result(
    visit: Visit, text: str | None, document: Any, told: Mapping[str, Any], usage: tuple[UsageRow, ...] = ()
) -> AgentResult:
    """Return the result; without a text of its own it is what people read of the document.

    Raises:
        TaskFailure: endpoint_response_invalid, output_invalid, response_too_large, agent_misconfigured.
    """
    shown = text if text is not None else text_of(document)
    if not shown.strip():
        raise invalid(visit.what, "answered with nothing")
    if len(shown) > MAX_RESPONSE_CHARS:
        raise TaskFailure("response_too_large", f"The answer is longer than {MAX_RESPONSE_CHARS} characters.")
    schema = schema_of(visit.agent, "output")
    if schema is not None:
        document = fit_output(shown, document, schema)
    return AgentResult(shown, document, title_of(document), response_metadata=told, usage=usage)


def question(
    asked: Any,
    fallback: str,
    redact: Callable[[str], str],
    *,
    metadata: Mapping[str, Any],
    schema: Mapping[str, Any] = ANY_ANSWER,
) -> InputRequest:
    """Return a framework's question as ours: its text where it is known to stand, else all of it as JSON."""
    if isinstance(asked, dict):
        asked = next((asked[key] for key in _ASKS if isinstance(asked.get(key), str) and asked[key].strip()), asked)
    text = asked if isinstance(asked, str) else "" if asked in (None, {}, []) else readable_json(asked)
    prompt = quote(redact(text), _MAX_PROMPT) or fallback
    kind: RequestType = "approval" if schema is APPROVAL else "input"
    return InputRequest(prompt=prompt, request_type=kind, schema=schema, metadata=metadata)


def shown(value: Any) -> Any:
    """Return a value fit for metadata; None when it is too large to be kept there."""
    try:
        return value if len(json.dumps(value)) <= _MAX_SHOWN_CHARS else None
    except (ValueError, RecursionError):
        return None


def response_of(answer: Answer) -> Any:
    """Return what a person said, or that nobody did."""
    return answer.response if answer.status == "answered" else NO_ANSWER


class Bill:
    """Adds up what a framework says of its models' tokens, one row for each model."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._costs: dict[tuple[str, str], float] = {}
        self._seen: set[str] = set()

    def add(
        self, provider: Any, model: Any, counts: tuple[Any, Any, Any], *, cost: Any = None, key: str | None = None
    ) -> None:
        """Count one call: (input, output, cached) tokens; one with a `key` that was counted before changes nothing."""
        numbers = [max(0, count) if isinstance(count, int) and not isinstance(count, bool) else 0 for count in counts]
        if not any(numbers) or (key is not None and key in self._seen) or len(self._counts) >= 100:
            return
        if key is not None:
            self._seen.add(key)
        name = (_short(provider, 100).lower() or "unknown", _short(model, 255) or "unknown")
        sums = self._counts.setdefault(name, [0, 0, 0])
        for place, number in enumerate(numbers):
            sums[place] = min(sums[place] + number, 2_000_000_000)
        if isinstance(cost, int | float) and not isinstance(cost, bool) and 0 < cost < 1_000_000:
            self._costs[name] = self._costs.get(name, 0.0) + float(cost)

    @property
    def rows(self) -> tuple[UsageRow, ...]:
        """The rows of the ledger, with the framework's own cost where it names one, else that of the price list."""
        return tuple(self._row(name, sums) for name, sums in self._counts.items())

    def _row(self, name: tuple[str, str], sums: list[int]) -> UsageRow:
        provider, model = name
        given, made, cached = sums
        if name in self._costs:
            return UsageRow(provider, model, given, made, min(cached, given), self._costs[name])
        used = RunUsage(input_tokens=given, output_tokens=made, cache_read_tokens=min(cached, given))
        return price_usage(provider, model, used)[0]


def _short(value: Any, limit: int) -> str:
    return quote(value, limit) if isinstance(value, str) else ""
