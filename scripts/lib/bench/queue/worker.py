"""A worker process whose handlers do nothing: what remains is the engine. Run by the benches, see process.py.

Says `ready`, waits for a line on standard input, works until drained, and prints one JSON object:
{handled, cpu_seconds, picked: [[sent_at, picked_at]], claims: [[began_at, seconds, tasks, [sent_at]]]}, times as of
time.time(); a task carries the time at which it was sent in its params.
"""

import argparse
import asyncio
import functools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from bench.queue.database import NOOP, WRITE
from workers.backend import Backend, ExchangeRequest, connect
from workers.contract import ClaimedTask, Completion, Deliverable, ExchangeAnswer
from workers.exchange import Connect
from workers.job import Handler, Job
from workers.logs import build_logger
from workers.ports import ExchangeOptions
from workers.settings import Settings, load_settings
from workers.trace import Tracing
from workers.wakeup import wake_up
from workers.worker import Worker, drain_on_signals

Claim = tuple[float, float, int, list[float]]

TEXT = "A paragraph of a thousand characters, as an agent might write it. " * 15


def sent_at(claimed: ClaimedTask) -> float | None:
    """The time that a task carries."""
    params = claimed.task.params
    return cast(float, params.get("sent_at")) if isinstance(params, dict) else None


class Handlers:
    """The two methods, and that of project steps, and what they saw."""

    def __init__(self) -> None:
        self.handled = 0
        self.picked: list[tuple[float, float]] = []

    async def noop(self, job: Job) -> Completion:
        """Do nothing; a task that carries the time at which it was sent is remembered with the present time."""
        self.handled += 1
        at = sent_at(job.claimed)
        if at is not None:
            self.picked.append((at, time.time()))
        return Completion(response="Done.")

    async def write(self, _job: Job) -> Completion:
        """A deliverable version and a message."""
        self.handled += 1
        deliverable = Deliverable(title="Bench", type="text", format="markdown", content=TEXT)
        return Completion(response=TEXT, deliverable=deliverable, messages=[{"content": TEXT}])


class ClockedBackend:
    """A backend that notes how long each exchange took that asked for tasks."""

    def __init__(self, backend: Backend, claims: list[Claim]) -> None:
        self._backend = backend
        self._claims = claims

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:
        """Exchange and note."""
        began_at = time.time()
        began = time.perf_counter()
        answer = await self._backend.exchange_work(worker_id, request)
        if request.max_tasks:
            times = [at for claimed in answer.tasks if (at := sent_at(claimed)) is not None]
            self._claims.append((began_at, time.perf_counter() - began, len(answer.tasks), times))
        return answer

    def __getattr__(self, name: str) -> Any:
        """Everything else is the backend's own."""
        return getattr(self._backend, name)


def clocked(connect_plainly: Connect, claims: list[Claim]) -> Connect:
    """The same connection, with a clock."""

    @asynccontextmanager
    async def connect_with_clock() -> AsyncIterator[Backend]:
        async with connect_plainly() as backend:
            yield cast(Backend, ClockedBackend(backend, claims))

    return connect_with_clock


async def work(
    settings: Settings,
    handlers: Mapping[str, Handler],
    claims: list[Claim] | None = None,
    tracing: Tracing | None = None,
) -> None:
    """Work until drained; notes claims when given a list for them."""
    backend: Connect = functools.partial(
        connect,
        settings.supabase_url,
        settings.supabase_key,
        key_variable=settings.supabase_key_variable,
        timeout_seconds=settings.request_timeout,
    )
    log = build_logger(settings.log_format, settings.log_level)
    worker = Worker(
        ExchangeOptions(
            worker_id=settings.worker_id,
            concurrency=settings.concurrency,
            lease_seconds=settings.lease_seconds,
            poll_interval=settings.poll_interval,
            drain_seconds=settings.drain_seconds,
            once=settings.once,
        ),
        handlers,
        backend if claims is None else clocked(backend, claims),
        log,
        tracing=tracing,
    )
    with drain_on_signals(worker), wake_up(settings.database_url, worker.exchange.poll_now, log):
        await worker.run()


def main() -> None:
    """Settings come from the environment alone, as for `python -m workers run`, but never from a .env file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when nothing is pending")
    parser.add_argument("--claims", action="store_true", help="note every claim")
    options = parser.parse_args()
    settings = load_settings(os.environ, once=options.once or None)
    claims: list[Claim] | None = [] if options.claims else None
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    handlers = Handlers()
    asyncio.run(work(settings, {NOOP: handlers.noop, WRITE: handlers.write, "converse": handlers.noop}, claims))
    seen = {"handled": handlers.handled, "picked": handlers.picked, "claims": claims or []}
    print(json.dumps(seen | {"cpu_seconds": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
