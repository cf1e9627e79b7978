"""The steps of an attempt as they are recorded: what was asked of whom, what came back, how long it took, what it cost.

A handler records a step around what it does::

    with job.step("http_request", "POST api.example.com", {"city": "Vienna"}) as step:
        step.output = await ask(...)

What is deeper in, and has no job at hand, calls `step(...)` of this module: it belongs to the attempt that runs there.
A step that raises ends as failed, one that is stopped as cancelled; a pause is no failure. Recording never raises and
never waits: steps travel with the attempt's reports, the last ones with its last word. Secrets are hidden before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from workers.clean import clean_text
from workers.contract import ClaimedTask
from workers.errors import PauseNeeded, TaskFailure
from workers.ledger import UsageRow
from workers.packing import encode_json
from workers.redaction import Veil
from workers.reports import ReportQueue

StepType = Literal["llm_call", "tool_call", "agent_call", "http_request", "input_request", "transform"]
StepStatus = Literal["running", "completed", "failed", "cancelled"]

MAX_STEPS = 10_000  # Of one run; the database takes no more.
MAX_VALUE_BYTES = 200_000  # Of an input or output; of more the beginning is kept.
MAX_RUN_BYTES = 20_000_000  # Of all inputs and outputs of a run; after that only what was done is kept.
_MAX_ERROR_CHARS = 2000
_SHOWN_AFTER = 0.5  # Seconds after which a step that still runs is shown.


class Step:
    """One step; set `output` and `metadata` while it runs. Without a trace it records nothing."""

    __slots__ = (
        "_timer",
        "_trace",
        "began_at",
        "ended_at",
        "error",
        "input",
        "metadata",
        "name",
        "number",
        "output",
        "status",
        "type",
        "usage",
    )

    def __init__(self, trace: Trace | None, number: int, type_: StepType, name: str, given: Any) -> None:
        self._trace = trace
        self._timer: asyncio.TimerHandle | None = None
        self.number = number
        self.type = type_
        self.name = name
        self.input = given
        self.output: Any = None
        self.metadata: dict[str, Any] = {}
        self.usage: UsageRow | None = None
        self.status: StepStatus = "running"
        self.error: str | None = None
        self.began_at = time.time()
        self.ended_at: float | None = None

    @property
    def is_kept(self) -> bool:
        """Whether anybody will see it; what is costly to note down need not be when nobody does."""
        return self._trace is not None

    def fail(self, problem: str) -> None:
        """Say that it did not work, although nothing is raised."""
        self.status, self.error = "failed", problem

    def __enter__(self) -> Self:
        if self._trace is not None:
            self._timer = self._trace.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._trace is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if error is not None and not isinstance(error, PauseNeeded):
            self.error = problem_of(error)
            self.status = "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
        elif self.status == "running":
            self.status = "completed"
        self.ended_at = time.time()
        self._trace.end(self)


class Watcher(Protocol):
    """Who follows traces beside the database; called on the agents' loop, and returns at once."""

    def step_ended(self, claimed: ClaimedTask, step: Step, veil: Veil) -> None:
        """Take note of a step."""

    def run_ended(self, claimed: ClaimedTask, began_at: float, error_code: str | None) -> None:
        """Take note of an attempt that began at `began_at` (as of time.time()) and ended now."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """What is traced: `store` sends steps to the database, `watcher` hears of them too."""

    store: bool = True
    watcher: Watcher | None = None


@dataclass(slots=True)
class Trace:
    """Records the steps of one attempt."""

    claimed: ClaimedTask
    queue: ReportQueue
    veil: Veil
    tracing: Tracing = field(default_factory=Tracing)
    _steps: int = 0
    _bytes: int = 0

    def step(self, type_: StepType, name: str, given: Any = None) -> Step:
        """Return a step to be entered; after `MAX_STEPS` one that records nothing."""
        if self._steps >= MAX_STEPS or not (self.tracing.store or self.tracing.watcher):
            return Step(None, 0, type_, name, given)
        self._steps += 1
        return Step(self, self._steps, type_, name, given)

    def begin(self, step: Step) -> asyncio.TimerHandle | None:
        """Show a step that takes long while it runs."""
        if not self.tracing.store:
            return None
        return asyncio.get_running_loop().call_later(_SHOWN_AFTER, self._keep, step)

    def end(self, step: Step) -> None:
        """Keep a step that has ended."""
        if self.tracing.store:
            self._keep(step)
        if self.tracing.watcher is not None:
            self.tracing.watcher.step_ended(self.claimed, step, self.veil)

    def _keep(self, step: Step) -> None:
        body = _body(step)
        packed = self._packed(body)
        if len(packed) > MAX_VALUE_BYTES or self._bytes + len(packed) > MAX_RUN_BYTES:
            self._shorten(body)
            packed = self._packed(body)
        self._bytes += len(packed)
        self.queue.step(self.claimed.lease, step.number, packed)

    def _packed(self, body: Mapping[str, Any]) -> bytes:
        packed = encode_json(body)
        return encode_json(self.veil.json(body)) if self.veil.seen_in(packed) else packed

    def _shorten(self, body: dict[str, Any]) -> None:
        """Keep of values that are too large the beginning, or nothing when the run has had its share."""
        spent = self._bytes >= MAX_RUN_BYTES - MAX_VALUE_BYTES
        for name in {"input", "output", "metadata"} & body.keys():
            # Hidden first: half a secret would not be found.
            encoded = encode_json(self.veil.json(body[name]))
            if spent or len(encoded) > MAX_VALUE_BYTES // 3:
                kept = "" if spent else encoded[: MAX_VALUE_BYTES // 3].decode(errors="ignore")
                body[name] = {} if name == "metadata" else kept
                body["metadata"] = {**(body.get("metadata") or {}), f"{name}_bytes": len(encoded)}


def problem_of(error: BaseException) -> str:
    """Return what is kept of an error: our own in full, of others the kind, as their texts may hold anything."""
    if isinstance(error, TaskFailure):
        return f"{error.code}: {error.message}"[:_MAX_ERROR_CHARS]
    if isinstance(error, asyncio.CancelledError):
        return f"Stopped: {error.args[0]}." if error.args else "Stopped."
    return type(error).__name__


def _body(step: Step) -> dict[str, Any]:
    body: dict[str, Any] = {
        "sequence_number": step.number,
        "type": step.type,
        "name": clean_text(step.name)[:255],
        "status": step.status,
        "started_at": _moment(step.began_at),
    }
    if step.ended_at is not None:
        body["completed_at"] = _moment(step.ended_at)
    if step.error is not None:
        body["error_message"] = step.error
    if step.usage is not None:
        row = step.usage
        body |= {"input_tokens": row.input_tokens, "output_tokens": row.output_tokens, "cost": row.cost}
    for name in ("input", "output", "metadata"):
        if (value := getattr(step, name)) not in (None, {}):
            body[name] = value
    return body


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def follow(trace: Trace) -> None:
    """Let `step` of this module record in `trace` from now on, in this asyncio task and those it starts."""
    _current.set(trace)


def step(type_: StepType, name: str, given: Any = None) -> Step:
    """Return a step of the attempt that runs here; one that records nothing where none does."""
    trace = _current.get()
    return Step(None, 0, type_, name, given) if trace is None else trace.step(type_, name, given)
