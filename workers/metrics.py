"""The numbers that operators watch: attempts, exchanges, and how the worker is, in a registry of its own.

`metrics_server` serves them. Counting costs about two microseconds per attempt.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from workers.backend import Backend, ExchangeRequest
from workers.contract import ExchangeAnswer
from workers.errors import AnswerUnreadable, BackendError, BackendUnavailable
from workers.exchange import Connect
from workers.ports import Vitals

_PREFIX = "orchestrator_worker"
_ATTEMPT_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
_WAIT_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600)
_EXCHANGE_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The numbers of one worker; an `Observer` of its attempts, and of its exchanges through `observing`.

    `answer_within` is how old the last answer of the database may be, in seconds, before the worker counts as unwell.
    """

    def __init__(self, *, slots: int, answer_within: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._answer_within = answer_within
        self._clock = clock
        self._began_at = clock()
        self._answered_at: float | None = None
        self._draining: Callable[[], bool] = lambda: False
        self._attempts = self._counter("attempts", "Attempts that ended.", "method", "outcome")
        self._seconds = self._histogram("attempt_seconds", "How long attempts took.", _ATTEMPT_SECONDS, "method")
        self._waits = self._histogram(
            "queue_wait_seconds", "How long tasks were due before they were claimed.", _WAIT_SECONDS, "method"
        )
        self._exchanges = self._counter("exchanges", "Requests to the database, by what became of them.", "result")
        self._latency = self._histogram("exchange_seconds", "How long answered exchanges took.", _EXCHANGE_SECONDS)
        self._heartbeats = self._counter("heartbeats", "Heartbeats that the database has answered.")
        self._gauge("slots", "How many attempts may run at once.").set(slots)
        age = self._gauge("seconds_since_answer", "Age of the database's last answer; before it, of the worker.")
        age.set_function(self.seconds_since_answer)
        # Looking a label up costs more than counting: once for each.
        self._attempts_of: dict[tuple[str, str], Counter] = {}
        self._histograms_of: dict[str, tuple[Histogram, Histogram]] = {}
        ProcessCollector(registry=self.registry)

    def watch(self, worker: Vitals) -> None:
        """Show how this worker is whenever somebody asks."""
        self._draining = lambda: worker.draining
        self._gauge("running", "Attempts that hold a slot.").set_function(lambda: worker.running)
        self._gauge("reports_waiting", "Attempts that ended and the database has not taken that yet.").set_function(
            lambda: worker.waiting
        )
        self._gauge("draining", "1 while the worker is leaving.").set_function(lambda: worker.draining)

    def attempt_ended(self, method: str, outcome: str, seconds: float, waited: float | None) -> None:
        """Count an attempt; of the agents' loop only."""
        counter = self._attempts_of.get((method, outcome))
        if counter is None:
            counter = self._attempts_of[method, outcome] = self._attempts.labels(method, outcome)
        histograms = self._histograms_of.get(method)
        if histograms is None:
            histograms = self._histograms_of[method] = (self._seconds.labels(method), self._waits.labels(method))
        counter.inc()
        histograms[0].observe(seconds)
        if waited is not None:
            histograms[1].observe(waited)

    def exchange_answered(self, seconds: float, heartbeats: int) -> None:
        """Count an exchange that the database has answered, and the heartbeats it carried."""
        self._answered_at = self._clock()
        self._exchanges.labels("answered").inc()
        self._heartbeats.inc(heartbeats)
        self._latency.observe(seconds)

    def exchange_failed(self, result: Literal["unavailable", "refused", "unreadable"]) -> None:
        """Count an exchange without an answer that is of use."""
        self._exchanges.labels(result).inc()

    def seconds_since_answer(self) -> float:
        """Return how old the last answer of the database is, or the worker itself before the first."""
        return self._clock() - (self._began_at if self._answered_at is None else self._answered_at)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the worker is well, and what to say of it."""
        age = self.seconds_since_answer()
        reason = None
        if self._answered_at is None:
            reason = "The database has not answered yet."
        elif age > self._answer_within:
            reason = f"The database has not answered for {age:.1f} seconds; {self._answer_within:g} are allowed."
        body: dict[str, Any] = {"status": "ok" if reason is None else "unwell", "draining": self._draining()}
        body["seconds_since_answer"] = round(age, 1)
        return reason is None, body if reason is None else {**body, "reason": reason}

    def observing(self, connect: Connect) -> Connect:
        """Return `connect` with every exchange counted."""

        @asynccontextmanager
        async def observed() -> AsyncIterator[Backend]:
            async with connect() as backend:
                yield _ObservedBackend(backend, self)

        return observed

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, labels, registry=self.registry, buckets=buckets)


class _ObservedBackend:
    """A backend whose exchanges are counted; each try is one."""

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self.register_worker = backend.register_worker
        self.claim_schedules = backend.claim_schedules
        self.fire_schedules = backend.fire_schedules
        self.stop_worker = backend.stop_worker
        self.call = backend.call

    async def exchange_work(self, worker_id: str, request: ExchangeRequest) -> ExchangeAnswer:
        started = time.perf_counter()
        try:
            answer = await self._backend.exchange_work(worker_id, request)
        except AnswerUnreadable:
            self._metrics.exchange_failed("unreadable")
            raise
        except BackendUnavailable:
            self._metrics.exchange_failed("unavailable")
            raise
        except BackendError:
            self._metrics.exchange_failed("refused")
            raise
        heartbeats = sum(outcome.kind == "heartbeat" for outcome in answer.outcomes)
        self._metrics.exchange_answered(time.perf_counter() - started, heartbeats)
        return answer
