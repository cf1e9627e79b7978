"""`scripts/bench history`: what a long life does to claims, ten workers on 1,000 organizations, and a flood."""

import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from bench.options import Options
from bench.parts import part
from bench.queue import lab
from bench.queue.database import NOOP, USER, Database, numbered_organizations
from bench.queue.fairness import flood
from bench.queue.lab import Lab
from bench.queue.ours import DEFAULT_CONCURRENCY, END_SECONDS, worker
from bench.results import Result, at_least, at_most, percentile, plain
from localstack.instance import Instance

SQL = Path(__file__).with_suffix(".sql")
FINISHED = 1_000_000
PENDING = 100_000
WORKERS = 10
CREW_SECONDS = 10.0
BEGIN_SECONDS = 60.0
CLAIMS = 300
CLAIMS_SECONDS = 20.0  # If so many take longer, fewer must do.
BATCH = 10

# Milliseconds of claims, and of the completions that followed them.
Times = list[tuple[float, float]]


def run(stack: Instance, options: Options) -> Sequence[Result]:
    """Nothing finished, a million finished, ten workers and the flood on those, and nothing finished again."""
    finished = options.scale(FINISHED, 2000)
    with lab.opened(stack, options) as found:
        with part("lay out pending tasks"):
            _lay_out(found)
        with part("claims with nothing finished"):
            empty = _claims(found)
        with part("lay out finished tasks"):
            _load(found.database, finished)
        with part("claims after them"):
            full = _claims(found)
        with part("workers on 1,000 organizations"):
            results = _crews(found)
        with part("one task behind a flood"):
            results += flood(found)
        with part("lay out pending tasks once more, nothing finished"):
            _lay_out(found)
        with part("claims with nothing finished, again"):
            # What the machine does meanwhile drifts: the empty table is measured before and after.
            empty += _claims(found)
    return [*_claim_results(empty, full, f"{finished:,} finished"), *results]


def _lay_out(found: Lab) -> None:
    found.database.wipe()
    found.database.fill(found.options.scale(PENDING, 1000), NOOP, numbered_organizations())
    found.database.settle()


def _load(database: Database, finished: int) -> None:
    """Add so many finished tasks with their runs."""
    psycopg.ClientCursor(database.connection).execute(SQL.read_text().encode(), {"tasks": finished, "user": USER})
    database.settle()


def _claims(found: Lab) -> Times:
    """Claims of ten tasks and their completions, one after the other, by the functions that workers call."""
    name = f"bench-{uuid.uuid4()}"
    times: Times = []
    with psycopg.connect(found.stack.database_url(), autocommit=True) as connection:
        connection.execute("set role service_role")
        give_up = time.monotonic() + CLAIMS_SECONDS
        while len(times) <= found.options.scale(CLAIMS, 20) and time.monotonic() < give_up:
            claim, tasks = _timed(connection, "select public.claim_tasks(%s, %s)", [name, BATCH])
            report = [
                {"task_id": claimed["task"]["id"], "response": "Done."}
                | {key: claimed[key] for key in ("attempt", "lease_token")}
                for claimed in tasks
            ]
            completion, outcomes = _timed(connection, "select public.complete_tasks(%s, %s)", [name, Jsonb(report)])
            if [outcome["outcome"] for outcome in outcomes] != ["ok"] * BATCH:
                raise SystemExit(f"bench: {BATCH} tasks were to be claimed and completed, and were not: {outcomes}")
            times.append((claim, completion))
    return times[1:]  # The first one fills the connection's caches.


def _timed(connection: psycopg.Connection, query: str, values: list[Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    row = connection.execute(query.encode(), values).fetchone()
    took = (time.perf_counter() - began) * 1000
    assert row is not None
    return took, row[0]


def _claim_results(empty: Times, full: Times, what: str) -> list[Result]:
    results = []
    for number, name in enumerate((f"claim of {BATCH}", f"completion of {BATCH}")):
        before = percentile([times[number] for times in empty], 50)
        after = percentile([times[number] for times in full], 50)
        results += [
            plain(f"{name}, nothing finished: p50", before, "ms"),
            plain(f"{name}, {what}: p50", after, "ms"),
            plain(f"{name}, {what}: p95", percentile([times[number] for times in full], 95), "ms"),
            at_most(f"{name}, {what}: against nothing finished", after / before, "x nothing finished", 1.2),
        ]
    return results


def _crews(found: Lab) -> list[Result]:
    """One worker, then ten, as they come by default, for some seconds each; claims as they see them, over HTTP."""
    one, _ = _crew(found, 1)
    workers = found.options.scale(WORKERS, 2)
    ten, claims = _crew(found, workers)
    return [
        plain("one worker of concurrency 10", one, "tasks/s"),
        plain(f"{workers} workers of concurrency 10", ten, "tasks/s"),
        at_least(f"{workers} workers against one, concurrency 10", ten / one, "x one worker", 1.0),
        plain(f"claims of {workers} workers: p50", percentile(claims, 50), "ms"),
        at_most(f"claims of {workers} workers: p95", percentile(claims, 95), "ms", 50),
        plain(f"claims of {workers} workers: p99", percentile(claims, 99), "ms"),
    ]


def _wait_for_less(database: Database, pending: int) -> None:
    """Return when the workers have completed something; raises SystemExit when that takes too long."""
    give_up = time.monotonic() + BEGIN_SECONDS
    while database.unfinished() >= pending:
        if time.monotonic() > give_up:
            raise SystemExit(f"bench: the workers completed nothing within {BEGIN_SECONDS:g} s")
        time.sleep(0.05)


def _crew(found: Lab, workers: int) -> tuple[float, list[float]]:
    """Completions per second, and milliseconds of the exchanges that were given tasks."""
    began = found.database.now()
    with ExitStack() as open_processes:
        processes = [
            open_processes.enter_context(worker(found.stack, DEFAULT_CONCURRENCY, "--claims")) for _ in range(workers)
        ]
        pending = found.database.unfinished()
        for process in processes:
            process.go()
        _wait_for_less(found.database, pending)
        time.sleep(found.options.scale(CREW_SECONDS, 0.5))
        for process in processes:
            process.stop()
        ended = [process.result(END_SECONDS) for process in processes]
    claims = [seconds * 1000 for seen in ended for _, seconds, tasks, _ in seen["claims"] if tasks]
    return found.database.rate_since(began), claims
