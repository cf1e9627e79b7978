from __future__ import annotations

import time
from typing import Any

import pytest

from tests.unit.http_server import json_reply, serve
from workers.errors import TaskFailure
from workers.schema_check import check_document


def problems(document: Any, schema: Any) -> list[dict[str, str]]:
    return check_document(document, schema, field="io_schema.input")


def test_a_document_that_fits_has_no_problems() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["prompt"],
        "properties": {"prompt": {"type": "string", "pattern": "^[a-z ]+$"}, "n": {"$ref": "#/$defs/count"}},
        "additionalProperties": False,
        "$defs": {"count": {"type": "integer", "minimum": 1}},
    }
    assert problems({"prompt": "tide pools", "n": 2}, schema) == []


def test_each_problem_says_where_and_what() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"b": {"type": "array", "items": {"type": "integer"}}}}
    assert problems({"b": [1, "two"]}, schema) == [
        {"path": "$", "message": "'a' is a required property"},
        {"path": "$.b[1]", "message": "'two' is not of type 'integer'"},
    ]


def test_no_more_than_twenty_problems_are_listed_and_none_is_long() -> None:
    listed = problems(["x" * 1000] * 100, {"items": {"type": "integer"}})
    assert len(listed) == 20
    assert max(len(problem["message"]) for problem in listed) <= 300


@pytest.mark.parametrize(
    ("document", "schema", "count"),
    [
        ({"x_1": 1, "y": 2}, {"patternProperties": {"^x_": {"type": "string"}}, "additionalProperties": False}, 2),
        ({"x_1": "a"}, {"patternProperties": {"^x_": {"type": "string"}}, "additionalProperties": False}, 0),
        ({"a": 1, "b": "2"}, {"properties": {"a": True}, "additionalProperties": {"type": "integer"}}, 1),
        ({"a": 1}, {"properties": {"a": True}, "additionalProperties": False}, 0),
        ([1, 1.0], {"uniqueItems": True}, 1),
        ([1, True, "1", [1], {"a": 1}], {"uniqueItems": True}, 0),
        ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], {"uniqueItems": True}, 1),
        ([1, 1], {"uniqueItems": False}, 0),
        ("abc", {"pattern": "b"}, 0),
        ("abc", {"pattern": "^b"}, 1),
        (5, {"pattern": "^b"}, 0),
        ({"a": 1}, {"unevaluatedProperties": False, "properties": {"b": True}}, 1),
    ],
)
def test_keywords_that_are_checked_here_mean_what_the_standard_says(document: Any, schema: Any, count: int) -> None:
    assert len(problems(document, schema)) == count


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strnig"},
        {"properties": []},
        {"pattern": "("},
        {"type": "object", "required": "a"},
        [],
        "text",
        {"$ref": "#/$defs/missing"},
        {"properties": {"a": True}, "patternProperties": {"a": True}, "unevaluatedProperties": False},
        {"enum": ["x" * 300_000]},
    ],
)
def test_an_invalid_schema_is_the_agents_fault_and_names_the_field(schema: Any) -> None:
    with pytest.raises(TaskFailure) as caught:
        problems({"a": "b"}, schema)
    assert caught.value.code == "agent_misconfigured"
    assert "io_schema.input" in caught.value.message
    assert caught.value.data == {"field": "io_schema.input"}


def test_nothing_is_ever_fetched() -> None:
    with serve(lambda _seen: json_reply({"type": "string"})) as server:
        for reference in ({"$ref": f"{server.url}/schema.json"}, {"$dynamicRef": f"{server.url}/schema.json"}):
            with pytest.raises(TaskFailure, match="not within the schema"):
                problems("text", reference)
    assert server.seen == []


def doubling(levels: int) -> dict[str, Any]:
    """Return a small schema whose check takes 2 to the power of `levels` steps."""
    definitions: dict[str, Any] = {
        f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": {"type": "string"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("document", "schema"),
    [
        ("a" * 40 + "!", {"pattern": "^(a|aa)+$"}),
        ({"a" * 40 + "!": 1}, {"patternProperties": {"^(a|aa)+$": {"type": "string"}}}),
        ({"a" * 40 + "!": 1}, {"patternProperties": {"^(a|aa)+$": True}, "additionalProperties": False}),
        ("a" * 40 + "!", {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^(a|aa)+$"}),
        (
            {"a": "a" * 40 + "!"},
            {"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^(a|aa)+$"}}},
        ),
        (1, {"$ref": "#"}),
        ("text", doubling(60)),
        ({}, nested(2000)),
    ],
    ids=[
        "pattern",
        "patternProperties",
        "additionalProperties",
        "older dialect",
        "older dialect inside",
        "endless",
        "doubling",
        "deep",
    ],
)
def test_a_schema_made_to_hang_the_worker_is_stopped_soon(document: Any, schema: Any) -> None:
    started = time.monotonic()
    with pytest.raises(TaskFailure, match="takes too long"):
        problems(document, schema)
    assert time.monotonic() - started < 8


def test_many_items_are_compared_in_one_pass() -> None:
    started = time.monotonic()
    assert problems([{"n": number} for number in range(20_000)], {"uniqueItems": True}) == []
    assert time.monotonic() - started < 3
