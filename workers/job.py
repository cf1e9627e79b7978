"""An attempt as its handler sees it.

An attempt that is stopped gets a CancelledError whose argument says why: `timeout` when its time is up, else a
`StopReason`. What it still does then is to be short: its slot is taken until it has ended.

A handler that needs a person raises `InputNeeded(InputRequest(...), checkpoint={...})`. The task pauses and holds no
worker; once the question is closed the handler is called again, with the checkpoint in `job.claimed.checkpoint` and
what became of the question in `job.claimed.answer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.contract import ClaimedTask, Completion, EventType, ReportItem
from workers.redaction import Veil
from workers.reports import ReportQueue
from workers.trace import Step, StepType, Trace, Tracing

Handler = Callable[["Job"], Awaitable[Completion]]


@dataclass(frozen=True, slots=True)
class Job:
    """What to do, and how to say how it goes; `veil` hides the organization's secrets in it."""

    claimed: ClaimedTask
    queue: ReportQueue
    veil: Veil = field(default_factory=Veil)
    tracing: Tracing = field(default_factory=Tracing)
    trace: Trace = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trace", Trace(self.claimed, self.queue, self.veil, self.tracing))

    def progress(self, percent: float, message: str | None = None) -> None:
        """Say how far the attempt is, 0 to 100."""
        self.queue.progress(self.claimed.lease, percent, self.veil.json(message))

    def partial(self, text: str) -> None:
        """Stream the next piece of the response."""
        if shown := self.veil.stream(text):
            self.queue.partial(self.claimed.lease, shown)

    def event(self, event_type: EventType, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Leave an entry in the task's trail."""
        self.queue.event(self.claimed.lease, event_type, self.veil.text(message), self.veil.json(data))

    def step(self, type_: StepType, name: str, given: Any = None) -> Step:
        """Record a step of the run, as a context manager; `given` is its input, any JSON value."""
        return self.trace.step(type_, name, given)

    def finish(self, item: ReportItem | None) -> None:
        """Free the attempt's slot, after the end of what was streamed; `item` is its last word, if it has one."""
        if rest := self.veil.rest():
            self.queue.partial(self.claimed.lease, rest)
        self.queue.finish(self.claimed.lease, item, self.veil)
