"""pgqueuer on asyncpg, in the peers' own environment; run by peers.py, and speaks as process.py wants.

Uses uvloop, as pgqueuer's own command line does where it is installed.
"""

import argparse
import asyncio
import json
import sys
import time
from datetime import timedelta
from typing import Any

import asyncpg  # type: ignore[import-not-found]
import uvloop  # type: ignore[import-not-found]
from pgqueuer import Job, PgQueuer, Queries  # type: ignore[import-not-found]
from pgqueuer.types import QueueExecutionMode  # type: ignore[import-not-found]

ENTRYPOINT = "noop"
CHUNK = 1000


async def install(url: str, _options: argparse.Namespace) -> dict[str, Any]:
    """Make the tables."""
    connection = await asyncpg.connect(url)
    await Queries.from_asyncpg_connection(connection).install()
    await connection.close()
    return {}


async def drain(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Work until nothing is queued, with `lanes` connections that take `batch` jobs at a time."""
    lanes = []
    for _ in range(options.lanes):
        queuer = PgQueuer.from_asyncpg_connection(await asyncpg.connect(url))

        @queuer.entrypoint(ENTRYPOINT)  # type: ignore[untyped-decorator]
        async def noop(_job: Job) -> None:
            pass

        lanes.append(queuer.qm)
    await asyncio.gather(
        *(
            lane.run(
                batch_size=options.batch, mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(milliseconds=100)
            )
            for lane in lanes
        )
    )
    return {}


async def bulk(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Enqueue 1,000 jobs a call on one connection, `tasks` of them or for so many seconds."""
    connection = await asyncpg.connect(url)
    queries = Queries.from_asyncpg_connection(connection)
    began = time.perf_counter()
    done = 0
    while done < options.tasks if options.tasks else time.perf_counter() - began < options.seconds:
        size = min(CHUNK, options.tasks - done) if options.tasks else CHUNK
        await queries.enqueue([ENTRYPOINT] * size, [None] * size, [0] * size)
        done += size
    seconds = time.perf_counter() - began
    await connection.close()
    return {"tasks": done, "seconds": seconds}


COMMANDS = {"install": install, "drain": drain, "bulk": bulk}


def main() -> None:
    """Parse, get ready, wait, work, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("url")
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    found = uvloop.run(COMMANDS[options.command](options.url, options))
    print(json.dumps(found | {"cpu_seconds": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
