"""The tools `save_data` and `read_data`: what agents leave for later steps, in `workflow_data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, JsonValue, StringConstraints
from pydantic_ai import ModelRetry, Tool
from pydantic_core import to_json

from workers.backend import Backend
from workers.contract import ClaimedTask
from workers.errors import BackendError, BackendRejected, TaskFailure

_MAX_VALUE_BYTES = 200_000
_MAX_TOLD_CHARS = 32_000

_Key = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
_Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
_Tags = Annotated[list[_Tag], Field(max_length=20)]


@dataclass(frozen=True, slots=True)
class _SharedData:
    """The two tools of one attempt."""

    claimed: ClaimedTask
    database: Backend

    async def save_data(self, key: _Key, value: JsonValue, tags: _Tags | None = None) -> str:
        """Leave a value for later steps and other agents of this work. The latest value of a key counts.

        Args:
            key: The name by which it is read again.
            value: Any JSON.
            tags: What it belongs to, for people who look for it.
        """
        if len(to_json(value)) > _MAX_VALUE_BYTES:
            raise ModelRetry(f"The value is larger than {_MAX_VALUE_BYTES} bytes: save a shorter one.")
        await self._call("write_workflow_data", {"key": key, "value": value, "tags": tags or []})
        return f"Saved as {key}."

    async def read_data(self, key: _Key) -> str:
        """Read the latest value that this or another agent of this work has saved under a key.

        Args:
            key: The name under which it was saved.
        """
        found = await self._call("read_workflow_data", {"key": key})
        if found is None:
            return f"Nothing is saved as {key}."
        text = to_json(found["value"]).decode()
        if len(text) > _MAX_TOLD_CHARS:
            return f"{text[:_MAX_TOLD_CHARS]}\n[cut off after {_MAX_TOLD_CHARS} characters]"
        return text

    async def _call(self, function: str, arguments: dict[str, Any]) -> Any:
        task_id, attempt, token = self.claimed.lease
        fence = {"task_id": task_id, "attempt": attempt, "lease_token": token}
        try:
            return await self.database.call(function, fence | arguments)
        except BackendRejected as refusal:
            raise ModelRetry(f"This was refused: {refusal.token}.") from None
        except BackendError:
            raise TaskFailure(
                "internal_error", "The worker could not reach the data that agents share.", retryable=True
            ) from None


def data_tools(claimed: ClaimedTask, database: Backend) -> list[Tool[None]]:
    """Return the tools by which a model saves and reads shared data."""
    shared = _SharedData(claimed, database)
    return [Tool[None](shared.save_data, max_retries=2), Tool[None](shared.read_data, max_retries=2)]
