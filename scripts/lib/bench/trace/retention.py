"""Retention beside claims: 1,000,000 rows go to the archive while somebody claims every 20 ms."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from bench.parts import part
from bench.queue.database import ORGANIZATION, USER
from bench.queue.lab import Lab
from bench.results import Result, at_most, percentile, plain

ROWS = 1_000_000
EACH = 5  # a task, its run, a step and two events
PENDING = 20_000
EVERY_SECONDS = 0.02
CALM_SECONDS = 5.0
LIMIT_MS = 100.0
TABLES = ("tasks", "runs", "run_steps", "task_events")

_OLD = """
with made as (
  insert into public.tasks
    (organization_slug, user_id, method, prompt, response, status, progress, created_at, completed_at)
  select %(organization)s, %(user)s, 'bench_noop', 'Nothing.', repeat('Done. ', 40), 'completed', 100, d.day, d.day
  from generate_series(1, %(tasks)s) i
  cross join lateral (select now() - interval '60 days' + i * interval '1 millisecond' as day) d
  returning id
),
runs as (
  insert into public.runs (organization_slug, created_by, task_id, status, completed_at)
  select %(organization)s, %(user)s, m.id, 'completed', now() from made m
  returning id
),
steps as (
  insert into public.run_steps (run_id, sequence_number, type, input, output, status, completed_at)
  select r.id, 1, 'tool_call', to_jsonb(repeat('in ', 60)), to_jsonb(repeat('out ', 60)), 'completed', now() from runs r
)
insert into public.task_events (task_id, sequence, attempt, type)
select m.id, n, 1, 'status' from made m, generate_series(1, 2) n
"""

_LEFT = "select count(*) from public.tasks where completed_at < now() - interval '31 days'"
_CLAIM = "select public.claim_tasks(worker_id => 'bench-claimer', max_tasks => 1, organizations => array['bench'])"


def run(lab: Lab) -> Sequence[Result]:
    """Lay the rows out, then claim without retention for a while, then with it until they are gone."""
    tasks = lab.options.scale(ROWS, 2500) // EACH
    with part(f"lay out {tasks * EACH:,} rows that are over"):
        _lay_out(lab, tasks)
    with part("claims alone"), _claims(lab) as calm:
        time.sleep(lab.options.scale(CALM_SECONDS, 1.0))
    with part("claims beside retention"), _claims(lab) as beside:
        began, busy = time.perf_counter(), 0
        with ThreadPoolExecutor(1) as pool:
            busy = pool.submit(_retain, lab).result()
        seconds = time.perf_counter() - began
    if left := lab.database.number(_LEFT):
        raise SystemExit(f"bench: {left:.0f} tasks are left, {busy} calls")
    kept = lab.database.number("select count(*) from archive.records")
    if kept != tasks * EACH:
        raise SystemExit(f"bench: the archive has {kept:.0f} of {tasks * EACH} rows")
    lab.database.connection.execute("truncate archive.records")
    return [
        plain("retention: rows archived", kept / seconds, "rows/s"),
        plain("claims alone: p95", percentile(calm, 95), "ms"),
        plain("claims alone: slowest", max(calm), "ms"),
        plain("claims beside retention: p95", percentile(beside, 95), "ms"),
        at_most("claims beside retention: slowest", max(beside), "ms", LIMIT_MS),
    ]


def _lay_out(lab: Lab, tasks: int) -> None:
    connection = lab.database.connection
    lab.database.wipe()
    for table in TABLES:
        connection.execute(f"alter table public.{table} disable trigger all")
    for start in range(0, tasks, 50_000):
        size = min(50_000, tasks - start)
        connection.execute(_OLD, {"organization": ORGANIZATION, "user": USER, "tasks": size})
    for table in TABLES:
        connection.execute(f"alter table public.{table} enable trigger all")
    lab.database.fill(lab.options.scale(PENDING, 2000))
    connection.execute("truncate archive.records")
    connection.execute("update private.retention_work set next_at = now() - random() * interval '1 hour'")
    lab.database.settle()


def _retain(lab: Lab) -> int:
    """Call as pg_cron's job does, but one short call after the other, until nothing is due; return how often."""
    calls = 0
    with psycopg.connect(lab.stack.database_url("postgres"), autocommit=True) as connection:
        while True:
            connection.execute("select set_config('synchronous_commit', 'off', true), private.keep_retention()")
            calls += 1
            row = connection.execute(
                "select exists (select from private.retention_work where next_at <= now())"
            ).fetchone()
            if not row or not row[0]:
                return calls


@contextmanager
def _claims(lab: Lab) -> Iterator[list[float]]:
    """Claim one task every 20 ms while the block runs; the times of the claims in milliseconds."""
    times: list[float] = []
    stop = threading.Event()

    def claim() -> None:
        with psycopg.connect(lab.stack.database_url("postgres"), autocommit=True) as connection:
            connection.execute("select set_config('role', 'service_role', false)")
            connection.execute(
                "select set_config('request.jwt.claims', %s, false)", [json.dumps({"role": "service_role"})]
            )
            while not stop.wait(EVERY_SECONDS):
                began = time.perf_counter()
                connection.execute(_CLAIM).fetchone()
                times.append((time.perf_counter() - began) * 1000)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(claim)
        try:
            yield times
        finally:
            stop.set()
            future.result()
