"""A worker that a test can afford to kill: the real one, forked from a server that has imported it already.

Only the agent is the tests' own. It does what its task's params say (`Script`) and signs all it leaves with the lease
of its attempt, so that SQL can tell afterwards whose every row is.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from workers.backend import connect
from workers.contract import ClaimedTask, Completion, Deliverable
from workers.errors import TaskFailure
from workers.job import Job
from workers.ledger import UsageRow
from workers.logs import build_logger
from workers.ports import ExchangeOptions
from workers.worker import Worker, drain_on_signals

INPUT_TOKENS, OUTPUT_TOKENS = 10, 5
USAGE = (UsageRow("chaos", "dice", INPUT_TOKENS, OUTPUT_TOKENS, cost=0.001),)
STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the agent does, as the task's params say it; times are in milliseconds."""

    ms: int = 10  # How long it works without blocking its loop,
    block_ms: int = 0  # and how long it then blocks it.
    fails: int = 0  # So many attempts fail and may be tried again.
    fatal: bool = False  # Fails in a way that is not tried again.
    sleeps: bool = False  # The first attempt stops its whole process when it is done, before it says so.
    stubborn: bool = False  # Goes on to the end although it is told to stop.
    quick_from: int = 1000  # From this attempt on it takes no time.


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to run one worker; times are in seconds."""

    id: str
    url: str
    key: str
    log: Path
    organizations: tuple[str, ...]
    concurrency: int = 4
    lease_seconds: int = 2
    poll_interval: float = 0.2
    drain_seconds: float = 2.0
    goodbye_seconds: float = 10.0
    request_timeout: float = 5.0
    clock_offset: float = 0.0  # How wrong the clock on the worker's wall is.


class Agent:
    """The handler of tasks; counts how many attempts run at once."""

    def __init__(self) -> None:
        self._running = 0

    async def __call__(self, job: Job) -> Completion:
        """Do what the script says."""
        self._running += 1
        try:
            return await self._act(job, Script(**job.claimed.task.params))
        finally:
            self._running -= 1

    async def _act(self, job: Job, script: Script) -> Completion:
        claimed = job.claimed
        token, running = claimed.lease_token, self._running
        job.event("log", "begun", {"lease_token": token})
        quick = claimed.attempt >= script.quick_from
        for step in range(STEPS):
            await _work(0 if quick else script.ms / STEPS / 1000, stubborn=script.stubborn)
            job.progress(step * 100 / STEPS, f"Step {step}")
            job.partial(f"{token} {step};")
        if script.block_ms and not quick:
            _block(script.block_ms / 1000)
        if script.fatal:
            raise TaskFailure("input_invalid", "As the script says.").with_usage(USAGE)
        if claimed.attempt <= script.fails:
            raise TaskFailure("provider_overloaded", "As the script says.", retryable=True).with_usage(USAGE)
        job.event("log", "done", {"lease_token": token})
        if script.sleeps and claimed.attempt == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return _result(claimed, {"running": running})


async def _work(seconds: float, *, stubborn: bool) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            if not stubborn:
                raise


def _block(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(10_000))


def _result(claimed: ClaimedTask, metadata: dict[str, Any]) -> Completion:
    token = claimed.lease_token
    in_conversation = claimed.task.agent_conversation_id is not None
    return Completion(
        response=token,
        response_metadata=metadata,
        deliverable=Deliverable(title="Chaos", type="text", format="text", content=token),
        messages=[{"content": token}] if in_conversation else [],
        usage=USAGE,
    )


async def answer_with_digest(job: Job) -> Completion:
    """Answer, after a short while, with a digest of the prompt: the handler of steps of projects."""
    prompt = job.claimed.task.prompt
    await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311 - a test's dice
    return Completion(response="d" + hashlib.sha256(prompt.encode()).hexdigest()[:16])


def main(plan: Plan) -> None:
    """Run the worker in this process, until it is told to leave or nobody waits for it any more."""
    with plan.log.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if plan.clock_offset:
        clock = time.time
        time.time = lambda: clock() + plan.clock_offset
    asyncio.run(_run(plan))


async def _run(plan: Plan) -> None:
    options = ExchangeOptions(
        worker_id=plan.id,
        concurrency=plan.concurrency,
        lease_seconds=plan.lease_seconds,
        poll_interval=plan.poll_interval,
        drain_seconds=plan.drain_seconds,
        goodbye_seconds=plan.goodbye_seconds,
        organizations=plan.organizations,
    )
    backend = functools.partial(connect, plan.url, plan.key, key_variable="KEY", timeout_seconds=plan.request_timeout)
    log = build_logger("json", "INFO").bind(worker_id=plan.id)
    worker = Worker(options, {"process": Agent(), "converse": answer_with_digest}, backend, log)
    with drain_on_signals(worker):
        log.info("started")
        await worker.run()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
