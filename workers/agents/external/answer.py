"""What a remote task's end means for ours: its artifacts as the result, its question as ours, its failure as ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from a2a.types import Part, Role, TaskState
from google.protobuf.json_format import MessageToDict

from workers.agents.documents import fit_output, readable_json, schema_of, text_of, title_of
from workers.agents.external.remote import INTERRUPTED, RemoteTask, state_name, text_of_parts
from workers.agents.external.wire import quote
from workers.agents.result import MAX_RESPONSE_CHARS, AgentResult
from workers.contract import AgentRow, Format
from workers.errors import InputNeeded, TaskFailure
from workers.questions import InputRequest

# Files that come inline are kept in the database up to this many bytes, all of a result together.
MAX_INLINE_BYTES = 256 * 1024
_MAX_FILES = 100
_MAX_URL = 4000
_MAX_METADATA_CHARS = 16_000
_MAX_PROMPT = 20_000
_TEXT_FORMATS: Mapping[str, Format] = {"text/html": "html", "text/markdown": "markdown", "text/plain": "text"}
# A person answers in words; a program may answer with what the agent's data asks for.
_ANSWER_SCHEMA = {"type": ["string", "object"], "minLength": 1}


@dataclass
class _Content:
    """The parts of a result, sorted: pieces of text as people read them, data, files."""

    pieces: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    data: list[Any] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    formats: set[str] = field(default_factory=set)
    inline_bytes: int = 0


def result_of(remote: RemoteTask, agent: AgentRow, interface: Mapping[str, str]) -> AgentResult:
    """Return the result of a completed task or of a direct answer; `interface` says how it was reached.

    Raises:
        TaskFailure: endpoint_response_invalid, output_invalid, response_too_large, agent_misconfigured.
    """
    content = _read(remote)
    text, text_format = _text(content)
    document = _document(content)
    schema = schema_of(agent, "output")
    if schema is not None:
        document = fit_output(text, document, schema)
    names = [artifact.name for artifact in remote.artifacts.values() if artifact.name]
    return AgentResult(
        text=text,
        document=document,
        title=title_of(document) or (quote(names[0], 200) if names else None),
        format=text_format,
        response_metadata={"a2a": _metadata(remote, interface)},
        file_attachments=content.files,
    )


def question_of(remote: RemoteTask, message_id: str, agent: AgentRow, redact: Callable[[str], str]) -> InputNeeded:
    """Return the question of a task that waits for somebody; the answer goes to the same remote task."""
    said = quote(redact(text_of_parts(list(remote.status.message.parts))), _MAX_PROMPT)
    if remote.state == TaskState.TASK_STATE_AUTH_REQUIRED:
        prompt = f"The agent {agent.name} needs an authorization. Give it as the agent says, then answer here."
        prompt = f"{prompt}\n\n{said}" if said else prompt
    else:
        prompt = said or f"The agent {agent.name} needs more input."
    state = state_name(remote.state)
    request = InputRequest(prompt=prompt, schema=_ANSWER_SCHEMA, metadata={"a2a": {"state": state}})
    checkpoint = {
        "format": "external/1",
        "task_id": remote.id,
        "context_id": remote.context_id,
        "message_id": message_id,
    }
    return InputNeeded(request, checkpoint=checkpoint)


def failure_of(remote: RemoteTask, redact: Callable[[str], str]) -> TaskFailure | None:
    """Return how our task ends when the remote one did not complete; None when it did."""
    if remote.message is not None or remote.state in INTERRUPTED or remote.state == TaskState.TASK_STATE_COMPLETED:
        return None
    said = quote(redact(text_of_parts(list(remote.status.message.parts))))
    data = {"remote_task_id": remote.id, "state": state_name(remote.state)}
    if remote.state == TaskState.TASK_STATE_REJECTED:
        problem = f"The external agent rejected the task: {said or 'it gave no reason.'}"
        return TaskFailure("remote_rejected", problem, data=data).as_rejected()
    if remote.state == TaskState.TASK_STATE_CANCELED:
        problem = f"The task was cancelled at the external agent: {said or 'it gave no reason.'}"
        return TaskFailure("remote_cancelled", problem, data=data)
    return TaskFailure("remote_failed", f"The external agent failed: {said or 'it gave no reason.'}", data=data)


def _read(remote: RemoteTask) -> _Content:
    content = _Content()
    for parts in _sources(remote):
        _sort(parts, content)
    if content.pieces or any("url" in file or "content" in file for file in content.files):
        return content
    if content.files:
        raise TaskFailure(
            "response_too_large",
            f"The external agent answered only with files, which are larger than {MAX_INLINE_BYTES} bytes in all or "
            "have no URL that can be linked: have it give https URLs.",
        )
    raise TaskFailure("endpoint_response_invalid", "The external agent answered with nothing.")


def _sources(remote: RemoteTask) -> Iterator[list[Part]]:
    """Yield the parts of each artifact; without artifacts those of the last thing the agent said."""
    if remote.message is not None:
        yield list(remote.message.parts)
    elif remote.artifacts:
        yield from (list(artifact.parts) for artifact in remote.artifacts.values())
    elif remote.status.message.parts:
        yield list(remote.status.message.parts)
    else:
        said = [message for message in remote.history if message.role == Role.ROLE_AGENT]
        yield from (list(message.parts) for message in said[-1:])


def _sort(parts: list[Part], content: _Content) -> None:
    text = text_of_parts(parts)
    if text.strip():
        content.pieces.append(text)
        content.texts.append(text)
    for part in parts:
        match part.WhichOneof("content"):
            case "text":
                content.formats.add(part.media_type.partition(";")[0].strip().lower())
            case "data":
                value = _plain(MessageToDict(part.data))
                content.data.append(value)
                content.pieces.append(f"```json\n{readable_json(value)}\n```")
            case "url" | "raw":
                _attach(part, content)
            case _:
                continue


def _attach(part: Part, content: _Content) -> None:
    if len(content.files) >= _MAX_FILES:
        return
    file = {"name": quote(part.filename, 255) or None, "media_type": quote(part.media_type, 255) or None}
    if part.WhichOneof("content") == "url":
        content.files.append({**file, "url": part.url} if _is_link(part.url) else {**file, "omitted": "no web address"})
        return
    size = len(part.raw)
    if content.inline_bytes + size > MAX_INLINE_BYTES:
        content.files.append({**file, "size": size, "omitted": f"inline files over {MAX_INLINE_BYTES} bytes in all"})
        return
    content.inline_bytes += size
    content.files.append({**file, "size": size, "content": base64.b64encode(part.raw).decode(), "encoding": "base64"})


def _is_link(text: str) -> bool:
    """Whether people may be shown this as a link: http(s), without credentials; never javascript:."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and not url.userinfo and len(text) <= _MAX_URL


def _text(content: _Content) -> tuple[str, Format | None]:
    if not content.texts and len(content.data) == 1:
        return text_of(content.data[0]), None if isinstance(content.data[0], dict) else "json"
    if not content.texts and content.data:
        return readable_json(content.data), "json"
    if not content.pieces:
        return "\n".join(f"- {file['name'] or file['media_type'] or 'file'}" for file in content.files), "markdown"
    text = "\n\n".join(content.pieces)
    if len(text) > MAX_RESPONSE_CHARS:
        raise TaskFailure("response_too_large", f"The answer is longer than {MAX_RESPONSE_CHARS} characters.")
    (single,) = content.formats if len(content.formats) == 1 else ("",)
    return text, None if content.data else _TEXT_FORMATS.get(single)


def _document(content: _Content) -> Any:
    return content.data[0] if len(content.data) == 1 else content.data or None


def _metadata(remote: RemoteTask, interface: Mapping[str, str]) -> dict[str, Any]:
    """Return what is kept of the task and its artifacts besides their contents; what would be too much is left out."""
    told: dict[str, Any] = {
        **interface,
        "task_id": remote.id,
        "context_id": remote.context_id,
        "state": "message" if remote.message is not None else state_name(remote.state),
    }
    artifacts = [
        {
            "artifact_id": quote(artifact.artifact_id, 200),
            "name": quote(artifact.name, 200) or None,
            "description": quote(artifact.description) or None,
            "metadata": _plain(MessageToDict(artifact.metadata)) or None,
        }
        for artifact in list(remote.artifacts.values())[:100]
    ]
    for name, value in (("artifacts", artifacts), ("metadata", _plain(MessageToDict(remote.metadata)))):
        if value and len(json.dumps(value)) <= _MAX_METADATA_CHARS:
            told[name] = value
        elif value:
            told[f"{name}_omitted"] = True
    return told


def _plain(value: Any) -> Any:
    """Return JSON with whole numbers as such: A2A's data knows only floating-point numbers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value
