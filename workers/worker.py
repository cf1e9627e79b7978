"""Puts a worker together: agents on the caller's loop, the exchange in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Any

from structlog.typing import FilteringBoundLogger

from workers.exchange import Connect, Exchange
from workers.job import Handler
from workers.ports import ExchangeOptions, Observer
from workers.redaction import Redactor
from workers.runner import Runner
from workers.trace import Tracing

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """One worker process's work; made and run on the loop on which its agents will run."""

    def __init__(  # noqa: PLR0913 - here a worker is put together from its parts
        self,
        options: ExchangeOptions,
        handlers: Mapping[str, Handler],
        connect: Connect,
        log: FilteringBoundLogger,
        observer: Observer | None = None,
        *,
        redactor: Redactor | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._connect = connect
        self._log = log
        self._runner = Runner(handlers, log, observer, redactor, tracing)
        self.exchange = Exchange(options, self._runner, _describe(options), log)
        self._runner.attach(self.exchange.queue)

    async def run(self) -> None:
        """Work until drained, or with `once` until nothing is pending.

        Raises:
            BackendError: the database cannot be worked with.
        """
        ended: Future[None] = Future()
        # A daemon, so that a second signal can end the process although a request hangs.
        thread = threading.Thread(target=self._exchange, args=(ended,), name="exchange", daemon=True)
        thread.start()
        try:
            await asyncio.shield(asyncio.wrap_future(ended))
        finally:
            self.exchange.drain()
            await self._runner.close()
        thread.join(timeout=1.0)

    def drain(self) -> None:
        """Begin to leave; from any thread, and from a signal handler."""
        self.exchange.drain()

    @property
    def running(self) -> int:
        """How many attempts hold a slot."""
        return self.exchange.queue.running

    @property
    def waiting(self) -> int:
        """How many last words the database has not taken yet."""
        return self.exchange.queue.waiting

    @property
    def draining(self) -> bool:
        """Whether the worker is leaving."""
        return self.exchange.draining

    def _exchange(self, ended: Future[None]) -> None:
        try:
            asyncio.run(self.exchange.run(self._connect))
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)


def keep_what_is_loaded() -> None:
    """Tell the garbage collector that everything there is by now stays; for a process that is about to work.

    Else each of its rounds goes over the modules and clients again, which at thousands of short attempts a second is
    a sixth of all CPU time.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def drain_on_signals(worker: Worker) -> Iterator[None]:
    """Drain on the first SIGTERM or SIGINT, leave at once on the second.

    Plain handlers rather than the loop's: they run although an agent blocks the loop. They take no lock, since
    they interrupt code that may hold it.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if worker.exchange.draining:
            os._exit(128 + number)
        worker.drain()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe(options: ExchangeOptions) -> dict[str, Any]:
    try:
        release = version("orchestrator-ai")
    except PackageNotFoundError:
        release = "source"
    return {
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "version": release,
        "concurrency": options.concurrency,
        "methods": options.methods,
        "organizations": options.organizations,
    }
