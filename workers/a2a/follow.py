"""Follows tasks by their events: one poll per caller for all that the caller follows, at a bounded rate.

A follower is asked for again only once its rows were taken, so a slow client costs one batch and no more. Where it
stands is a sequence number: whoever asks again from there, of this process or of another, has missed nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from workers.a2a.caller import Identity
from workers.a2a.database import Database, Row
from workers.a2a.failures import busy
from workers.errors import BackendError, BackendUnavailable

_TASKS_PER_POLL = 50
_ROWS_PER_POLL = 200
_POLLS_AT_ONCE = 10
_PATIENCE = 30.0  # How long streams stay while the database is away, in seconds.


class Leaving(Exception):  # noqa: N818 - what happens, not what went wrong
    """The server is shutting down."""


@dataclass(eq=False)
class Follower:
    """Where one reader of one task's events stands."""

    task_id: str
    after: int
    _rows: list[Row] = field(default_factory=list)
    _error: Exception | None = None
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def hungry(self) -> bool:
        """Whether all that it was given was taken."""
        return not self._told.is_set()

    def give(self, rows: list[Row]) -> None:
        """Hand over the next events."""
        if rows:
            self._rows = rows
            self.after = rows[-1]["sequence"]
            self._told.set()

    def fail(self, error: Exception) -> None:
        """End it with an error, after the rows that wait."""
        self._error = error
        self._told.set()

    async def next(self, seconds: float) -> list[Row]:
        """Return the next events, at least one, in order.

        Raises:
            TimeoutError: nothing happened for so many seconds.
            BackendError, Leaving: why there will be no more.
        """
        async with asyncio.timeout(seconds):
            await self._told.wait()
        if self._rows:
            rows, self._rows = self._rows, []
            if self._error is None:
                self._told.clear()
            return rows
        assert self._error is not None
        raise self._error


class Followers:
    """Everybody who follows a task through this process."""

    def __init__(self, database: Database, *, interval: float, most: int, most_per_user: int) -> None:
        self._database = database
        self._interval = interval
        self._most = most
        self._most_per_user = most_per_user
        self._seats: Counter[str] = Counter()
        self._groups: dict[Identity, list[Follower]] = {}
        self._pollers: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(_POLLS_AT_ONCE)
        self._leaving = asyncio.Event()

    @contextmanager
    def seat(self, who: Identity) -> Iterator[None]:
        """Hold a place for one stream or waiting request while the block runs.

        Raises:
            InternalError: there is none; it says when to come back.
        """
        if self._leaving.is_set():
            raise busy("server_leaving", "The server is restarting; send the same request again.")
        if self._seats.total() >= self._most:
            raise busy("too_many_streams", "This server follows as many tasks as it can; come back later.", 30)
        if self._seats[who.user_id] >= self._most_per_user:
            own = self._seats[who.user_id]
            raise busy("too_many_streams", f"You follow {own} tasks already; end a stream, or poll tasks/get.", 30)
        self._seats[who.user_id] += 1
        try:
            yield
        finally:
            self._seats[who.user_id] -= 1
            if not self._seats[who.user_id]:
                del self._seats[who.user_id]

    @contextmanager
    def follow(self, who: Identity, task_id: str, after: int) -> Iterator[Follower]:
        """Follow a task from a sequence on while the block runs; who does has a seat.

        Raises:
            Leaving: the server is shutting down.
        """
        if self._leaving.is_set():
            raise Leaving
        follower = Follower(task_id, after)
        group = self._groups.setdefault(who, [])
        group.append(follower)
        if len(group) == 1:
            poller = asyncio.create_task(self._poll(who, group))
            self._pollers.add(poller)
            poller.add_done_callback(self._pollers.discard)
        try:
            yield follower
        finally:
            group.remove(follower)
            if not group and self._groups.get(who) is group:
                del self._groups[who]

    def leave(self) -> None:
        """End all streams: the process is about to go."""
        self._leaving.set()
        for group in self._groups.values():
            for follower in group:
                follower.fail(Leaving())

    async def _poll(self, who: Identity, group: list[Follower]) -> None:
        loop = asyncio.get_running_loop()
        well = loop.time()
        while group and not self._leaving.is_set():
            asked = [follower for follower in group if follower.hungry][:_TASKS_PER_POLL]
            try:
                if asked:
                    async with self._turn:
                        await self._ask(who, asked)
                well = loop.time()
            except BackendUnavailable as error:
                if loop.time() - well > _PATIENCE:
                    _fail(group, error)
            except BackendError as error:
                _fail(group, error)
            except Exception as error:
                _fail(group, error)
                raise
            # Whoever was asked for goes to the end, so that a caller with many tasks sees all of them move.
            group.sort(key=asked.__contains__)
            await asyncio.sleep(self._interval)

    async def _ask(self, who: Identity, followers: list[Follower]) -> None:
        """Give each its next events. Oldest first over all, so that a task that says much does not crowd out others."""
        wanted = ",".join(f"and(task_id.eq.{f.task_id},sequence.gt.{f.after})" for f in followers)
        query = {
            "select": "task_id,sequence,type,message,data,created_at",
            "or": f"({wanted})",
            "order": "id",
            "limit": str(_ROWS_PER_POLL),
        }
        rows = await self._database.rows(who, "task_events", query)
        for follower in followers:
            own = [row for row in rows if row["task_id"] == follower.task_id and row["sequence"] > follower.after]
            follower.give(own)


def _fail(group: list[Follower], error: Exception) -> None:
    for follower in group:
        follower.fail(error)
