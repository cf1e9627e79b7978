"""A signed-in user who inserts tasks through PostgREST, under row-level security, on one kept-alive connection."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx

from bench.queue.database import NOOP, ORGANIZATION, USER
from bench.rls import token
from localstack.instance import Instance

COLUMNS = "organization_slug,method,prompt,params"


class Member:
    """The bench's user; made in the process that measures."""

    def __init__(self, stack: Instance) -> None:
        self._options: dict[str, Any] = {
            "base_url": f"http://127.0.0.1:{stack.ports.rest}/",
            "headers": {"Authorization": f"Bearer {token(stack, USER)}", "Prefer": "return=minimal"},
            "params": {"columns": COLUMNS},
            "timeout": 60,
        }
        self._client = httpx.Client(**self._options)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def insert(self, rows: Sequence[dict[str, Any]]) -> None:
        """One request."""
        _check(self._client.post("tasks", json=rows))

    def send(self, tasks: int) -> float:
        """Insert so many tasks, one of which, at random, carries the time of this moment; returns that."""
        rows = [task() for _ in range(tasks)]
        sent_at = time.time()
        rows[random.randrange(tasks)] = task({"sent_at": sent_at})  # noqa: S311
        self.insert(rows)
        return sent_at

    def bulk(self, seconds: float, size: int = 1000) -> float:
        """Insert `size` rows a request, one request after the other; rows per second."""
        began = time.perf_counter()
        done = 0
        while time.perf_counter() - began < seconds:
            self.insert([task() for _ in range(size)])
            done += size
        return done / (time.perf_counter() - began)

    def single(self, seconds: float, concurrency: int) -> float:
        """Insert one row a request, so many requests at a time; rows per second."""
        return asyncio.run(self._single(seconds, concurrency))

    async def _single(self, seconds: float, concurrency: int) -> float:
        done = 0
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(**self._options, limits=limits) as client:
            began = time.perf_counter()

            async def caller() -> None:
                nonlocal done
                while time.perf_counter() - began < seconds:
                    _check(await client.post("tasks", json=task()))
                    done += 1

            await asyncio.gather(*(caller() for _ in range(concurrency)))
            return done / (time.perf_counter() - began)

    def feed(self, rate: float, seconds: float, tick: float = 0.02) -> int:
        """Insert at a fixed rate, a request each tick, larger ones after a late one; returns how many rows."""
        began = time.perf_counter()
        sent = 0
        while (now := time.perf_counter() - began) < seconds:
            due = min(int(now * rate) - sent, 1000)
            if due > 0:
                self.send(due)
                sent += due
            time.sleep(max(0.0, tick - (time.perf_counter() - began - now)))
        return sent


def task(params: dict[str, Any] | None = None) -> dict[str, Any]:
    """A no-op task, as a row to insert."""
    return {"organization_slug": ORGANIZATION, "method": NOOP, "prompt": "Nothing.", "params": params or {}}


def _check(response: httpx.Response) -> None:
    if response.status_code != httpx.codes.CREATED:
        raise SystemExit(f"bench: insert: {response.status_code} {response.text}")
