"""What a LangGraph server says of a run and of the thread it left, as far as it matters here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

# The SDK puts it into paths as it is.
RunId = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[0-9A-Za-z-]+$")]
RUN_ID: TypeAdapter[str] = TypeAdapter(RunId)


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Interrupt(_Seen):
    """A question of the graph."""

    id: str = Field(max_length=512)
    value: Any = None


class GraphTask(_Seen):
    """A node that the thread stopped at."""

    interrupts: list[Interrupt] = []
    error: Any = None


class State(_Seen):
    """A thread after a run: `next` are the nodes that would come."""

    values: Any = None
    next: list[str] = []
    tasks: list[GraphTask] = []

    @property
    def interrupts(self) -> list[Interrupt]:
        """The questions of all nodes."""
        return [interrupt for task in self.tasks for interrupt in task.interrupts]


class Run(_Seen):
    """A run; `metadata` is what was given to it."""

    run_id: RunId
    status: str
    metadata: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        """Whether it will change no more."""
        return self.status not in {"pending", "running"}


RUNS: TypeAdapter[list[Run]] = TypeAdapter(list[Run])
STATES: TypeAdapter[list[State]] = TypeAdapter(list[State])
