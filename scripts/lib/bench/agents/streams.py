"""Text that streams from many agents at once: how much of it becomes rows, and how soon its end can be read.

As a program it is the worker: its handler streams chunks at a fixed rate; the last one says when it was said, and the
attempt goes on for a while after it, so that its end carries nothing.
"""

import asyncio
import json
import os
import sys
import time

from bench.queue.database import Database
from bench.queue.lab import Lab
from bench.queue.ours import worker
from bench.queue.worker import work
from bench.results import Result, at_most, percentile, plain
from workers.contract import Completion
from workers.job import Job
from workers.settings import load_settings

METHOD = "bench_stream"
STREAMS = 50
CHUNKS_PER_SECOND = 100
SECONDS = 15.0
LOOKING_SECONDS = 5.0  # Until all have begun, and for counting rows twice.
SILENCE_SECONDS = 3.0
CHUNK = "some text "
LAST = "the last chunk was said at "
LOOK_SECONDS = 0.02
END_SECONDS = 120.0

_LAST = f"""
select task_id::text, split_part(data ->> 'text', '{LAST}', 2)::float8 from public.task_events
where type = 'partial' and data ->> 'text' like '%%{LAST}%%' and task_id::text <> all (%s)
"""  # noqa: S608 - constants of ours
_PARTIALS = """
select count(*) / nullif(extract(epoch from max(created_at) - min(created_at)), 0)
from public.task_events where type = 'partial'
"""
# Of all tables, indexes not counted.
_WRITTEN = """
select pg_stat_clear_snapshot(), sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables
where schemaname in ('public', 'private', 'realtime')
"""


def run(lab: Lab) -> list[Result]:
    """Let the streams run once, and read along as they end."""
    database, streams = lab.database, lab.options.scale(STREAMS, 5)
    seconds = lab.options.scale(SECONDS, 6.0)
    database.wipe()
    database.connection.execute(
        "insert into public.task_methods (name, description, needs_agent) values (%s, 'Streams.', false)", [METHOD]
    )
    database.fill(streams, METHOD)
    database.settle()
    with worker(lab.stack, streams, str(seconds), module="bench.agents.streams") as process:
        process.go()
        _wait_for_all(database, streams)
        before, began = _written(database), time.monotonic()
        time.sleep(seconds - LOOKING_SECONDS)
        written = (_written(database) - before) / (time.monotonic() - began)
        delays = _delays(database, streams)
        process.result(END_SECONDS)
    name = f"streams, {streams} of {CHUNKS_PER_SECOND} chunks/s"
    return [
        plain(f"{name}: rows of text written", database.number(_PARTIALS), "rows/s"),
        at_most(f"{name}: rows written", written, "rows/s", 300),
        plain(f"{name}: last chunk visible, median", percentile(delays, 50), "ms"),
        at_most(f"{name}: last chunk visible, slowest", max(delays), "ms", 500),
    ]


def _wait_for_all(database: Database, streams: int) -> None:
    """Return when all of them stream."""
    deadline = time.monotonic() + END_SECONDS
    while database.number("select count(distinct task_id) from public.task_events where type = 'partial'") < streams:
        if time.monotonic() > deadline:
            raise SystemExit("bench: not all streams began")
        time.sleep(LOOK_SECONDS)


def _written(database: Database) -> float:
    time.sleep(1.1)  # Backends say what they did once a second.
    row = database.connection.execute(_WRITTEN).fetchone()
    return float(row[1]) if row else 0.0


def _delays(database: Database, streams: int) -> list[float]:
    """Milliseconds from saying the last chunk to reading it, of each stream."""
    found: dict[str, float] = {}
    deadline = time.monotonic() + END_SECONDS
    while len(found) < streams:
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: the last chunk of {streams - len(found)} streams did not arrive")
        rows = database.connection.execute(_LAST, [list(found)]).fetchall()
        now = time.time()
        found |= {str(task): (now - float(said_at)) * 1000 for task, said_at in rows}
        time.sleep(LOOK_SECONDS)
    return list(found.values())


async def _stream(job: Job, seconds: float) -> Completion:
    """Say a chunk at each beat of the clock, however late the last beat was."""
    began = time.monotonic()
    for number in range(round(seconds * CHUNKS_PER_SECOND)):
        await asyncio.sleep(max(0.0, began + number / CHUNKS_PER_SECOND - time.monotonic()))
        job.partial(CHUNK)
    job.partial(f"{LAST}{time.time()}")
    await asyncio.sleep(SILENCE_SECONDS)
    return Completion(response="Done.")


def main() -> None:
    """Stream for so many seconds as the argument says, in every task there is."""
    seconds = float(sys.argv[1])
    settings = load_settings(os.environ, once=True)
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(work(settings, {METHOD: lambda job: _stream(job, seconds)}))
    print(json.dumps({}))


if __name__ == "__main__":
    main()
