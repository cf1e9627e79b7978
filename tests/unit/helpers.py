"""What several tests of the engine need: options, a worker on the fake, waiting for a condition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from tests.unit.fake_backend import FakeBackend
from workers.contract import Completion
from workers.job import Handler, Job
from workers.ports import ExchangeOptions
from workers.worker import Worker


def quiet_log(target: StringIO | None = None) -> FilteringBoundLogger:
    """Return a logger that writes JSON lines to `target`, by default to nowhere."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(target or StringIO()),
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(20),
    )
    return logger


def options(**changes: Any) -> ExchangeOptions:
    """Return options for fast tests."""
    defaults: dict[str, Any] = {
        "worker_id": "w1",
        "concurrency": 4,
        "lease_seconds": 30,
        "poll_interval": 0.05,
        "drain_seconds": 2.0,
    }
    return ExchangeOptions(**{**defaults, **changes})


async def echo(job: Job) -> Completion:
    """Answer with the prompt."""
    return Completion(response=job.claimed.task.prompt)


@asynccontextmanager
async def running(
    backend: FakeBackend, handlers: Mapping[str, Handler] | None = None, log: StringIO | None = None, **changes: Any
) -> AsyncIterator[Worker]:
    """Run a worker on the fake, and drain it at the end."""
    worker = Worker(options(**changes), handlers or {"echo": echo}, backend.connect, quiet_log(log))
    work = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.drain()
        await asyncio.wait_for(work, 15)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not come true in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.01)
