"""Runs attempts: one asyncio task each, on the agents' loop, with a deadline, ending in exactly one last word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from structlog.typing import FilteringBoundLogger

from workers.contract import (
    DEFAULT_TIMEOUT_SECONDS,
    ClaimedTask,
    Completion,
    Lease,
    ReportItem,
    StopReason,
    completed,
    failed,
    paused,
)
from workers.errors import AttemptStopped, PauseNeeded, TaskFailure
from workers.job import Handler, Job
from workers.ports import Observer, Unobserved
from workers.redaction import Redactor, Veil
from workers.reports import ReportQueue
from workers.trace import Tracing, follow


class Runner:
    """The attempts of one worker. `start` and `stop` may be called from any thread; the rest is the loop's."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        log: FilteringBoundLogger,
        observer: Observer | None = None,
        redactor: Redactor | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._handlers = handlers
        self._log = log
        self._observer = observer or Unobserved()
        self._redactor = redactor or Redactor()
        self._tracing = tracing or Tracing()
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[Lease, asyncio.Task[None]] = {}
        self._stopped: dict[Lease, StopReason] = {}
        self._expired: set[Lease] = set()
        self._queue: ReportQueue | None = None

    def attach(self, queue: ReportQueue) -> None:
        """Say where attempts report to; needed before the first start."""
        self._queue = queue

    def start(self, tasks: Sequence[ClaimedTask]) -> None:
        """Begin attempts."""
        self._loop.call_soon_threadsafe(self._start, tasks)

    def stop(self, lease: Lease, reason: StopReason) -> None:
        """Stop an attempt if it is still running."""
        self._loop.call_soon_threadsafe(self._stop, lease, reason)

    async def close(self) -> None:
        """Stop whatever still runs and wait for it."""
        for lease in list(self._tasks):
            self._stop(lease, "released")
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _start(self, tasks: Sequence[ClaimedTask]) -> None:
        if self._queue is None:
            raise RuntimeError("attach() was not called")
        for claimed in tasks:
            lease = claimed.lease
            job = Job(claimed, self._queue, Veil(self._redactor, claimed.task.organization_slug), self._tracing)
            self._tasks[lease] = self._loop.create_task(self._run(job, lease))

    def _stop(self, lease: Lease, reason: StopReason) -> None:
        task = self._tasks.get(lease)
        if task is not None and not task.done():
            self._stopped.setdefault(lease, reason)
            task.cancel(reason)

    def _expire(self, lease: Lease) -> None:
        """Stop an attempt whose time is up."""
        task = self._tasks.get(lease)
        if task is not None and lease not in self._stopped:
            self._expired.add(lease)
            task.cancel("timeout")

    async def _run(self, job: Job, lease: Lease) -> None:
        follow(job.trace)
        began_at, started = time.time(), time.monotonic()
        item: ReportItem | None = None
        failure: TaskFailure | None = None
        try:
            item = completed(lease, await self._attempt(job, lease))
        except PauseNeeded as needed:
            item = paused(lease, needed)
        except TaskFailure as error:
            failure = error
            item = failed(lease, error)
        except asyncio.CancelledError as error:
            if lease not in self._stopped:  # Not ours: the handler cancelled itself.
                failure = self._bug(job, error)
                item = failed(lease, failure)
        except BaseException as error:  # SystemExit and its like: the attempt still says that it is over.
            failure = self._bug(job, error)
            item = failed(lease, failure)
        finally:
            self._tasks.pop(lease, None)
            self._expired.discard(lease)
            reason = self._stopped.pop(lease, None)
            if reason is not None:
                item = ReportItem("released", lease) if reason == "released" else None
            job.finish(item)
            if self._tracing.watcher is not None:
                self._tracing.watcher.run_ended(job.claimed, began_at, failure.code if failure is not None else reason)
            seconds = time.monotonic() - started
            outcome = item.kind if item is not None else str(reason)
            self._observer.attempt_ended(job.claimed.task.method, outcome, seconds, job.claimed.task.queue_seconds)
            self._log_line(job.claimed, outcome, item, failure, seconds)

    async def _attempt(self, job: Job, lease: Lease) -> Completion:
        """Run the handler within its time.

        Raises:
            PauseNeeded: the handler asks a person, or calls other agents.
            TaskFailure: the attempt failed; every other error of the handler is turned into this.
        """
        task = job.claimed.task
        handler = self._handlers.get(task.method)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise TaskFailure("method_unsupported", f"This worker runs the methods {known}, not {task.method!r}.")
        seconds = task.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        # Not asyncio.timeout: for a short attempt it costs as much as all the rest of it.
        timer = self._loop.call_later(seconds, self._expire, lease)
        try:
            return await handler(job)
        except (PauseNeeded, TaskFailure):
            raise
        except asyncio.CancelledError as error:
            if lease not in self._expired:
                raise
            problem = f"The attempt took longer than its {seconds:g} seconds."
            cost = error.usage if isinstance(error, AttemptStopped) else ()
            raise TaskFailure("timeout", problem, retryable=True).with_usage(cost) from None
        except Exception as error:
            raise self._bug(job, error) from error
        finally:
            timer.cancel()

    def _bug(self, job: Job, error: BaseException) -> TaskFailure:
        task = job.claimed.task
        self._log.error("internal_error", task_id=task.id, organization=task.organization_slug, exc_info=error)
        return TaskFailure(
            "internal_error", "The worker made a mistake; the operator finds it in its log.", retryable=True
        )

    def _log_line(
        self,
        claimed: ClaimedTask,
        outcome: str,
        item: ReportItem | None,
        failure: TaskFailure | None,
        seconds: float,
    ) -> None:
        """Write the one line of an attempt."""
        self._log.info(
            "task",
            task_id=claimed.task.id,
            organization=claimed.task.organization_slug,
            agent=claimed.task.agent_slug,
            method=claimed.task.method,
            attempt=claimed.attempt,
            outcome=outcome,
            duration_ms=round(seconds * 1000),
            queue_seconds=claimed.task.queue_seconds,
            error_code=failure.code if failure is not None else None,
            **_usage(item),
        )


def _usage(item: ReportItem | None) -> dict[str, int | float]:
    """Return the tokens of an attempt, and their cost in US dollars unless that of any call is not known."""
    rows = () if item is None else item.body.get("usage", ())
    if not rows:
        return {}
    tokens = {name: sum(row[name] for row in rows) for name in ("input_tokens", "output_tokens")}
    costs = [row["cost"] for row in rows]
    return tokens if None in costs else {**tokens, "cost": round(sum(costs), 6)}
