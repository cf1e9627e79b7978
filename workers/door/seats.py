"""Shares something scarce between organizations, so that one whose hosts hang cannot take all of it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque


class Seats:
    """`total` seats: who holds less than a quarter gets one while there is one, others while half are free.

    Who must wait is served in the order of asking, as far as the rule lets. For one event loop.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._quarter = max(1, total // 4)
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    async def take(self, key: str) -> None:
        """Wait for a seat; it is held until it is given back."""
        if self._may(key):
            self._seat(key)
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append((key, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back(key)
            else:
                self._waiting.remove((key, waiter))
            raise

    def give_back(self, key: str) -> None:
        """Free a seat, and seat those who waited for it."""
        self._taken -= 1
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        for entry in list(self._waiting):
            if self._taken >= self._total:
                return
            if self._may(entry[0]):
                self._waiting.remove(entry)
                self._seat(entry[0])
                entry[1].set_result(None)

    def _may(self, key: str) -> bool:
        return self._taken < self._total // 2 or (self._taken < self._total and self._held[key] < self._quarter)

    def _seat(self, key: str) -> None:
        self._taken += 1
        self._held[key] += 1
