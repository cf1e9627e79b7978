"""What the door costs: the same request through a client of the door, made anew as for an attempt, and plain."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import httpx

from bench.options import Options
from bench.results import Result, at_most, percentile, plain
from workers.door import Door

CALLS = 1000
WARM_UP = 20
BODY = {"prompt": "Answer."}


def run(options: Options, url: str) -> list[Result]:
    """Calls alternate, so that whatever else the machine does meets both alike."""
    through, plainly = asyncio.run(_compare(url, options.scale(CALLS, 50)))
    overhead = statistics.median(through) - statistics.median(plainly)
    return [
        plain("door, a call: plain httpx, median", statistics.median(plainly), "ms"),
        plain("door, a call: through the door, median", statistics.median(through), "ms"),
        plain("door, a call: plain httpx, p95", percentile(plainly, 95), "ms"),
        plain("door, a call: through the door, p95", percentile(through, 95), "ms"),
        at_most("door, a call: overhead over plain httpx, median", max(0.0, overhead), "ms", 2),
    ]


async def _compare(url: str, calls: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each call, through the door and plainly; connections are kept by both."""
    async with Door(allow_private=True) as door, httpx.AsyncClient(trust_env=False) as client:

        async def through() -> None:
            async with door.client(organization="bench") as mine:
                (await mine.post(url, json=BODY)).raise_for_status()

        async def plainly() -> None:
            (await client.post(url, json=BODY)).raise_for_status()

        for _ in range(WARM_UP):
            await through()
            await plainly()
        times = [(await _timed(through), await _timed(plainly)) for _ in range(calls)]
    return [first for first, _ in times], [second for _, second in times]


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000
