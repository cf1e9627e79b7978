"""What tracing costs: the throughput of no-op tasks that record one step each, with and without it, turn by turn."""

import statistics
from collections.abc import Sequence

from bench.parts import part
from bench.queue.lab import Lab
from bench.queue.ours import END_SECONDS, worker
from bench.results import Result, at_least, plain

TASKS = 50_000
ROUNDS = 3
CONCURRENCY = 300
LEAST = 0.75


def run(lab: Lab) -> Sequence[Result]:
    """Drain the same tasks with and without, several times in turn; medians."""
    tasks = lab.options.scale(TASKS, 200)
    rates: dict[bool, list[float]] = {True: [], False: []}
    for number in range(lab.options.scale(ROUNDS, 1)):
        for traced in (True, False) if number % 2 else (False, True):
            with part(f"drain {tasks:,} tasks {'with' if traced else 'without'} tracing"):
                rates[traced].append(_drain(lab, tasks, traced=traced))
    off, on = statistics.median(rates[False]), statistics.median(rates[True])
    return [
        plain("no-op tasks, tracing off", off, "tasks/s"),
        plain("no-op tasks, one step each", on, "tasks/s"),
        at_least("no-op tasks: tracing on", on / off, "x off", LEAST),
    ]


def _drain(lab: Lab, tasks: int, *, traced: bool) -> float:
    database = lab.database
    database.wipe()
    database.fill(tasks)
    database.settle()
    with worker(lab.stack, CONCURRENCY, module="bench.trace.worker", WORKER_TRACE="on" if traced else "off") as process:
        process.go()
        process.result(END_SECONDS)
    steps = int(database.number("select count(*) from public.run_steps"))
    if database.completed() != tasks or steps != (tasks if traced else 0):
        raise SystemExit(f"bench: of {tasks} tasks {database.completed()} are completed, with {steps} steps")
    return tasks / database.span()
