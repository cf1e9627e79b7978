"""The events of a task as a client of A2A hears them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from a2a.types import Artifact, Part, Task, TaskArtifactUpdateEvent, TaskStatus, TaskStatusUpdateEvent

from workers.a2a.database import Row
from workers.a2a.rows import (
    ARTIFACT,
    FINAL,
    STATES,
    artifact_of,
    context_of,
    details_of,
    said,
    status_of,
    struct,
)

Event = Task | TaskStatusUpdateEvent | TaskArtifactUpdateEvent


@dataclass
class Telling:
    """How far a client was told of one task; knows the text streamed in the current attempt by its digest."""

    task_id: str
    context_id: str
    status: str = "pending"
    begun: bool = False
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def absorb(self, rows: list[Row]) -> str:
        """Take note of events that the client is not told one by one; return the text streamed so far."""
        text: list[str] = []
        for row in rows:
            if row["type"] == "partial":
                text.append(row["data"].get("text") or "")
                self._note(text[-1])
            elif row["type"] == "status":
                self._move(row)
                if row["data"].get("to") == "in_progress":
                    text.clear()
        return "".join(text)

    def told(self, rows: list[Row]) -> Iterator[Event]:
        """Return what to tell of events up to a state that ends or interrupts the task, which `ending` tells."""
        waiting: list[str] = []
        for row in rows:
            if row["type"] == "partial":
                waiting.append(row["data"].get("text") or "")
                continue
            if waiting:
                yield self._chunk("".join(waiting))
                waiting = []
            if row["type"] == "status":
                self._move(row)
                if self.status not in FINAL | {"paused"} and row["sequence"] > 1:
                    yield self._status(row)
            elif row["type"] in {"progress", "message"}:
                yield self._status(row)
        if waiting:
            yield self._chunk("".join(waiting))

    def ending(self, row: Row) -> Iterator[Event]:
        """Return what to tell when the task has ended or waits for a person; `row` is the task as it is now."""
        if self.status == "completed":
            yield self._result(artifact_of(row))
        yield TaskStatusUpdateEvent(
            task_id=self.task_id, context_id=self.context_id, status=status_of(row), metadata=details_of(row)
        )

    def _move(self, row: Row) -> None:
        self.status = row["data"].get("to") or self.status
        if self.status == "in_progress":
            self.begun, self._digest = False, hashlib.sha256()

    def _note(self, text: str) -> None:
        self.begun = True
        self._digest.update(text.encode())

    def _chunk(self, text: str) -> TaskArtifactUpdateEvent:
        append = self.begun
        self._note(text)
        return self._update(Artifact(artifact_id=ARTIFACT, parts=[Part(text=text)]), append=append, last=False)

    def _result(self, artifact: Artifact) -> TaskArtifactUpdateEvent:
        """Return the finished artifact; of one that was streamed whole only the end, not all of its text again."""
        part = artifact.parts[0]
        if self.begun and hashlib.sha256(part.text.encode()).digest() == self._digest.digest():
            part.text = ""
            return self._update(artifact, append=True, last=True)
        return self._update(artifact, append=False, last=True)

    def _update(self, artifact: Artifact, *, append: bool, last: bool) -> TaskArtifactUpdateEvent:
        return TaskArtifactUpdateEvent(
            task_id=self.task_id, context_id=self.context_id, artifact=artifact, append=append, last_chunk=last
        )

    def _status(self, row: Row) -> TaskStatusUpdateEvent:
        task = {"id": self.task_id, "agent_conversation_id": self.context_id}
        status = TaskStatus(state=STATES[self.status])
        if row["message"]:
            status.message.CopyFrom(said(task, f"{self.task_id}-{row['sequence']}", row["message"]))
        status.timestamp.FromDatetime(datetime.fromisoformat(row["created_at"]))
        about = {name: row["data"][name] for name in ("progress",) if name in row["data"]}
        return TaskStatusUpdateEvent(
            task_id=self.task_id, context_id=self.context_id, status=status, metadata=struct(about)
        )


def telling_of(row: Row) -> Telling:
    """Return the telling of a task that the client knows nothing of yet."""
    return Telling(str(row["id"]), context_of(row))
