"""Rows of the database as A2A's tasks, artifacts and messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from a2a.types import Artifact, Message, Part, Role, Task, TaskState, TaskStatus
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct, Value

from workers.a2a.database import Row

ARTIFACT = "result"  # A task has one artifact: streamed while it grows, in the end the deliverable's text.
STATES: Mapping[str, TaskState] = {
    "pending": TaskState.TASK_STATE_SUBMITTED,
    "in_progress": TaskState.TASK_STATE_WORKING,
    "paused": TaskState.TASK_STATE_INPUT_REQUIRED,
    "completed": TaskState.TASK_STATE_COMPLETED,
    "failed": TaskState.TASK_STATE_FAILED,
    "timeout": TaskState.TASK_STATE_FAILED,
    "cancelled": TaskState.TASK_STATE_CANCELED,
    "rejected": TaskState.TASK_STATE_REJECTED,
}
_DEEPEST = 25
FINAL = frozenset({"completed", "failed", "timeout", "cancelled", "rejected"})

_COLUMNS = (
    "id,status,progress,progress_message,error_code,error_message,agent_conversation_id,prompt,params,metadata,"
    "created_at,updated_at,"
    "input_requests(id,prompt,schema,request_type,status,response,expires_at,requested_at)"
)
_RESULT = ",response,deliverable_versions(deliverable_id,version_number,content,format,deliverables(title,type))"
ONE_TASK = {
    "select": _COLUMNS + _RESULT,
    "input_requests.order": "requested_at",
    "deliverable_versions.order": "created_at.desc,version_number.desc",
    "deliverable_versions.limit": "1",
}
TASKS_WITHOUT_RESULTS = {"select": _COLUMNS, "input_requests.order": "requested_at"}


def task_of(row: Row, history_length: int | None = None, *, artifacts: bool = True) -> Task:
    """Return a row of tasks as a Task; `history_length` None for all of its history."""
    history = _history(row)
    if history_length is not None:
        history = history[-history_length:] if history_length > 0 else []
    return Task(
        id=row["id"],
        context_id=context_of(row),
        status=status_of(row),
        artifacts=[artifact_of(row)] if artifacts and row["status"] == "completed" else [],
        history=history,
        metadata=details_of(row),
    )


def context_of(row: Row) -> str:
    """Return a task's context; a task outside of conversations is a context of its own."""
    return str(row["agent_conversation_id"] or row["id"])


def status_of(row: Row) -> TaskStatus:
    """Return the status of a task, with what there is to say about it."""
    message = None
    if row["status"] == "paused" and (question := open_question(row)):
        message = _question(row, question)
    elif row["status"] in {"failed", "timeout", "rejected"}:
        message = said(row, f"{row['id']}-error", row["error_message"] or row["error_code"])
    elif row["status"] == "in_progress" and row["progress_message"]:
        message = said(row, f"{row['id']}-progress", row["progress_message"])
    status = TaskStatus(state=STATES[row["status"]], message=message)
    status.timestamp.FromDatetime(datetime.fromisoformat(row["updated_at"]))
    return status


def details_of(row: Row) -> Struct:
    """Return what A2A has no field for."""
    details: dict[str, Any] = {"progress": row["progress"]}
    if row["error_code"]:
        details["errorCode"] = row["error_code"]
    return struct(details)


def open_question(row: Row) -> Row | None:
    """Return the question that a task waits for."""
    return next((request for request in row["input_requests"] if request["status"] == "pending"), None)


def artifact_of(row: Row) -> Artifact:
    """Return what a finished task made."""
    versions = row["deliverable_versions"]
    if not versions:
        return Artifact(artifact_id=ARTIFACT, name="Response", parts=[Part(text=row["response"] or "")])
    version = versions[0]
    about = {"deliverableId": version["deliverable_id"], "versionNumber": version["version_number"]}
    return Artifact(
        artifact_id=ARTIFACT,
        name=version["deliverables"]["title"],
        parts=[_content(version["content"] or "", version["format"] or "text")],
        metadata=struct({**about, "type": version["deliverables"]["type"]}),
    )


def said(row: Row, message_id: str, *parts: str | Value) -> Message:
    """Return words of the agent about a task."""
    return Message(
        message_id=message_id,
        role=Role.ROLE_AGENT,
        task_id=row["id"],
        context_id=context_of(row),
        parts=[Part(text=part) if isinstance(part, str) else Part(data=part) for part in parts],
    )


def struct(values: Mapping[str, Any]) -> Struct:
    """Return a JSON object as protobuf has it."""
    return ParseDict(dict(values), Struct())


def value(json_value: Any) -> Value:
    """Return a JSON value as protobuf has it; what is nested deeper than messages may be, as its text."""
    told: Any = json.dumps(json_value, ensure_ascii=False) if _is_deep(json_value) else json_value
    return ParseDict(told, Value())


def _is_deep(json_value: Any) -> bool:
    # protobuf reads 100 levels of messages: three for one of JSON, and a few around it.
    level = [json_value]
    for _ in range(_DEEPEST):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _content(content: str, form: str) -> Part:
    if form == "json":
        try:
            return Part(data=value(json.loads(content)), media_type="application/json")
        except (ValueError, RecursionError):
            form = "text"
    kinds = {"markdown": "text/markdown", "html": "text/html", "text": "text/plain", "json": "application/json"}
    return Part(text=content, media_type=kinds.get(form, form if "/" in form else "text/plain"))


def _history(row: Row) -> list[Message]:
    """Return the user's message, then questions and answers in their order."""
    about = row["metadata"].get("a2a")
    told = about.get("message_id") if isinstance(about, dict) else None
    parts = [Part(text=row["prompt"])]
    if row["params"]:
        parts.append(Part(data=value(row["params"])))
    history = [_heard(row, told if isinstance(told, str) and told else row["id"], parts)]
    for request in row["input_requests"]:
        history.append(_question(row, request))
        if request["status"] == "answered":
            answer = request["response"]
            part = Part(text=answer) if isinstance(answer, str) else Part(data=value(answer))
            history.append(_heard(row, f"{request['id']}-answer", [part]))
    return history


def _heard(row: Row, message_id: str, parts: list[Part]) -> Message:
    context, task = context_of(row), row["id"]
    return Message(message_id=message_id, role=Role.ROLE_USER, task_id=task, context_id=context, parts=parts)


def _question(row: Row, request: Row) -> Message:
    wanted = {"inputRequestId": request["id"], "requestType": request["request_type"], "schema": request["schema"]}
    if request["expires_at"]:
        wanted["expiresAt"] = request["expires_at"]
    return said(row, request["id"], request["prompt"], value(wanted))
