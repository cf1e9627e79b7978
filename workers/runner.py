"""Runs attempts: one asyncio task each, on the agents' loop, with a deadline, ending in exactly one last word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

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
)
from workers.errors import TaskFailure
from workers.job import Handler, Job
from workers.reports import ReportQueue


class Runner:
    """The attempts of one worker. `start` and `stop` may be called from any thread; the rest is the loop's."""

    def __init__(self, handlers: Mapping[str, Handler], log: FilteringBoundLogger) -> None:
        self._handlers = handlers
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[Lease, asyncio.Task[None]] = {}
        self._stopped: dict[Lease, StopReason] = {}
        self._queue: ReportQueue | None = None

    def attach(self, queue: ReportQueue) -> None:
        """Say where attempts report to; needed before the first start."""
        self._queue = queue

    def start(self, claimed: ClaimedTask) -> None:
        """Begin an attempt."""
        self._loop.call_soon_threadsafe(self._start, claimed)

    def stop(self, lease: Lease, reason: StopReason) -> None:
        """Stop an attempt if it is still running."""
        self._loop.call_soon_threadsafe(self._stop, lease, reason)

    async def close(self) -> None:
        """Stop whatever still runs and wait for it."""
        for lease in list(self._tasks):
            self._stop(lease, "released")
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _start(self, claimed: ClaimedTask) -> None:
        if self._queue is None:
            raise RuntimeError("attach() was not called")
        job = Job(claimed, self._queue)
        self._tasks[claimed.lease] = self._loop.create_task(self._run(job, self._queue))

    def _stop(self, lease: Lease, reason: StopReason) -> None:
        task = self._tasks.get(lease)
        if task is not None and not task.done():
            self._stopped.setdefault(lease, reason)
            task.cancel()

    async def _run(self, job: Job, queue: ReportQueue) -> None:
        lease = job.claimed.lease
        started = time.monotonic()
        item: ReportItem | None = None
        failure: TaskFailure | None = None
        try:
            item = completed(lease, await self._attempt(job))
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
            reason = self._stopped.pop(lease, None)
            if reason is not None:
                item = ReportItem("released", lease) if reason == "released" else None
            queue.finish(lease, item)
            self._log_line(job.claimed, item, reason, failure, time.monotonic() - started)

    async def _attempt(self, job: Job) -> Completion:
        """Run the handler within its time.

        Raises:
            TaskFailure: the attempt failed; every other error of the handler is turned into this.
        """
        task = job.claimed.task
        handler = self._handlers.get(task.method)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise TaskFailure("method_unsupported", f"This worker runs the methods {known}, not {task.method!r}.")
        seconds = task.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await handler(job)
        except TaskFailure:
            raise
        except TimeoutError as error:
            if limit.expired():
                raise TaskFailure(
                    "timeout", f"The attempt took longer than its {seconds:g} seconds.", retryable=True
                ) from None
            raise self._bug(job, error) from error
        except Exception as error:
            raise self._bug(job, error) from error

    def _bug(self, job: Job, error: BaseException) -> TaskFailure:
        self._log.error("internal_error", task_id=job.claimed.task.id, exc_info=error)
        return TaskFailure(
            "internal_error", "The worker made a mistake; the operator finds it in its log.", retryable=True
        )

    def _log_line(
        self,
        claimed: ClaimedTask,
        item: ReportItem | None,
        reason: StopReason | None,
        failure: TaskFailure | None,
        seconds: float,
    ) -> None:
        """Write the one line of an attempt."""
        outcome = item.kind if item is not None else reason
        self._log.info(
            "task",
            task_id=claimed.task.id,
            organization=claimed.task.organization_slug,
            agent=claimed.task.agent_slug,
            method=claimed.task.method,
            attempt=claimed.attempt,
            outcome=outcome,
            duration_ms=round(seconds * 1000),
            error_code=failure.code if failure is not None else None,
        )
