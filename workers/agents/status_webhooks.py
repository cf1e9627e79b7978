"""Long jobs: an endpoint that answers 202 reports later to `report_task_status`, and the attempt waits here.

All attempts of a worker that wait are asked for in one request, at most five times a second and usually once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from workers.backoff import Backoff
from workers.contract import DEFAULT_TIMEOUT_SECONDS, ClaimedTask
from workers.errors import BackendError, BackendUnavailable, TaskFailure

_LEAST_SECONDS = 0.2
_RETRIES = 5

# Takes how far the job is, when that has changed, and what was said last.
OnProgress = Callable[[float | None, str | None], None]


class Database(Protocol):
    """What is needed of the database."""

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """Call a function and return its answer."""


@dataclass(frozen=True, slots=True)
class StatusWebhook:
    """The right of an endpoint to report on a task.

    `under_way`: it has been called before, by a worker that was lost, and works on it. `seconds` are left.
    """

    id: str
    under_way: bool
    seconds: float
    for_endpoint: Mapping[str, Any] = field(repr=False)


@dataclass(slots=True, eq=False)
class _Waiter:
    on_progress: OnProgress
    outcome: asyncio.Future[dict[str, Any]]
    last: tuple[Any, Any] = (None, None)


class StatusWebhooks:
    """Opens webhooks and waits for what comes in; use as a context manager.

    `url` is the address of the Supabase project as endpoints reach it, `anon_key` its public key.
    """

    def __init__(self, database: Database, *, url: str, anon_key: str | None, poll_seconds: float = 1.0) -> None:
        self._database = database
        self._url = f"{url.rstrip('/')}/rest/v1/rpc/report_task_status"
        self._anon_key = anon_key
        self._poll_seconds = poll_seconds
        self._waiters: dict[str, _Waiter] = {}
        self._somebody_new = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def open(self, claimed: ClaimedTask, seconds: float | None) -> StatusWebhook:
        """Return the webhook of an attempt, for `seconds` or as long as the attempt may take.

        Raises:
            TaskFailure: the worker cannot offer any, or the database was away.
        """
        if self._anon_key is None:
            raise TaskFailure(
                "agent_misconfigured",
                "The agent's endpoint.status_webhook needs a worker with SUPABASE_ANON_KEY: ask the operator.",
                data={"field": "endpoint.status_webhook"},
            )
        lease = claimed.lease
        ttl = seconds or claimed.task.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        arguments = {**lease._asdict(), "ttl_seconds": max(1, round(ttl))}
        opened = await self._call_surely("open_status_webhook", arguments)
        told = {
            "url": self._url,
            "apikey": self._anon_key,
            "id": opened["id"],
            "secret": opened["secret"],
            "expires_at": opened["expires_at"],
        }
        return StatusWebhook(opened["id"], opened["under_way"], float(opened["expires_in"]), told)

    async def wait(self, webhook: StatusWebhook, on_progress: OnProgress) -> Any:
        """Wait until the job is over and return its result.

        Raises:
            TaskFailure: endpoint_error when the endpoint reports a failure, timeout when it reports nothing in time.
        """
        waiter = _Waiter(on_progress, asyncio.get_running_loop().create_future())
        self._waiters[webhook.id] = waiter
        self._somebody_new.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        limit = asyncio.timeout(webhook.seconds)
        try:
            async with limit:
                outcome = await waiter.outcome
        except TimeoutError:
            if not limit.expired():
                raise
            raise TaskFailure(
                "timeout", "The endpoint took the job on, and did not report its end in time.", retryable=True
            ) from None
        finally:
            # An attempt that lost its task may end after the next one has begun to wait for the same job.
            if self._waiters.get(webhook.id) is waiter:
                del self._waiters[webhook.id]
        if outcome["status"] == "completed":
            return outcome["result"]
        reason = outcome.get("message") or "no reason was given"
        retryable = bool(outcome.get("retryable"))
        raise TaskFailure("endpoint_error", f"The endpoint reports that the job failed: {reason}", retryable=retryable)

    async def _poll(self) -> None:
        """Ask for all who wait, as long as there are any."""
        while self._waiters:
            self._somebody_new.clear()
            try:
                found = await self._database.call("read_status_webhooks", {"ids": list(self._waiters)})
            except BackendError:
                found = []  # The exchange says so in the log; here the next question will do.
            for row in found or ():
                self._tell(row)
            await asyncio.sleep(_LEAST_SECONDS)
            try:
                async with asyncio.timeout(max(0.0, self._poll_seconds - _LEAST_SECONDS)):
                    await self._somebody_new.wait()
            except TimeoutError:
                continue

    def _tell(self, row: Mapping[str, Any]) -> None:
        waiter = self._waiters.get(row["id"])
        if waiter is None or waiter.outcome.done():
            return
        percent, message = news = (row.get("progress"), row.get("message"))
        if news != waiter.last:
            try:
                waiter.on_progress(percent if percent != waiter.last[0] else None, message)
            except Exception as error:  # A mistake, which ends this attempt and not the waiting of the others.
                waiter.outcome.set_exception(error)
                return
            waiter.last = news
        if row.get("outcome") is not None:
            waiter.outcome.set_result(row["outcome"])

    async def _call_surely(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """Call a function that may be repeated, again while the database is away for a moment."""
        backoff = Backoff()
        for _ in range(_RETRIES):
            try:
                return await self._database.call(function, arguments)
            except BackendUnavailable:
                await asyncio.sleep(backoff.next())
        raise TaskFailure("internal_error", "The database was away when the attempt began.", retryable=True)
