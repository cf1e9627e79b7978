"""A worker process whose handler does nothing but record one step, with an input and an output of 200 characters.

Run by the bench, see bench.queue.process and bench.queue.worker, whose words it speaks. WORKER_TRACE=0 records nothing.
"""

import asyncio
import functools
import json
import os
import sys
import time

from bench.queue.database import NOOP
from workers.backend import connect
from workers.contract import Completion
from workers.job import Job
from workers.logs import build_logger
from workers.ports import ExchangeOptions
from workers.settings import Settings, load_settings
from workers.trace import Tracing
from workers.worker import Worker

TEXT = "Two hundred characters, as of a short call. " * 5


async def noop(job: Job) -> Completion:
    """Record one step."""
    with job.step("tool_call", "nothing", TEXT[:200]) as step:
        step.output = TEXT[:200]
    return Completion(response="Done.")


async def work(settings: Settings) -> None:
    """Work until nothing is pending."""
    backend = functools.partial(
        connect,
        settings.supabase_url,
        settings.supabase_key,
        key_variable=settings.supabase_key_variable,
        timeout_seconds=settings.request_timeout,
    )
    options = ExchangeOptions(
        worker_id=settings.worker_id,
        concurrency=settings.concurrency,
        lease_seconds=settings.lease_seconds,
        poll_interval=settings.poll_interval,
        drain_seconds=settings.drain_seconds,
        once=True,
    )
    log = build_logger(settings.log_format, settings.log_level)
    await Worker(options, {NOOP: noop}, backend, log, tracing=Tracing(store=settings.trace)).run()


def main() -> None:
    """Settings come from the environment alone."""
    settings = load_settings(os.environ)
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    asyncio.run(work(settings))
    print(json.dumps({"cpu_seconds": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
