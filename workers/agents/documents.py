"""Structured answers: which property of a document people read, and whether the agent's schema allows it."""

from __future__ import annotations

import json
from typing import Any

from workers.contract import AgentRow
from workers.errors import TaskFailure
from workers.schema_check import check_document

# The property that holds the text, in the order in which they are looked for.
TEXT_PROPERTIES = ("content", "result")
_MAX_INDENTED_CHARS = 20_000


def schema_of(agent: AgentRow, side: str) -> dict[str, Any] | None:
    """Return the agent's `io_schema.input` or `io_schema.output`; None when it sets no schema.

    Raises:
        TaskFailure: agent_misconfigured, when it is there but not an object.
    """
    io_schema = agent.io_schema if agent.io_schema is not None else {}
    schema = io_schema.get(side) if isinstance(io_schema, dict) else io_schema
    if schema is not None and not isinstance(schema, dict):
        field = f"io_schema.{side}" if isinstance(io_schema, dict) else "io_schema"
        raise TaskFailure("agent_misconfigured", f"The agent's {field} must be a JSON object.", data={"field": field})
    return schema or None


def is_object_schema(schema: dict[str, Any]) -> bool:
    """Whether the schema asks for an object."""
    return schema.get("type") == "object" or ("type" not in schema and "properties" in schema)


def plain_text_property(schema: dict[str, Any]) -> str | None:
    """Return the text property's name if the schema asks for nothing but it; plain text then does as well."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or len(properties) != 1:
        return None
    ((name, inner),) = properties.items()
    if name in TEXT_PROPERTIES and isinstance(inner, dict) and inner.get("type") == "string":
        return str(name)
    return None


def text_property(document: Any) -> str | None:
    """Return the name of the property of `document` that holds its text, if it has one."""
    if not isinstance(document, dict):
        return None
    return next((name for name in TEXT_PROPERTIES if isinstance(document.get(name), str)), None)


def text_of(document: Any) -> str:
    """Return what people read of a document: its text property, else all of it as JSON."""
    name = text_property(document)
    if name is not None:
        return str(document[name])
    return readable_json(document)


def readable_json(value: Any) -> str:
    """Return JSON for people: indented, unless it is long, since what is deep would be hundreds of times as long."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _MAX_INDENTED_CHARS:
        return text
    try:
        return json.dumps(value, ensure_ascii=False, indent=2)
    except RecursionError:
        return text


def title_of(document: Any) -> str | None:
    """Return the document's own title, if it has one."""
    title = document.get("title") if isinstance(document, dict) else None
    return title.strip() or None if isinstance(title, str) else None


def check_output(document: Any, schema: dict[str, Any], *, retryable: bool) -> None:
    """Check an answer against `io_schema.output`.

    Raises:
        TaskFailure: output_invalid with the list of problems in `error_data.problems`.
    """
    problems = problems_of(document, schema)
    if problems:
        raise output_invalid(problems, retryable=retryable)


def fit_output(text: str, document: Any, schema: dict[str, Any]) -> Any:
    """Check an answer against `io_schema.output`; return it as it fits: the document, JSON in the text, or the text.

    Raises:
        TaskFailure: output_invalid.
    """
    if document is None and is_object_schema(schema):
        name = plain_text_property(schema)
        document = {name: text} if name is not None else _parsed(text)
    check_output(text if document is None else document, schema, retryable=False)
    return document


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def problems_of(document: Any, schema: dict[str, Any]) -> list[dict[str, str]]:
    """Return where an answer breaks `io_schema.output`, as `{path, message}`."""
    return check_document(document, schema, field="io_schema.output")


def output_invalid(problems: list[dict[str, str]], *, retryable: bool) -> TaskFailure:
    """Return the failure for an answer with these problems."""
    return TaskFailure(
        "output_invalid",
        f"The agent's answer breaks its io_schema.output: {problems[0]['path']}: {problems[0]['message']}",
        retryable=retryable,
        data={"problems": problems},
    )
