from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.agents.documents import check_output, plain_text_property, readable_json, text_of, title_of
from workers.agents.draft import write_draft
from workers.agents.sample import fill_schema
from workers.contract import TaskRow
from workers.deliverable import build_deliverable, guess_format
from workers.errors import TaskFailure
from workers.schema_check import check_document

TASK = TaskRow("t1", "demo-org", "process", "Write a post\nabout tide pools", 3, deliverable_type="blog-post")


# Deliverables.


def test_deep_json_does_not_grow_a_hundredfold_when_it_is_made_readable() -> None:
    assert readable_json({"a": [1]}) == '{\n  "a": [\n    1\n  ]\n}'
    deep: Any = [1] * 10_000
    for _ in range(300):
        deep = [deep]
    assert len(readable_json(deep)) < 40_000
    for _ in range(500):
        deep = [deep]
    assert json.loads(readable_json(deep)) == deep


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("# Tide pools\n\nText", "markdown"),
        ("Just text.", "markdown"),
        ("<!DOCTYPE html><html></html>", "html"),
        ("<p>Hi</p>", "html"),
        ('{"a": 1}', "json"),
        ("[1, 2]", "json"),
        ("{not json", "markdown"),
        ("[link](http://x)", "markdown"),
        ("[" * 100_000, "markdown"),
    ],
)
def test_the_format_is_what_the_content_looks_like(content: str, expected: str) -> None:
    assert guess_format(content) == expected


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("Intro\n\n## **Life** between tides ##\n\ntext", "Life** between tides"),
        ("# Tide pools", "Tide pools"),
        ("no heading", "Writer: Write a post about tide pools"),
        ('{"a": 1}', "Writer: Write a post about tide pools"),
    ],
)
def test_the_title_is_the_first_heading_or_the_agent_with_the_prompts_beginning(content: str, title: str) -> None:
    assert build_deliverable(TASK, content, agent_name="Writer").title == title


def test_what_the_agent_said_wins_and_long_titles_are_cut() -> None:
    made = build_deliverable(TASK, "# Heading", agent_name="W", text_format="text", title="x" * 500)
    assert (made.format, len(made.title), made.type) == ("text", 200, "blog-post")


def test_metadata_of_the_task_goes_with_the_deliverable_if_it_is_an_object() -> None:
    for metadata, expected in (({"k": 1}, {"k": 1}), ([1], {}), (None, {})):
        task = replace(TASK, deliverable_metadata=metadata, deliverable_type=None)
        made = build_deliverable(task, "x", agent_name="W")
        assert (dict(made.metadata), made.type) == (expected, "text")


# Structured answers.


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"result": "r", "content": "c"}, "c"),
        ({"result": "r"}, "r"),
        ({"content": 5, "other": "é"}, '{\n  "content": 5,\n  "other": "é"\n}'),
        ([1], "[\n  1\n]"),
    ],
)
def test_people_read_the_text_property_or_else_all_of_it(document: Any, text: str) -> None:
    assert text_of(document) == text


def test_a_document_may_bring_its_title() -> None:
    assert title_of({"title": " T "}) == "T"
    assert title_of({"title": " "}) is None
    assert title_of({"title": 5}) is None
    assert title_of("text") is None


def test_a_schema_that_asks_for_one_text_is_content_with_plain_text() -> None:
    assert plain_text_property({"properties": {"content": {"type": "string"}}}) == "content"
    assert plain_text_property({"properties": {"content": {"type": "string"}, "x": {}}}) is None
    assert plain_text_property({"properties": {"score": {"type": "string"}}}) is None
    assert plain_text_property({"properties": {"content": {"type": "array"}}}) is None


def test_an_answer_that_breaks_the_schema_lists_its_problems() -> None:
    with pytest.raises(TaskFailure) as caught:
        check_output({"n": "x"}, {"properties": {"n": {"type": "integer"}}}, retryable=True)
    assert (caught.value.code, caught.value.retryable) == ("output_invalid", True)
    assert caught.value.data == {"problems": [{"path": "$.n", "message": "'x' is not of type 'integer'"}]}


# The offline draft.


def test_a_draft_is_titled_and_in_sections_and_names_what_was_asked() -> None:
    draft = write_draft("Write a post about tide pools", {}, "Writer", "You write well. Always.")
    assert draft.title == "Tide pools"
    assert draft.text.startswith("# Tide pools\n")
    assert draft.text.count("\n## ") >= 3
    assert "You write well." in draft.text
    assert draft == write_draft("Write a post about tide pools", {}, "Writer", "You write well. Always.")


def test_a_draft_honours_keywords_tone_audience_and_title() -> None:
    params = {"keywords": "starfish, kelp", "tone": "playful", "audience": "children", "title": "At low tide"}
    text = write_draft("Write about tide pools", params, "W", "").text
    for part in ("# At low tide", "## Starfish", "## Kelp", "playful", "children"):
        assert part in text


def test_a_draft_takes_its_sections_from_the_prompt() -> None:
    text = write_draft("Explain photosynthesis, covering chlorophyll and carbon dioxide for pupils", {}, "W", "").text
    assert "## Carbon dioxide" in text or "carbon dioxide" in text


@given(
    st.text(max_size=300), st.dictionaries(st.sampled_from(["keywords", "tone", "title"]), st.text() | st.integers())
)
def test_any_request_gives_a_draft(prompt: str, params: dict[str, Any]) -> None:
    draft = write_draft(prompt, params, "W", prompt)
    assert draft.text.startswith("# ")
    assert draft.title
    assert draft.keywords


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "required": ["x"], "properties": {}},
    {
        "type": "object",
        "required": ["title", "content", "tags", "wordCount", "published", "score", "kind", "nothing", "author"],
        "additionalProperties": False,
        "properties": {
            "title": {"type": "string", "maxLength": 10},
            "content": {"type": "string", "minLength": 5000},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 5, "maxItems": 6},
            "wordCount": {"type": "integer", "minimum": 1},
            "published": {"type": "boolean"},
            "score": {"type": "number", "exclusiveMinimum": 3, "multipleOf": 2.5, "maximum": 10},
            "kind": {"enum": ["post", "page"]},
            "nothing": {"type": "null"},
            "author": {"type": "object", "properties": {"email": {"type": "string", "format": "email"}}},
        },
    },
    {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "b": {"allOf": [{"type": "object", "required": ["p"]}, {"properties": {"p": {"const": 7}}}]},
            "c": {"type": ["string", "null"]},
            "d": {
                "type": "array",
                "items": {"type": "object", "properties": {"n": {"type": "integer"}}},
                "minItems": 2,
            },
            "e": {"type": "integer", "maximum": -5},
        },
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_offline_model_can_fill_a_schema(schema: dict[str, Any]) -> None:
    draft = write_draft("Write a post about tide pools", {}, "W", "")
    assert check_document(fill_schema(schema, draft), schema, field="x") == []
