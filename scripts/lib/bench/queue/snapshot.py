"""`scripts/bench snapshot`: a worker at a fixed rate, without and with a long-running snapshot beside it.

Each half runs for some minutes on fresh tables, then drains a burst on what the rate has left behind. A snapshot keeps
every row version that dies meanwhile, whatever vacuum does: what matters is that claims do not walk over them.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.options import Options
from bench.parts import part
from bench.queue import lab
from bench.queue.lab import Lab
from bench.queue.ours import Ours, worker
from bench.queue.pickup import wait_until_done
from bench.results import Result, at_least, at_most, percentile, plain
from localstack.instance import Instance

MINUTES = 1.0
JUDGED_MINUTES = 5.0  # Shorter than this, autovacuum has hardly run and nothing can be said about flatness.
SHARE = 0.4  # The fixed rate, of what a drain reaches.
SLICES = 10
CONCURRENCY = 100
PILOT_TASKS = 5000
BURST_SECONDS = 6.0
END_SECONDS = 600.0


@dataclass(frozen=True)
class Half:
    """What one half saw; `dead` row versions after each tenth of its time, rates in tasks per second."""

    sent: int
    rate: float
    waits: Sequence[float]
    dead: Sequence[int]
    burst: float


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """Twice the minutes, and about one more."""
    minutes = options.minutes or options.scale(MINUTES, 0.05)
    halves = []
    with lab.opened(stack, options) as found:
        with part("a drain, for the rate"):
            pilot = Ours(found).drain(options.scale(PILOT_TASKS, 200), f"concurrency {CONCURRENCY}").rate
        for held in (False, True):
            with part(f"{minutes:g} minutes {'with' if held else 'without'} a snapshot"), ExitStack() as beside:
                found.database.wipe()
                found.database.settle()
                if held:
                    beside.enter_context(found.database.snapshot())
                halves.append(_half(found, pilot, minutes * 60))
    return _results(halves, minutes)


def _half(found: Lab, pilot: float, seconds: float) -> Half:
    dead = []
    sent = 0
    began = found.database.now()
    with worker(found.stack, CONCURRENCY) as process:
        process.go()
        for _ in range(SLICES):
            sent += found.member.feed(pilot * SHARE, seconds / SLICES)
            dead.append(found.database.dead_rows())
        wait_until_done(found.database, END_SECONDS)
        process.stop()
        picked = process.result(END_SECONDS)["picked"]
    rate = found.database.rate_since(began)
    waits = [(picked_at - sent_at) * 1000 for sent_at, picked_at in picked]
    return Half(sent, rate, waits, dead, _burst(found, int(pilot * found.options.scale(BURST_SECONDS, 0.2))))


def _burst(found: Lab, tasks: int) -> float:
    """Drain so many on top of what is there; tasks per second."""
    found.database.fill(tasks)
    began = found.database.now()
    with worker(found.stack, CONCURRENCY, "--once") as process:
        process.go()
        process.result(END_SECONDS)
    return found.database.rate_since(began)


def _results(halves: Sequence[Half], minutes: float) -> list[Result]:
    results = []
    for name, half in zip(("without a snapshot", "with a snapshot"), halves, strict=True):
        results += [
            plain(f"{name}: completed at the rate", half.rate, "tasks/s"),
            plain(f"{name}: pick-up p95", percentile(half.waits, 95), "ms"),
            plain(f"{name}: dead rows at half time", half.dead[SLICES // 2 - 1], "rows"),
            plain(f"{name}: dead rows at the end", half.dead[-1], "rows"),
            plain(f"{name}: dead rows at the end, per task", half.dead[-1] / half.sent, "rows/task"),
            plain(f"{name}: burst afterwards", half.burst, "tasks/s"),
        ]
    clean, held = halves
    name, unit = "dead rows without a snapshot, second half of the time: flat", "x first half"
    growth = max(clean.dead[SLICES // 2 :]) / max(1, *clean.dead[: SLICES // 2])
    return [
        *results,
        at_least("throughput with a snapshot: at the rate", held.rate / clean.rate, "x clean", 0.75),
        at_least("throughput with a snapshot: burst afterwards", held.burst / clean.burst, "x clean", 0.75),
        at_most(name, growth, unit, 1.5) if minutes >= JUDGED_MINUTES else plain(name, growth, unit),
    ]
