"""The raw SQL ceiling: claims and completions in batches on one connection, in a table as narrow as a queue can be."""

import time
from collections.abc import Sequence

import psycopg

from bench.queue.contest import Run
from bench.queue.database import Database
from bench.queue.meter import Meter

_TABLE = """
drop table if exists public.jobs;
create table public.jobs (
  id bigint generated always as identity primary key,
  status smallint not null default 0,
  attempt smallint not null default 0,
  leased_until timestamptz
) with (fillfactor = 70);
create index jobs_pending_idx on public.jobs (id) where status = 0;
"""
_CLAIM = """
update public.jobs j set status = 1, attempt = attempt + 1, leased_until = now() + interval '30 seconds'
from (select id from public.jobs where status = 0 order by id limit %s for update skip locked) p
where j.id = p.id
returning j.id
"""
_COMPLETE = "update public.jobs set status = 2, leased_until = null where id = any(%s) and status = 1"


class Ceiling:
    """A contestant without a worker: the statements alone, from this process."""

    name = "raw SQL"

    def __init__(self, database: Database, meter: Meter) -> None:
        self.settings: Sequence[str] = ["batch 100"]
        self._url = database.other("bench_ceiling")
        self._meter = meter

    def drain(self, tasks: int, setting: str) -> Run:
        """Claim and complete until nothing is left."""
        batch = int(setting.rpartition(" ")[2])
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(_TABLE)
            connection.execute("insert into public.jobs (status) select 0 from generate_series(1, %s)", [tasks])
            connection.execute("vacuum (analyze) public.jobs")
            connection.execute("checkpoint")
            before = self._meter.read()
            computed = time.process_time()
            began = time.perf_counter()
            while ids := [row[0] for row in connection.execute(_CLAIM, [batch], prepare=True)]:
                connection.execute(_COMPLETE, [ids], prepare=True)
            seconds = time.perf_counter() - began
            cpu = self._meter.since(before) | {"client": time.process_time() - computed}
        return Run(tasks, seconds, cpu)
