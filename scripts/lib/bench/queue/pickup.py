"""How long a task waits until a worker begins it: from before its insert is sent to the first line of its handler."""

import random
import time
from collections.abc import Sequence

from bench.queue.database import Database
from bench.queue.lab import Lab
from bench.queue.ours import DEFAULT_CONCURRENCY, SETTINGS, worker
from bench.results import Result, at_most, percentile, plain

WARM_UP = 3
LISTEN_GAP_SECONDS = 0.05
POLL_SECONDS = 0.25  # Shorter than the default, so that a hundred waits do not take minutes; the target is relative.
BUSY_SECONDS = 15.0
END_SECONDS = 60.0


def idle(lab: Lab) -> list[Result]:
    """A lone task and a worker with nothing to do: told by LISTEN, and by polling only."""
    told = _lone(lab, lab.options.scale(200, 5), LISTEN_GAP_SECONDS, DATABASE_URL=lab.stack.database_url())
    polled = _lone(lab, lab.options.scale(100, 5), POLL_SECONDS, POLL_INTERVAL=str(POLL_SECONDS))
    polling = f"pick-up, idle, polling each {POLL_SECONDS * 1000:g} ms"
    return [
        at_most("pick-up, idle, LISTEN: p50", percentile(told, 50), "ms", 15),
        at_most("pick-up, idle, LISTEN: p95", percentile(told, 95), "ms", 100),
        plain("pick-up, idle, LISTEN: p99", percentile(told, 99), "ms"),
        plain(f"{polling}: p50", percentile(polled, 50), "ms"),
        at_most(f"{polling}: p95", percentile(polled, 95), "ms", POLL_SECONDS * 1000 + 50),
        plain(f"{polling}: p99", percentile(polled, 99), "ms"),
    ]


def busy(lab: Lab, setting: str, rate: float) -> list[Result]:
    """A worker at half of what it drained in this setting (tasks per second), by polling only."""
    seconds = lab.options.scale(BUSY_SECONDS, 1.0)
    _clear(lab.database)
    with worker(lab.stack, SETTINGS[setting]) as process:
        process.go()
        _warm_up(lab)
        sent = lab.member.feed(rate / 2, seconds)
        wait_until_done(lab.database)
        process.stop()
        waits = _waits(process.result(END_SECONDS)["picked"])
    return [
        plain("pick-up at 50 % load: rate sent", sent / seconds, "tasks/s"),
        plain("pick-up at 50 % load: p50", percentile(waits, 50), "ms"),
        at_most("pick-up at 50 % load: p95", percentile(waits, 95), "ms", 250),
        plain("pick-up at 50 % load: p99", percentile(waits, 99), "ms"),
    ]


def wait_until_done(database: Database, seconds: float = END_SECONDS) -> None:
    """Return when no task is unfinished; raises SystemExit when that takes too long."""
    deadline = time.monotonic() + seconds
    while left := database.unfinished():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: {left} tasks are unfinished after {seconds:g} s")
        time.sleep(0.05)


def _lone(lab: Lab, count: int, gap: float, **variables: str) -> list[float]:
    """Milliseconds of so many waits, each after one to two gaps, in seconds, of idleness."""
    _clear(lab.database)
    with worker(lab.stack, DEFAULT_CONCURRENCY, **variables) as process:
        process.go()
        _warm_up(lab)
        for _ in range(count):
            time.sleep(gap * (1 + random.random()))  # noqa: S311
            lab.member.send(1)
        wait_until_done(lab.database)
        process.stop()
        return _waits(process.result(END_SECONDS)["picked"])


def _clear(database: Database) -> None:
    database.wipe()
    database.settle()


def _warm_up(lab: Lab) -> None:
    for _ in range(WARM_UP):
        lab.member.send(1)
        wait_until_done(lab.database)


def _waits(picked: Sequence[tuple[float, float]]) -> list[float]:
    """In milliseconds, without those of the warm-up."""
    return [(picked_at - sent_at) * 1000 for sent_at, picked_at in picked[WARM_UP:]]
