"""private.json_matches against the jsonschema library, and the schemas that a question may have."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from psycopg.types.json import Jsonb

from tests.database.kit import Connection, World

FITS: list[tuple[Any, Any]] = [
    ({}, None),
    (True, [1, {"a": None}]),
    ({"type": "string"}, ""),
    ({"type": "integer"}, 3),
    ({"type": "integer"}, 3.0),
    ({"type": "number"}, -0.5),
    ({"type": "null"}, None),
    ({"type": ["integer", "null"]}, None),
    ({"type": "boolean"}, False),
    ({"enum": [[1, 2], {"a": 1}]}, {"a": 1}),
    ({"const": {"a": [1]}}, {"a": [1.0]}),
    ({"const": None}, None),
    ({"minimum": 3, "maximum": 3}, 3),
    ({"minimum": 3}, "no number"),
    ({"minLength": 2, "maxLength": 2}, "äö"),
    ({"maxLength": 1}, "🙂"),
    ({"items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, [1, 2]),
    ({"items": False}, []),
    ({"required": ["a"]}, {"a": None}),
    ({"required": ["a"]}, "no object"),
    ({"properties": {"a": {"type": "integer"}}, "additionalProperties": False}, {"a": 1}),
    ({"additionalProperties": {"type": "string"}}, {"b": "x"}),
]
FITS_NOT: list[tuple[Any, Any]] = [
    (False, None),
    ({"type": "string"}, 1),
    ({"type": "integer"}, 3.5),
    ({"type": "integer"}, "3"),
    ({"type": "integer"}, None),
    ({"type": "integer"}, True),
    ({"type": ["integer", "null"]}, "x"),
    ({"type": "number"}, "x"),
    ({"type": "object"}, []),
    ({"enum": ["a", 1]}, "b"),
    ({"enum": []}, None),
    ({"enum": [{"a": 1, "b": 2}]}, {"a": 1}),
    ({"enum": [[1, 2]]}, [1]),
    ({"enum": [[1, 2]]}, []),
    ({"enum": [{"a": {"b": 1}}]}, {}),
    ({"const": None}, False),
    ({"const": 1}, True),
    ({"minimum": 3}, 2.999),
    ({"maximum": 3}, 3.001),
    ({"minLength": 1}, ""),
    ({"maxLength": 1}, "ab"),
    ({"minItems": 1}, []),
    ({"maxItems": 1}, [1, 2]),
    ({"items": {"type": "integer"}}, [1, "2"]),
    ({"items": False}, [1]),
    ({"required": ["a", "b"]}, {"a": 1}),
    ({"properties": {"a": {"type": "integer"}}}, {"a": "x"}),
    ({"properties": {"a": False}}, {"a": 1}),
    ({"additionalProperties": False}, {"a": 1}),
    ({"properties": {"a": {"items": {"properties": {"b": {"maximum": 1}}}}}}, {"a": [{"b": 2}]}),
]
OTHER: list[Any] = [
    {"pattern": "^a"},
    {"format": "email"},
    {"oneOf": [{}]},
    {"anyOf": [{}]},
    {"allOf": [{}]},
    {"not": {}},
    {"$ref": "#"},
    {"if": {}},
    {"multipleOf": 2},
    {"exclusiveMinimum": 1},
    {"uniqueItems": True},
    {"patternProperties": {}},
    {"prefixItems": []},
    {"items": {"pattern": "^a"}},
    {"properties": {"a": {"additionalProperties": {"format": "uri"}}}},
    {"type": "text"},
    {"type": 7},
    {"type": []},
    {"type": ["string", 7]},
    {"type": {}},
    {"enum": "a"},
    {"required": "a"},
    {"required": [1]},
    {"required": [None]},
    {"minimum": "1"},
    {"minLength": -1},
    {"minLength": 1.5},
    {"maxItems": "3"},
    {"maxItems": 10**12},
    {"items": [{}]},
    {"items": None},
    {"properties": []},
    {"properties": {"a": 7}},
    {"additionalProperties": "no"},
    [],
    "string",
    7,
    None,
]


def matches(connection: Connection, schema: Any, value: Any) -> bool:
    row = connection.execute("select private.json_matches(%s, %s) as found", [Jsonb(value), Jsonb(schema)]).fetchone()
    assert row
    return bool(row["found"])


def accepted(connection: Connection, schema: Any) -> bool:
    row = connection.execute("select private.answer_schema_is_valid(%s) as found", [Jsonb(schema)]).fetchone()
    assert row
    return bool(row["found"])


@pytest.mark.parametrize(("schema", "value"), FITS, ids=str)
def test_a_value_that_fits(connection: Connection, schema: Any, value: Any) -> None:
    assert accepted(connection, schema)
    assert Draft202012Validator(schema).is_valid(value)
    assert matches(connection, schema, value)


@pytest.mark.parametrize(("schema", "value"), FITS_NOT, ids=str)
def test_a_value_that_does_not_fit(connection: Connection, schema: Any, value: Any) -> None:
    assert accepted(connection, schema)
    assert not Draft202012Validator(schema).is_valid(value)
    assert not matches(connection, schema, value)


@pytest.mark.parametrize("schema", OTHER, ids=str)
def test_a_schema_that_is_not_wholly_understood_is_refused(scene: World, schema: Any) -> None:
    slug = scene.admin.value("select slug from public.organizations limit 1")
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        scene.service.insert("input_requests", organization_slug=slug, prompt="Which?", schema=Jsonb(schema))
    assert caught.value.diag.constraint_name == "schema_is_one_that_answers_are_checked_with"


def test_a_schema_is_at_most_twenty_levels_deep(connection: Connection) -> None:
    schema: dict[str, Any] = {}
    for _ in range(19):
        schema = {"items": schema}
    assert accepted(connection, schema)
    assert not accepted(connection, {"items": schema})


def test_titles_defaults_and_examples_say_nothing_about_the_answer(connection: Connection) -> None:
    schema = {"$schema": "x", "title": "T", "description": "D", "default": 7, "examples": [7], "type": "string"}
    assert accepted(connection, schema)
    assert matches(connection, schema, "x")


# Against the library

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=3)
NAMES = st.sampled_from(["a", "b", "c"])
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([-0.5, 1.0, 2.5]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
TYPES = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])
SMALL = st.integers(0, 3)


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a schema of the allowed keywords, each there or not."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
            "enum": st.lists(VALUES, max_size=4),
            "const": VALUES,
            "minimum": NUMBERS,
            "maximum": NUMBERS,
            "minLength": SMALL,
            "maxLength": SMALL,
            "minItems": SMALL,
            "maxItems": SMALL,
            "items": inner,
            "required": st.lists(NAMES, max_size=3, unique=True),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "additionalProperties": inner,
        },
    )


SCHEMAS = st.recursive(st.booleans(), keywords, max_leaves=6)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=SCHEMAS, value=VALUES)
def test_the_database_and_the_library_agree(connection: Connection, schema: Any, value: Any) -> None:
    Draft202012Validator.check_schema(schema)
    assert accepted(connection, schema)
    assert matches(connection, schema, value) == Draft202012Validator(schema).is_valid(value)
