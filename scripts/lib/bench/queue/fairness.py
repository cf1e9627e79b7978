"""A single task of one organization behind 100,000 of another: how long it waits, in time and in claims."""

import random
import time
from collections.abc import Sequence

from bench.queue.database import NOOP
from bench.queue.lab import Lab
from bench.queue.ours import END_SECONDS, worker
from bench.results import Result, at_most, percentile, plain

FLOOD = 100_000
FLOODED = "org-0000"
CONCURRENCY = 100
SINGLES = 40
GAP_SECONDS = 0.2

# As worker.py notes them: began_at, seconds, how many tasks, the times at which those were sent that carry one.
Claim = tuple[float, float, int, list[float]]


def flood(lab: Lab) -> list[Result]:
    """One worker in the flood, a single task of another organization now and then."""
    lab.database.wipe()
    lab.database.fill(lab.options.scale(FLOOD, 2000), NOOP, [FLOODED])
    lab.database.settle()
    written = []
    with worker(lab.stack, CONCURRENCY, "--claims") as process:
        process.go()
        for _ in range(lab.options.scale(SINGLES, 3)):
            time.sleep(GAP_SECONDS * (0.5 + random.random()))  # noqa: S311
            sent_at = lab.member.send(1)
            written.append((sent_at, time.time()))
        time.sleep(1.0)
        left = lab.database.unfinished()
        process.stop()
        found = process.result(END_SECONDS)
    waits = [(picked_at - sent_at) * 1000 for sent_at, picked_at in found["picked"]]
    return [
        plain("flood left at the end", left, "tasks"),
        plain("single task behind the flood: p50", percentile(waits, 50), "ms"),
        plain("single task behind the flood: p95", percentile(waits, 95), "ms"),
        at_most(
            "single task behind the flood: most claims that passed it over", _passed(found["claims"], written), "", 1
        ),
    ]


def _passed(claims: Sequence[Claim], written: Sequence[tuple[float, float]]) -> int:
    """The most claims that began after a task was there, before the claim that brought it, and took others' tasks.

    `written` holds the time at which each task was sent, and the time at which its insert was answered.
    """
    brought = {sent_at: began_at for began_at, _, _, times in claims for sent_at in times}
    passed = []
    for sent_at, written_at in written:
        if sent_at not in brought:
            raise SystemExit("bench: a single task was not claimed at all")
        passed.append(sum(written_at <= began_at < brought[sent_at] for began_at, _, tasks, _ in claims if tasks))
    return max(passed)
