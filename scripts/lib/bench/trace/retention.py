"""Retention beside claims: 1,000,000 rows go to the archive while somebody claims every 20 ms."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from bench.parts import part
from bench.queue.database import ORGANIZATION, USER
from bench.queue.lab import Lab
from bench.results import Result, at_most, percentile, plain

ROWS = 1_000_000
EACH = 5  # a task, its run, a step and two events
PENDING = 20_000
EVERY_SECONDS = 0.02
TURN_SECONDS = 3.0
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

_DUE = "select exists (select from private.retention_work where next_at <= now())"
_LEFT = "select count(*) from public.tasks where completed_at < now() - interval '31 days'"
_CLAIM = "select public.claim_tasks(worker_id => 'bench-claimer', max_tasks => 1, organizations => array['bench'])"


@dataclass
class Claims:
    """How long claims took, in milliseconds, alone and beside retention, turn by turn."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    is_beside: bool = False

    def add(self, milliseconds: float, *, beside: bool) -> None:
        """Note a claim."""
        (self.beside if beside else self.alone).append(milliseconds)


def run(lab: Lab) -> Sequence[Result]:
    """Lay the rows out, then claim all the time, with retention in turns until the rows are gone."""
    tasks = lab.options.scale(ROWS, 2500) // EACH
    with part(f"lay out {tasks * EACH:,} rows that are over"):
        _lay_out(lab, tasks)
    with part("claims, with and without retention in turns"), _claims(lab) as claims:
        seconds = _retain(lab, claims)
    if left := lab.database.number(_LEFT):
        raise SystemExit(f"bench: {left:.0f} tasks are left")
    kept = lab.database.number("select count(*) from archive.records")
    if kept != tasks * EACH:
        raise SystemExit(f"bench: the archive has {kept:.0f} of {tasks * EACH} rows")
    lab.database.connection.execute("truncate archive.records")
    return [
        plain("retention: rows archived", kept / seconds, "rows/s"),
        plain("claims alone: p95", percentile(claims.alone, 95), "ms"),
        plain("claims alone: slowest", max(claims.alone), "ms"),
        plain("claims beside retention: p95", percentile(claims.beside, 95), "ms"),
        at_most("claims beside retention: slowest", max(claims.beside), "ms", LIMIT_MS),
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


def _retain(lab: Lab, claims: Claims) -> float:
    """Call as the reaper does, but one call after the other, every other turn; return the seconds of these turns."""
    turn, worked = lab.options.scale(TURN_SECONDS, 0.5), 0.0
    with psycopg.connect(lab.stack.database_url("postgres"), autocommit=True) as connection:
        while True:
            time.sleep(turn)
            claims.is_beside, began = True, time.perf_counter()
            while time.perf_counter() - began < turn:
                connection.execute("select private.keep_retention()")
                row = connection.execute(_DUE).fetchone()
                if not row or not row[0]:
                    return worked + time.perf_counter() - began
            claims.is_beside = False
            worked += time.perf_counter() - began


@contextmanager
def _claims(lab: Lab) -> Iterator[Claims]:
    """Claim one task every 20 ms while the block runs."""
    claims, stop = Claims(), threading.Event()
    words = json.dumps({"role": "service_role"})

    def claim() -> None:
        with psycopg.connect(lab.stack.database_url("postgres"), autocommit=True) as connection:
            connection.execute("select set_config('role', 'service_role', false)")
            connection.execute("select set_config('request.jwt.claims', %s, false)", [words])
            while not stop.wait(EVERY_SECONDS):
                began, beside = time.perf_counter(), claims.is_beside
                connection.execute(_CLAIM).fetchone()
                claims.add((time.perf_counter() - began) * 1000, beside=beside)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(claim)
        try:
            yield claims
        finally:
            stop.set()
            future.result()
