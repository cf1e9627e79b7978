"""procrastinate on psycopg, in the peers' own environment; run by peers.py, and speaks as process.py wants."""

import argparse
import asyncio
import json
import sys
import time
from typing import Any

import procrastinate  # type: ignore[import-not-found]

CHUNK = 1000
POOL = 20  # connections at most


def build(url: str, concurrency: int) -> Any:
    """An app whose pool has a connection for each of so many jobs, and its one task."""
    size = min(concurrency + 1, POOL)
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=size, max_size=size))

    @app.task(name="noop")  # type: ignore[untyped-decorator]
    async def noop() -> None:
        pass

    return app


async def install(app: Any, _options: argparse.Namespace) -> dict[str, Any]:
    """Make the tables."""
    await app.schema_manager.apply_schema_async()
    return {}


async def drain(app: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Work until nothing is to do, so many jobs at a time."""
    await app.run_worker_async(concurrency=options.concurrency, wait=False, install_signal_handlers=False)
    return {}


async def bulk(app: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Defer so many jobs, 1,000 a call."""
    began = time.perf_counter()
    for start in range(0, options.tasks, CHUNK):
        await app.tasks["noop"].batch_defer_async(*([{}] * min(CHUNK, options.tasks - start)))
    return {"tasks": options.tasks, "seconds": time.perf_counter() - began}


async def single(app: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Defer one job a call, so many calls at a time, for so many seconds."""
    began = time.perf_counter()
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() - began < options.seconds:
            await app.tasks["noop"].defer_async()
            done += 1

    await asyncio.gather(*(caller() for _ in range(options.concurrency)))
    return {"tasks": done, "seconds": time.perf_counter() - began}


COMMANDS = {"install": install, "drain": drain, "bulk": bulk, "single": single}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Open the pool and do what the command says."""
    app = build(options.url, options.concurrency)
    async with app.open_async():
        found: dict[str, Any] = await COMMANDS[options.command](app, options)
    return found


def main() -> None:
    """Parse, get ready, wait, work, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("url")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    found = asyncio.run(run(options))
    print(json.dumps(found | {"cpu_seconds": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
