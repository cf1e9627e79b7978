"""A worker process whose handler does nothing but record one step, with an input and an output of 200 characters.

Run by the bench, see bench.queue.process and bench.queue.worker, whose words it speaks; it ends when nothing is
pending. WORKER_TRACE=off records nothing.
"""

import asyncio
import json
import os
import sys
import time

from bench.queue.database import NOOP
from bench.queue.worker import work
from workers.contract import Completion
from workers.job import Job
from workers.settings import load_settings
from workers.trace import Tracing

TEXT = "Two hundred characters, as of a short call. " * 5


async def noop(job: Job) -> Completion:
    """Record one step."""
    with job.step("tool_call", "nothing", TEXT[:200]) as step:
        step.output = TEXT[:200]
    return Completion(response="Done.")


def main() -> None:
    """Settings come from the environment alone."""
    settings = load_settings(os.environ, once=True)
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    asyncio.run(work(settings, {NOOP: noop}, tracing=Tracing(store=settings.trace)))
    print(json.dumps({"cpu_seconds": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
