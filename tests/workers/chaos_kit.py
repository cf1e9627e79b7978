"""What the chaos tests share: dice, a fleet of workers that are cheap to kill, and the ground they work on."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.stack import Stack
from tests.workers import chaos_worker, nursery
from tests.workers.chaos_worker import Plan, Script
from tests.workers.waiting import FINAL, Row, wait_for


def dice() -> random.Random:
    """Return dice thrown from ORCHESTRATOR_CHAOS_SEED, or from a new seed, which a failing test shows."""
    seed = int(os.environ.get("ORCHESTRATOR_CHAOS_SEED") or secrets.randbits(32))
    print(f"ORCHESTRATOR_CHAOS_SEED={seed}")
    return random.Random(seed)  # noqa: S311 - a test's dice


class ForkedWorker:
    """One worker process."""

    def __init__(self, plan: Plan, process: ForkServerProcess) -> None:
        self.plan = plan
        self.id = plan.id
        self._process = process

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; its process id cannot be another's before its end was seen here."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once, even when it is stopped, and wait for that."""
        self._process.kill()
        self._process.join(10)

    def exit_code(self, seconds: float) -> int:
        """Wait for its end; negative for a signal."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"{self.id} is still there after {seconds:g} seconds"
        return self._process.exitcode

    def lines(self, **match: object) -> list[Row]:
        """Return what it logged, as far as every key given has that value."""
        if not self.plan.log.exists():
            return []
        entries = [json.loads(line) for line in self.plan.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in entries if match.items() <= entry.items()]

    def is_stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        status = Path(f"/proc/{self._process.pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"


class Fleet:
    """Workers with agents of the tests' own, from the nursery."""

    def __init__(self, stack: Stack, folder: Path, organizations: Sequence[str]) -> None:
        self._stack = stack
        self._folder = folder
        self._organizations = tuple(organizations)
        self._context = nursery.context()
        self.workers: list[ForkedWorker] = []

    def start(self, **options: Any) -> ForkedWorker:
        """Start a worker and return it before it is ready; `options` are those of its Plan."""
        id_ = f"chaos-{secrets.token_hex(5)}"
        given = {"url": self._stack.url, "key": self._stack.service_role_key, "organizations": self._organizations}
        plan = Plan(id=id_, log=self._folder / f"{id_}.log", **{**given, **options})
        process = self._context.Process(target=chaos_worker.main, args=(plan,), name=id_)
        process.start()
        worker = ForkedWorker(plan, process)
        self.workers.append(worker)
        return worker

    @property
    def alive(self) -> list[ForkedWorker]:
        return [worker for worker in self.workers if worker.alive]

    def drain(self, seconds: float = 15) -> None:
        """Tell all to leave; fail unless each does so in peace."""
        leaving = self.alive
        for worker in leaving:
            worker.signal(signal.SIGTERM)
        assert [worker.exit_code(seconds) for worker in leaving] == [0] * len(leaving)

    def close(self) -> None:
        """Kill all that are left; a failing test shows what they logged but the lines of single tasks."""
        for worker in self.workers:
            worker.kill()
            for line in worker.lines():
                if line["event"] not in {"task", "started"}:
                    print(line)


@dataclass(frozen=True)
class Errand:
    """One task to add: its script, and columns of the row that matter."""

    script: Script
    organization: int = 0
    conversation: int | None = None
    priority: int = 100
    max_attempts: int = 100


class Ground:
    """Organizations with an agent and conversations each, made and read by SQL alone."""

    CONVERSATIONS = 10

    def __init__(self, stack: Stack, organizations: int = 1) -> None:
        self._stack = stack
        self.organizations = [f"chaos-{secrets.token_hex(5)}" for _ in range(organizations)]
        self.user_id = str(uuid.uuid4())
        self.sql = self.connect()

    def connect(self) -> psycopg.Connection[Row]:
        return psycopg.connect(self._stack.database_url, autocommit=True, row_factory=dict_row)

    def reconnect(self) -> None:
        """Make `sql` a new connection, as is needed once Postgres was away."""
        self.sql.close()
        self.sql = self.connect()

    def create(self) -> None:
        self.sql.execute(
            "insert into auth.users (id, email) values (%s, %s)", (self.user_id, f"{self.user_id}@example.com")
        )
        for slug in self.organizations:
            self.sql.execute("insert into public.organizations (slug, name) values (%s, %s)", (slug, slug))
            self.sql.execute(
                "insert into public.agents (slug, organization_slug, name, description, agent_type, department,"
                " context, capabilities, io_schema, llm_config)"
                " values (%s, array[%s], 'Dicer', 'Dices', 'context', 'tests', 'You dice.', array['dicing'], '{}',"
                """ '{"provider": "anthropic", "model": "claude-sonnet-4-5"}')""",
                (slug, slug),
            )

    @cached_property
    def conversations(self) -> dict[str, list[str]]:
        """The ids of each organization's conversations."""
        rows = self.sql.execute(
            "insert into public.agent_conversations (organization_slug, user_id, agent_slug, agent_name, agent_type)"
            " select slug, %s, slug, 'Dicer', 'context' from unnest(%s::text[]) slug, generate_series(1, %s)"
            " returning id, organization_slug",
            (self.user_id, self.organizations, self.CONVERSATIONS),
        ).fetchall()
        return {
            slug: [str(row["id"]) for row in rows if row["organization_slug"] == slug] for slug in self.organizations
        }

    def delete(self) -> None:
        """Delete all of it; what killed workers asked for last may still be going on, and then one yields."""
        with closing(self.sql):
            wait_for(self._try_to_delete, 20, "nobody uses the organizations any more")
            self.sql.execute("delete from auth.users where id = %s", (self.user_id,))

    def _try_to_delete(self) -> bool:
        try:
            self.sql.execute("delete from public.organizations where slug = any (%s)", (self.organizations,))
        except psycopg.errors.DeadlockDetected:
            return False
        return True

    def add(self, *errands: Errand, **columns: Any) -> list[str]:
        """Insert tasks, in one statement; `columns` are set in every row. Return their ids in order."""
        rows = [self._row(errand) | columns for errand in errands]
        names = ", ".join(rows[0])
        self.sql.execute(
            f"insert into public.tasks ({names}) select {names} from jsonb_populate_recordset(null::public.tasks, %s)",
            (json.dumps(rows),),
        )
        return [row["id"] for row in rows]

    def _row(self, errand: Errand) -> Row:
        slug = self.organizations[errand.organization]
        place = errand.conversation
        return {
            "id": str(uuid.uuid4()),
            "organization_slug": slug,
            "user_id": self.user_id,
            "agent_slug": slug,
            "method": "process",
            "prompt": "Throw the dice",
            "params": asdict(errand.script),
            "priority": errand.priority,
            "max_attempts": errand.max_attempts,
            "backoff": "100 milliseconds",
            "agent_conversation_id": None if place is None else self.conversations[slug][place],
        }

    def rows(self, query: str, *arguments: object) -> list[Row]:
        return self.sql.execute(query, arguments).fetchall()

    def task(self, task_id: str) -> Row:
        (row,) = self.rows("select * from public.tasks where id = %s", task_id)
        return row

    def runs(self, task_id: str) -> list[tuple[str, str]]:
        """Return (status, worker_id) of each attempt, oldest first."""
        rows = self.rows("select status, worker_id from public.runs where task_id = %s order by created_at", task_id)
        return [(row["status"], row["worker_id"]) for row in rows]

    def await_status(self, task_id: str, status: str, seconds: float = 15) -> Row:
        wait_for(lambda: self.task(task_id)["status"] == status, seconds, f"task {task_id} becomes {status}")
        return self.task(task_id)

    def open_tasks(self) -> int:
        """Return how many tasks are not in a final state."""
        (row,) = self.rows(
            "select count(*) as open from public.tasks where organization_slug = any (%s) and status <> all (%s)",
            self.organizations,
            list(FINAL),
        )
        return int(row["open"])

    def await_all_final(self, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until nothing is to be done any more."""
        deadline = time.monotonic() + seconds
        while open_tasks := self.open_tasks():
            assert time.monotonic() < deadline, f"{open_tasks} tasks are not final after {seconds:g} seconds"
            meanwhile()
            time.sleep(0.1)


@contextmanager
def laid_out(stack: Stack, organizations: int = 1) -> Iterator[Ground]:
    """Give a ground of so many organizations, and delete it unless the test failed."""
    ground = Ground(stack, organizations)
    ground.create()
    yield ground
    ground.delete()
