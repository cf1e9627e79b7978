"""The exchanges under way: how many there are, and what they may still bring."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from workers.reports import Batch
from workers.slots import Slots


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """A request under way: what it carries, and how many tasks it asks for."""

    batch: Batch
    asked: int
    slots: Slots | None = None  # What it tells of this worker's slots, if it asks for work.

    @property
    def surplus(self) -> int:
        """How many leases it may add to those that this worker holds: it is carried out whole or not at all."""
        return max(0, self.asked - self.batch.finals)


class Flights:
    """The requests under way; `changed` is called when one of them has ended."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._tasks: dict[asyncio.Task[None], Flight] = {}
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def surplus(self) -> int:
        """How many leases they may add, all together."""
        return sum(flight.surplus for flight in self._tasks.values())

    @property
    def finals(self) -> int:
        """How many last words they carry, all together."""
        return sum(flight.batch.finals for flight in self._tasks.values())

    @property
    def given_up(self) -> Counter[str]:
        """How many slots of each organization they free and do not give it again without counting them."""
        total = Counter[str]()
        for flight in self._tasks.values():
            if flight.slots is None or not flight.slots.under_way:
                total.update(flight.batch.freed)
        return total

    @property
    def slots(self) -> tuple[Slots, ...]:
        """What those tell that ask for work."""
        return tuple(flight.slots for flight in self._tasks.values() if flight.slots is not None)

    def launch(self, flight: Flight, work: Coroutine[Any, Any, None]) -> None:
        """Start a request; `work` makes it and carries out its answer."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = flight
        task.add_done_callback(self._ended)

    def check(self) -> None:
        """Raise the error of a request that failed for good, if there is one."""
        if self._failure is not None:
            raise self._failure

    async def cancel(self) -> None:
        """End all requests, wherever they are."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
        self._changed()
