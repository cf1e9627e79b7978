"""The peers: installed from their lock into an environment of their own, each in a database of its own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from bench.queue.contest import Run
from bench.queue.database import Database
from bench.queue.meter import Meter
from bench.queue.process import Process, running
from localstack.paths import STATE

HERE = Path(__file__).parent
LOCK = HERE / "peers.lock"
HOME = STATE / "bench-peers"  # Kept, so that the next run need not install them again.
END_SECONDS = 300.0


def install() -> Path:
    """Install what the lock says, if it is not what is installed; returns the environment's Python."""
    python = HOME / "bin" / "python"
    stamp = HOME / "installed"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == wanted):
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, HOME], check=True)
        subprocess.run([uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", LOCK], check=True)
        stamp.write_text(wanted)
    return python


@dataclass
class Peer:
    """One peer; `span` gives the seconds from its first claim to its last completion, by the database's clock."""

    name: str
    program: str
    arguments: Mapping[str, Sequence[str]]
    span: str
    python: Path
    database: Database
    meter: Meter
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.settings: Sequence[str] = list(self.arguments)
        self.url = self.database.other(f"bench_{self.name}")
        self.call("install")

    def call(self, command: str, *arguments: str) -> dict[str, Any]:
        """Run a command of its program to the end and return what it printed."""
        with self._running(command, *arguments) as process:
            process.go()
            return process.result(END_SECONDS)

    def wipe(self) -> None:
        """Empty all its tables."""
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            tables = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
            names = sql.SQL(", ").join(sql.Identifier("public", table) for (table,) in tables)
            connection.execute(sql.SQL("truncate {} restart identity cascade").format(names))

    def drain(self, tasks: int, setting: str) -> Run:
        """Fill by its own bulk call, then drain with one process."""
        self.wipe()
        self.call("bulk", "--tasks", str(tasks))
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            connection.execute("vacuum (analyze)")
            connection.execute("checkpoint")
            with self._running("drain", *self.arguments[setting]) as process:
                before = self.meter.read()
                process.go()
                ended = process.result(END_SECONDS)
                cpu = self.meter.since(before) | {"client": ended["cpu_seconds"]}
            row = connection.execute(self.span.encode()).fetchone()
        if row is None or row[1] != tasks:
            raise SystemExit(f"bench: {self.name} finished {row and row[1]} of {tasks} tasks")
        return Run(tasks, float(row[0]), cpu, process.peak)

    def _running(self, command: str, *arguments: str) -> AbstractContextManager[Process]:
        environment = {"PATH": os.environ["PATH"]}
        return running([str(self.python), "-P", str(HERE / self.program), command, self.url, *arguments], environment)


def pgqueuer(python: Path, database: Database, meter: Meter) -> Peer:
    """pgqueuer on asyncpg; the last setting is five connections in one process."""
    span = """
      select extract(epoch from
          max(created) filter (where status = 'successful') - min(created) filter (where status = 'picked')),
        count(*) filter (where status = 'successful')
      from pgqueuer_log
    """
    settings = {
        "batch 100": ("--batch", "100"),
        "batch 10": ("--batch", "10"),
        "5 x batch 100": ("--batch", "100", "--lanes", "5"),
    }
    return Peer("pgqueuer", "peer_pgqueuer.py", settings, span, python, database, meter)


def procrastinate(python: Path, database: Database, meter: Meter) -> Peer:
    """procrastinate on psycopg."""
    span = """
      select extract(epoch from max(at) filter (where type = 'succeeded') - min(at) filter (where type = 'started')),
        count(*) filter (where type = 'succeeded')
      from procrastinate_events
    """
    settings = {f"concurrency {number}": ("--concurrency", str(number)) for number in (10, 1, 50)}
    return Peer("procrastinate", "peer_procrastinate.py", settings, span, python, database, meter)
