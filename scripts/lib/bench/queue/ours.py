"""Our side of the contest: worker processes on the stack, with the Supabase client through gateway and PostgREST."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.queue.contest import Run
from bench.queue.database import NOOP, WRITE
from bench.queue.lab import Lab
from bench.queue.process import Process, running
from localstack.instance import Instance

DEFAULT_CONCURRENCY = 10
SETTINGS = {f"concurrency {number}": number for number in (100, 300, 1000)}
KEPT = {"PATH", "HOME", "LANG", "PYTHONPATH"}  # Of the caller's variables; no other setting is to get in.
END_SECONDS = 900.0


@contextmanager
def worker(
    stack: Instance, concurrency: int, *flags: str, module: str = "bench.queue.worker", **variables: str
) -> Iterator[Process]:
    """A worker process that is ready to go; `flags` as its module takes them, `variables` are its settings."""
    environment = {name: value for name, value in os.environ.items() if name in KEPT} | {
        "SUPABASE_URL": stack.url,
        "SUPABASE_SERVICE_ROLE_KEY": stack.keys.service_role_key,
        "WORKER_CONCURRENCY": str(concurrency),
        "DATABASE_URL": "",
        "LOG_LEVEL": "ERROR",
    }
    with running([sys.executable, "-m", module, *flags], environment | variables) as process:
        yield process


class Ours:
    """Drains with one worker process, or several at once."""

    name = "ours"

    def __init__(self, lab: Lab, method: str = NOOP, settings: Sequence[str] = tuple(SETTINGS)) -> None:
        self.settings = settings
        self._lab = lab
        self._method = method

    def drain(self, tasks: int, setting: str) -> Run:
        """Drain with one worker that writes no log lines, as the peers."""
        return self.drain_with(tasks, setting)

    def drain_with(self, tasks: int, setting: str, workers: int = 1, **variables: str) -> Run:
        """Drain with so many workers, each in this setting; `variables` are settings of theirs."""
        database, meter = self._lab.database, self._lab.meter
        database.wipe()
        database.fill(tasks, self._method)
        database.settle()
        with ExitStack() as open_processes:
            processes = [
                open_processes.enter_context(worker(self._lab.stack, SETTINGS[setting], "--once", **variables))
                for _ in range(workers)
            ]
            before = meter.read()
            for process in processes:
                process.go()
            ended: list[dict[str, Any]] = [process.result(END_SECONDS) for process in processes]
            cpu = meter.since(before) | {"client": sum(found["cpu_seconds"] for found in ended)}
        if left := database.unfinished():
            raise SystemExit(f"bench: our workers left {left} of {tasks} tasks")
        if self._method == WRITE and (written := database.written()) != database.completed():
            raise SystemExit(f"bench: our worker wrote {written} deliverables and messages for {tasks} tasks")
        return Run(database.completed(), database.span(), cpu, max(process.peak for process in processes))
