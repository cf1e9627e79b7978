"""What is said to an A2A server: the task as a message, and a person's answer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from a2a.types import Message, Part, Role
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value

from workers.agents.external.links import Link
from workers.clean import clean_json
from workers.contract import ClaimedTask


def task_message(claimed: ClaimedTask, link: Link, *, skill: str | None, takes_json: bool) -> Message:
    """Return the task as a message: the prompt as text, its params as data, or as metadata where JSON is not taken.

    A server that has no context of the conversation yet finds its earlier turns in the metadata `history`.
    """
    task = claimed.task
    metadata: dict[str, Any] = {"taskId": task.id, "attempt": claimed.attempt}
    parts = [Part(text=task.prompt)]
    if task.params and takes_json:
        parts.append(_data_part(task.params))
    elif task.params:
        metadata["params"] = task.params
    if skill is not None:
        metadata["skillId"] = skill
    if claimed.history and link.context_id is None:
        metadata["history"] = [asdict(turn) for turn in claimed.history]
    message = Message(message_id=link.message_id, role=Role.ROLE_USER, parts=parts)
    if link.context_id is not None:
        message.context_id = link.context_id
    message.metadata.update(clean_json(metadata))
    return message


def answer_message(claimed: ClaimedTask, link: Link) -> Message | None:
    """Return the person's answer as a message to the remote task; None when there is none that it has not had yet."""
    kept, answer = claimed.checkpoint, claimed.answer
    if answer is None or not isinstance(kept, dict) or kept.get("task_id") != link.remote_task_id:
        return None
    message_id = f"{claimed.task.id}.{answer.id}"
    if link.message_id == message_id or kept.get("message_id") != link.message_id:
        return None
    if answer.status != "answered":
        part = Part(text="Nobody answered in time. Go on without the answer, and say what you assume instead.")
    elif isinstance(answer.response, str):
        part = Part(text=answer.response)
    else:
        part = _data_part(answer.response)
    message = Message(message_id=message_id, role=Role.ROLE_USER, parts=[part], task_id=str(link.remote_task_id))
    if link.context_id is not None:
        message.context_id = link.context_id
    return message


def _data_part(value: Any) -> Part:
    return Part(data=ParseDict(clean_json(value), Value()), media_type="application/json")
