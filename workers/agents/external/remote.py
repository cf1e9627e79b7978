"""What is known of a remote task: put together from snapshots and updates, and told to the reporter as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from a2a.types import Artifact, Message, Part, StreamResponse, Task, TaskArtifactUpdateEvent, TaskState, TaskStatus
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from workers.agents.external.wire import quote
from workers.agents.result import MAX_RESPONSE_CHARS, Reporter
from workers.errors import TaskFailure

CALLED, ANSWERED = 50.0, 95.0
MAX_ID_CHARS = 512
_MAX_ARTIFACTS = 1000
_MAX_EVENTS = 100
_MAX_SAID = 4000

TERMINAL = frozenset(
    {
        TaskState.TASK_STATE_COMPLETED,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_CANCELED,
        TaskState.TASK_STATE_REJECTED,
    }
)
INTERRUPTED = frozenset({TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_AUTH_REQUIRED})


def state_name(state: int) -> str:
    """Return a state as A2A 1.0's text has it: `input-required`; `unknown` for one that this worker does not know."""
    if state == TaskState.TASK_STATE_UNSPECIFIED or state not in TaskState.values():
        return "unknown"
    return TaskState.Name(TaskState.ValueType(state)).removeprefix("TASK_STATE_").lower().replace("_", "-")


def text_of_parts(message_parts: list[Part]) -> str:
    """Return the text of parts; pieces of a stream follow each other without a break."""
    return "".join(part.text for part in message_parts if part.WhichOneof("content") == "text")


class RemoteTask:
    """The task as the server told it so far, or the message with which it answered at once.

    `redact` hides the organization's secrets in what people will read of it while it runs.
    """

    def __init__(self, reporter: Reporter, redact: Callable[[str], str]) -> None:
        self._reporter = reporter
        self._redact = redact
        self._streamed: dict[str, list[str]] = {}  # In pieces: to join each new one to a long text would be quadratic.
        self._chars = 0
        self._events = 0
        self._said = ""
        self._answered: TaskStatus | None = None
        self.id: str | None = None
        self.context_id: str | None = None
        self.status = TaskStatus()
        self.artifacts: dict[str, Artifact] = {}
        self.history: list[Message] = []
        self.metadata = Struct()
        self.message: Message | None = None

    @property
    def state(self) -> int:
        """The task's state, a `TaskState`."""
        return self.status.state

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for: the task is over, or waits for somebody."""
        if self.message is not None or self.state in TERMINAL:
            return True
        return self.state in INTERRUPTED and not self.stale

    @property
    def stale(self) -> bool:
        """Whether the task still looks as it did when it asked what has been answered since."""
        asked = self._answered
        if asked is None or self.state != asked.state:
            return False
        if asked.HasField("timestamp") and self.status.HasField("timestamp"):
            # The SDK 0.3 takes the question out of the status when the answer arrives.
            return bool(self.status.timestamp == asked.timestamp)
        return self.status == asked or not self.status.message.parts

    def shown(self) -> dict[str, str]:
        """Return what a trace shows of it: its state, and the texts that it gave."""
        given = [artifact.parts for artifact in self.artifacts.values()] or [self.status.message.parts]
        if self.message is not None:
            given = [self.message.parts]
        return {"state": state_name(self.state), "text": "\n".join(text_of_parts(list(parts)) for parts in given)}

    def log(self, message: str, data: Mapping[str, Any]) -> None:
        """Leave an entry in our task's trail."""
        self._reporter.event("log", message, data)

    def answered(self, answered: bool = True) -> None:
        """Note that what the task waits for is on its way, or that it asks for the same again."""
        self._answered = self.status if answered else None

    def take(self, event: StreamResponse) -> None:
        """Take in one answer or one event of a stream.

        Raises:
            TaskFailure: endpoint_response_invalid, response_too_large.
        """
        match event.WhichOneof("payload"):
            case "task":
                self.snapshot(event.task)
            case "message":
                self._know(event.message.task_id or None, event.message.context_id)
                self.message = event.message
                self._show("message", text_of_parts(list(event.message.parts)))
            case "status_update":
                self._know(event.status_update.task_id, event.status_update.context_id)
                self._move(event.status_update.status)
            case "artifact_update":
                self._know(event.artifact_update.task_id, event.artifact_update.context_id)
                self._add(event.artifact_update)
            case _:
                raise _invalid("answered with neither a task nor a message")

    def snapshot(self, task: Task) -> None:
        """Take in the whole task."""
        self._know(task.id, task.context_id)
        if len(task.artifacts) > _MAX_ARTIFACTS:
            raise _too_many()
        self.artifacts = {artifact.artifact_id: artifact for artifact in task.artifacts}
        self.history = list(task.history[-20:])
        self.metadata = task.metadata
        for artifact in task.artifacts:
            self._show(artifact.artifact_id, text_of_parts(list(artifact.parts)))
        self._move(task.status)

    def _know(self, task_id: str | None, context_id: str) -> None:
        for given in (task_id, context_id):
            if given is not None and (len(given) > MAX_ID_CHARS or not given.isprintable()):
                raise _invalid("gave an id that is too long or cannot be printed")
        if task_id is not None and self.id not in {None, task_id}:
            raise _invalid("answered about another task than the one it was asked about")
        if task_id == "":
            raise _invalid("gave a task without an id")
        self.id = task_id or self.id
        self.context_id = context_id or self.context_id

    def _move(self, status: TaskStatus) -> None:
        self.status = status
        text = text_of_parts(list(status.message.parts))
        waits = self.settled or self.state in INTERRUPTED
        if waits or not text or text == self._said or self._events >= _MAX_EVENTS:
            return
        self._said = text
        self._events += 1
        said = quote(self._redact(text), _MAX_SAID)
        self._reporter.event("message", said, {"state": state_name(status.state)})
        self._reporter.progress(CALLED, said[:200])

    def _add(self, update: TaskArtifactUpdateEvent) -> None:
        artifact = update.artifact
        known = self.artifacts.get(artifact.artifact_id)
        if known is None and len(self.artifacts) >= _MAX_ARTIFACTS:
            raise _too_many()
        if known is None or not update.append:
            self.artifacts[artifact.artifact_id] = artifact
            self._show(artifact.artifact_id, text_of_parts(list(artifact.parts)))
            return
        known.parts.extend(artifact.parts)
        known.metadata.update(MessageToDict(artifact.metadata))
        piece = text_of_parts(list(artifact.parts))
        self._stream(piece)
        self._streamed.setdefault(artifact.artifact_id, []).append(piece)

    def _show(self, key: str, text: str) -> None:
        """Stream what a text has grown by; one that was exchanged for another is streamed anew."""
        before = "".join(self._streamed.get(key, ()))
        self._streamed[key] = [text]
        self._stream(text.removeprefix(before))

    def _stream(self, text: str) -> None:
        if not text:
            return
        self._chars += len(text)
        if self._chars > MAX_RESPONSE_CHARS:
            raise TaskFailure("response_too_large", f"The answer is longer than {MAX_RESPONSE_CHARS} characters.")
        self._reporter.partial(text)


def _invalid(problem: str) -> TaskFailure:
    return TaskFailure("endpoint_response_invalid", f"The external agent {problem}.")


def _too_many() -> TaskFailure:
    return TaskFailure("response_too_large", f"The external agent gave more than {_MAX_ARTIFACTS} artifacts.")
