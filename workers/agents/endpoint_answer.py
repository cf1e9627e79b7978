"""What an api agent's endpoint answered, as a result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from workers.agents.documents import (
    check_output,
    is_object_schema,
    plain_text_property,
    readable_json,
    schema_of,
    title_of,
)
from workers.agents.result import AgentResult
from workers.contract import AgentRow, Format
from workers.errors import TaskFailure

_TEXT_KEYS = ("content", "result", "summary", "message", "output")
_TEXT_FORMATS: Mapping[str, Format] = {"text/html": "html", "text/markdown": "markdown", "text/plain": "text"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came: a JSON document, or with `is_text` a text and perhaps its format."""

    document: Any
    is_text: bool
    metadata: Mapping[str, Any]
    text_format: Format | None = None

    def replaced(self, value: Any) -> Answer:
        """Return the answer with what response_transform made of it."""
        return Answer(value, isinstance(value, str), self.metadata)


def read_answer(response: httpx.Response, body: bytes) -> Answer:
    """Read the body by its content type: text as it is, everything else as JSON.

    Raises:
        TaskFailure: endpoint_response_invalid.
    """
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    metadata = {"endpoint": {"status": response.status_code, "content_type": content_type or None}}
    if content_type.startswith("text/"):
        return Answer(_decode(response, body), True, metadata, _TEXT_FORMATS.get(content_type, "text"))
    return Answer(_parse_json(body), False, metadata)


def reported_answer(result: Any) -> Answer:
    """Return what the endpoint reported later as its answer."""
    return Answer(result, isinstance(result, str), {"endpoint": {"reported": True}})


def build_result(agent: AgentRow, answer: Answer) -> AgentResult:
    """Find the text, title and format in an answer, and check it against io_schema.output.

    Raises:
        TaskFailure: endpoint_response_invalid, output_invalid.
    """
    schema = schema_of(agent, "output")
    document = answer.document
    if answer.is_text:
        if schema is not None and is_object_schema(schema):
            name = plain_text_property(schema)
            check_output({name: document} if name is not None else document, schema, retryable=False)
        return AgentResult(text=_not_empty(document), format=answer.text_format, response_metadata=answer.metadata)
    inner = document.get("data") if isinstance(document, dict) else None
    if schema is not None:
        _check_document(document, inner, schema)
    text, text_format = _text_in(document, inner)
    return AgentResult(
        text=_not_empty(text),
        document=document,
        title=title_of(document) or title_of(inner),
        format=text_format,
        response_metadata=answer.metadata,
    )


def _check_document(document: Any, inner: Any, schema: dict[str, Any]) -> None:
    """Check the answer against the schema; an answer wrapped in `data` may satisfy it inside."""
    try:
        check_output(document, schema, retryable=False)
    except TaskFailure:
        if not isinstance(inner, dict):
            raise
        check_output(inner, schema, retryable=False)


def _text_in(document: Any, inner: Any) -> tuple[str, Format | None]:
    for place in (document, inner):
        for key in _TEXT_KEYS if isinstance(place, dict) else ():
            if isinstance(place.get(key), str) and place[key].strip():
                return place[key], None
    if isinstance(document, str):
        return document, None
    return readable_json(document), "json"


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise TaskFailure(
            "endpoint_response_invalid", "The endpoint's answer is neither JSON nor declared as text."
        ) from None


def _decode(response: httpx.Response, body: bytes) -> str:
    try:
        return body.decode(response.charset_encoding or "utf-8", errors="replace")
    except (LookupError, UnicodeError):
        return body.decode("utf-8", errors="replace")


def _not_empty(text: str) -> str:
    if not text.strip():
        raise TaskFailure("endpoint_response_invalid", "The endpoint answered with nothing.")
    return text
