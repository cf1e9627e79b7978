"""Rows of the database as A2A's tasks, odd ones too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from a2a.types import Task, TaskState
from google.protobuf.json_format import MessageToDict

from workers.a2a.database import Row
from workers.a2a.rows import artifact_of, task_of

TASK: Row = {
    "id": "t",
    "status": "completed",
    "progress": 100,
    "progress_message": None,
    "error_code": None,
    "error_message": None,
    "agent_conversation_id": None,
    "prompt": "Write",
    "params": {},
    "metadata": {},
    "response": "Done.",
    "created_at": "2026-01-01T00:00:00+00:00",
    "updated_at": "2026-01-01T00:00:00.12345+00:00",
    "input_requests": [],
    "deliverable_versions": [],
}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": [value]}
    return value


def version(content: str | None, form: str | None) -> Row:
    about = {"deliverable_id": "d", "version_number": 2, "deliverables": {"title": "A title", "type": "text"}}
    return TASK | {"deliverable_versions": [about | {"content": content, "format": form}]}


@pytest.mark.parametrize(
    ("content", "form", "part"),
    [
        ("# Hi", "markdown", {"text": "# Hi", "mediaType": "text/markdown"}),
        ("Hi", None, {"text": "Hi", "mediaType": "text/plain"}),
        (None, "text", {"text": "", "mediaType": "text/plain"}),
        ("a,b", "text/csv", {"text": "a,b", "mediaType": "text/csv"}),
        ('{"a": [1, null]}', "json", {"data": {"a": [1.0, None]}, "mediaType": "application/json"}),
        ("{broken", "json", {"text": "{broken", "mediaType": "text/plain"}),
        ("[" * 5000 + "]" * 5000, "json", {"text": "[" * 5000 + "]" * 5000, "mediaType": "text/plain"}),
    ],
)
def test_a_deliverable_is_an_artifact_of_its_format(content: str | None, form: str | None, part: Row) -> None:
    told = MessageToDict(artifact_of(version(content, form)))
    assert told["parts"] == [part]
    assert (told["name"], told["metadata"]["versionNumber"]) == ("A title", 2)


def test_a_task_without_a_deliverable_gives_its_response() -> None:
    task = task_of(TASK)
    assert (task.context_id, task.artifacts[0].parts[0].text) == ("t", "Done.")
    assert task.status.timestamp.ToJsonString() == "2026-01-01T00:00:00.123450Z"


def test_params_are_shown_as_data_and_deep_ones_as_their_text() -> None:
    for levels, deep in ((1, False), (12, False), (13, True), (31, True)):
        task = task_of(TASK | {"params": nested(levels)})
        told = MessageToDict(Task.FromString(task.SerializeToString()))["history"][0]["parts"][1]["data"]
        assert isinstance(told, str) is deep
        assert (json.loads(told) if deep else told) == nested(levels)


@pytest.mark.parametrize(("length", "count"), [(None, 3), (0, 0), (1, 1), (99, 3), (-1, 0)])
def test_history_is_the_message_and_what_was_asked_and_answered(length: int | None, count: int) -> None:
    question = {"id": "q", "prompt": "Who?", "schema": {}, "request_type": "input", "status": "answered"}
    asked = TASK | {"input_requests": [question | {"response": {"name": "Ada"}, "expires_at": None}]}
    history = task_of(asked, length).history
    assert [message.message_id for message in history] == ["t", "q", "q-answer"][3 - count :]


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({"status": "timeout", "error_code": "timeout", "error_message": None}, "FAILED", "timeout"),
        ({"status": "rejected", "error_code": "x", "error_message": "No."}, "REJECTED", "No."),
        ({"status": "in_progress", "progress_message": "Reading"}, "WORKING", "Reading"),
        ({"status": "cancelled"}, "CANCELED", ""),
        ({"status": "paused"}, "INPUT_REQUIRED", ""),
    ],
    ids=str,
)
def test_a_status_says_what_there_is_to_say(changes: Row, state: str, text: str) -> None:
    status = task_of(TASK | changes).status
    assert status.state == TaskState.Value(f"TASK_STATE_{state}")
    assert "".join(part.text for part in status.message.parts) == text
