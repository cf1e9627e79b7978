"""Makes a JSON value that a schema asks for, filled from a draft; used by the offline model only."""

from __future__ import annotations

from typing import Any

from workers.agents.draft import Draft

_MAX_DEPTH = 12
_MAX_ITEMS = 20
_LONG = frozenset({"content", "result", "body", "text", "markdown", "article", "output", "answer"})
_SHORT = frozenset({"summary", "excerpt", "description", "abstract", "introduction", "message"})
_LISTS = frozenset({"keywords", "tags", "topics", "terms"})
_COUNTS = frozenset({"wordcount", "word_count", "words"})
_FORMATS = {
    "date": "2025-01-01",
    "date-time": "2025-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def fill_schema(schema: Any, draft: Draft) -> Any:
    """Return a value for `schema`: required and optional properties, types, enums, bounds and formats.

    Text properties are filled by their name from the draft. What it cannot satisfy (patterns, references) is left
    for the check of the output to find.
    """
    return _value(schema, "", draft, 0)


def _value(schema: Any, name: str, draft: Draft, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    for keyword in ("allOf", "anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and options:
            chosen = options if keyword == "allOf" else options[:1]
            rest = {key: value for key, value in schema.items() if key != keyword}
            return _value(_merged([rest, *chosen]), name, draft, depth + 1)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    return _by_type(schema, name, draft, depth)


def _by_type(schema: dict[str, Any], name: str, draft: Draft, depth: int) -> Any:
    declared = schema.get("type", "object" if "properties" in schema else "string")
    kind = declared[0] if isinstance(declared, list) and declared else declared
    if kind == "object":
        return _object(schema, draft, depth)
    if kind == "array":
        return _array(schema, name, draft, depth)
    if kind in {"integer", "number"}:
        return _number(schema, kind, name, draft)
    return {"boolean": True, "null": None}.get(kind, _string(schema, name, draft))


def _object(schema: dict[str, Any], draft: Draft, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    filled = {
        key: _value(inner, key, draft, depth + 1)
        for key, inner in (properties.items() if isinstance(properties, dict) else ())
    }
    required = schema.get("required")
    for key in required if isinstance(required, list) else ():
        filled.setdefault(key, _string({}, key, draft))
    return filled


def _array(schema: dict[str, Any], name: str, draft: Draft, depth: int) -> list[Any]:
    items = schema.get("items")
    least = _bound(schema, "minItems", 0)
    most = _bound(schema, "maxItems", _MAX_ITEMS)
    inner_type = items.get("type", "string") if isinstance(items, dict) else "string"
    if name.lower() in _LISTS or (inner_type == "string" and not (isinstance(items, dict) and "enum" in items)):
        words: list[Any] = list(draft.keywords)
        words += [f"{draft.keywords[0]} {number}" for number in range(2, least + 2)]
        return words[: max(least, min(most, len(draft.keywords)))]
    return [_value(items, name, draft, depth + 1) for _ in range(min(max(least, 1), most))]


def _number(schema: dict[str, Any], kind: str, name: str, draft: Draft) -> float | int:
    value: float = len(draft.text.split()) if name.lower() in _COUNTS else 1
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(above, int | float):
        low = above + 1
    if isinstance(below, int | float):
        high = below - 1
    if isinstance(high, int | float):
        value = min(value, high)
    if isinstance(low, int | float):
        value = max(value, low)
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and step > 0:
        value = -(-value // step) * step
    return int(value) if kind == "integer" or value == int(value) else value


def _string(schema: dict[str, Any], name: str, draft: Draft) -> str:
    known = _FORMATS.get(str(schema.get("format")))
    if known is not None:
        return known
    lowered = name.lower()
    if lowered in _LONG:
        text = draft.text
    elif lowered in _SHORT:
        text = draft.summary
    elif lowered in _LISTS:
        text = ", ".join(draft.keywords)
    else:
        text = draft.title
    least = _bound(schema, "minLength", 0)
    if len(text) < least:
        text = (text + " " + draft.text * (1 + least // len(draft.text)))[: max(least, len(text))]
    return text[: _bound(schema, "maxLength", len(text))]


def _bound(schema: dict[str, Any], keyword: str, default: int) -> int:
    value = schema.get(keyword)
    return min(value, 100_000) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _merged(schemas: list[Any]) -> dict[str, Any]:
    """Return schemas that must all hold as one, joining their properties and requirements."""
    merged: dict[str, Any] = {}
    for schema in schemas:
        for key, value in schema.items() if isinstance(schema, dict) else ():
            if key == "properties" and isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "required" and isinstance(value, list):
                merged[key] = [*merged.get(key, []), *value]
            else:
                merged[key] = value
    return merged
