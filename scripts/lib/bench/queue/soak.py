"""`scripts/bench soak`: the memory of one worker over a million no-op tasks."""

import time
from collections.abc import Sequence

from bench.options import Options
from bench.parts import part
from bench.queue import lab
from bench.queue.ours import worker
from bench.results import Result, at_most, plain
from localstack.instance import Instance

TASKS = 1_000_000
CONCURRENCY = 100
END_SECONDS = 3 * 3600.0
MEGABYTE = 2**20


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """Lay the tasks out and drain them with one process; as long as that takes."""
    tasks = options.scale(TASKS, 2000)
    with lab.opened(stack, options) as found:
        with part(f"lay out {tasks:,} tasks"):
            found.database.fill(tasks)
            found.database.settle()
        with part("drain them"), worker(stack, CONCURRENCY, "--once") as process:
            began = time.perf_counter()
            process.go()
            handled = process.result(END_SECONDS)["handled"]
            seconds = time.perf_counter() - began
        done = found.database.completed()
    return [
        plain("tasks completed", done, "tasks"),
        plain("tasks handled by the worker", handled, "tasks"),
        plain("throughput", done / seconds, "tasks/s"),
        at_most("peak memory", process.peak, "MB", 150),
        *_growth(process.sizes),
    ]


def _growth(sizes: Sequence[int]) -> list[Result]:
    """The second fifth of the run, when all is warm, against the last one."""
    fifth = len(sizes) // 5
    early, late = (sum(some) / len(some) / MEGABYTE for some in (sizes[fifth : 2 * fifth], sizes[4 * fifth :]))
    return [
        plain("memory, mean of the second fifth of the run", early, "MB"),
        plain("memory, mean of the last fifth", late, "MB"),
        at_most("memory, last fifth: flat", late / early, "x second fifth", 1.05),
    ]
