"""Real worker processes on the real stack: a crew that the tests share, a laboratory for each test, an HTTP agent.

Processes outlive tests. The crew serves organizations whose names are made up
before it starts; each test gets the next name for itself, and what is in that organization is deleted afterwards.

Over 400 lines, because fixtures for all tests here stand in one conftest, beside what they give.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import select
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.stack import Stack
from tests.workers.chaos_kit import Fleet, Ground, laid_out
from tests.workers.chaos_proxy import Network, network
from tests.workers.nursery import Forked
from tests.workers.waiting import FINAL, Row, wait_for

LEASE_SECONDS = 3
DRAIN_SECONDS = 2
DRAFT_SECONDS = 1.2  # How long the offline model writes.
CONCURRENCY = 4


class WorkerProcess:
    """One `workers run`, in a folder without a .env and with no environment but what it is given."""

    def __init__(self, stack: Stack, folder: Path, options: Sequence[str], environment: Mapping[str, str]) -> None:
        self.id = f"test-{secrets.token_hex(5)}"
        self.log = folder / f"{self.id}.log"
        command = ["run", "--worker-id", self.id, "--poll-interval", "0.2", *options]
        given = {
            "PATH": os.environ["PATH"],
            "SUPABASE_URL": stack.url,
            "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
            "SUPABASE_ANON_KEY": stack.anon_key,
            "LOG_FORMAT": "json",
            "ORCHESTRATOR_ALLOW_PRIVATE_HOSTS": "1",
            **environment,
        }
        self.log.touch()
        self.process = Forked(command, folder, given, self.log)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, even when it is stopped."""
        self.process.kill()
        self.process.wait()

    def exit_code(self, seconds: float) -> int:
        """Wait for its end."""
        return self.process.wait(seconds)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def lines(self, **match: object) -> list[Row]:
        """Return what it logged, as far as every key given has that value."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in entries if match.items() <= entry.items()]


class Crew:
    """Offline workers that all serve the same organizations, kept from test to test."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        prefix = f"crew-{secrets.token_hex(4)}"
        self._names = [f"{prefix}-{number}" for number in range(200)]
        self._next_name = iter(self._names)
        self.workers: list[WorkerProcess] = []

    def next_organization(self) -> str:
        """Return a name that nobody else has had and that every worker of the crew serves."""
        return next(self._next_name)

    def muster(self, least: int, most: int | None = None) -> list[WorkerProcess]:
        """Return so many workers, all at work; those above `most` end."""
        self.workers = [worker for worker in self.workers if worker.alive]
        while most is not None and len(self.workers) > most:
            self.workers.pop().kill()
        while len(self.workers) < least:
            self.start_one()
        for worker in self.workers:
            wait_for(functools.partial(_at_work, worker), 60, f"{worker.id} starts")
        return list(self.workers)

    def start_one(self) -> WorkerProcess:
        """Start one more and return it before it is ready."""
        options = ["--concurrency", str(CONCURRENCY), "--lease-seconds", str(LEASE_SECONDS)]
        options += [part for name in self._names for part in ("--organization", name)]
        environment = {
            "LLM_OFFLINE": "1",
            "LLM_OFFLINE_DELAY": str(DRAFT_SECONDS),
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
        }
        worker = WorkerProcess(self._stack, self._folder, options, environment)
        self.workers.append(worker)
        return worker

    def holder(self, task: Row) -> WorkerProcess:
        """Return the worker that has the task."""
        return next(worker for worker in self.workers if worker.id == task["worker_id"])

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()


def _at_work(worker: WorkerProcess) -> bool:
    assert worker.alive, f"{worker.id} ended: {worker.log.read_text()[-2000:]}"
    return bool(worker.lines(event="started"))


class Lab:
    """One organization with its user, its agents and its tasks, seen through the API and through SQL."""

    def __init__(self, stack: Stack, organization: str, folder: Path) -> None:
        self.stack = stack
        self.organization = organization
        self._folder = folder
        self.own_workers: list[WorkerProcess] = []
        self.user_id = str(uuid.uuid4())
        key = stack.service_role_key
        headers = {"apikey": key, "Authorization": f"Bearer {key}", "Prefer": "return=representation"}
        self._api = httpx.Client(base_url=f"{stack.url}/rest/v1/", headers=headers, timeout=30)
        self.connect()

    def create(self) -> None:
        """Make the user and the organization."""
        user = (self.user_id, f"{self.user_id}@example.com")
        self.sql.execute("insert into auth.users (id, email) values (%s, %s)", user)
        self.post("organizations", slug=self.organization, name=self.organization)

    def connect(self) -> None:
        """Make `sql` a new connection, as is needed once Postgres was away."""
        self.sql = psycopg.connect(self.stack.database_url, autocommit=True, row_factory=dict_row)

    def close(self) -> None:
        """End this test's own workers and delete all it made."""
        for worker in self.own_workers:
            worker.kill()
        self.sql.execute("delete from public.organizations where slug = %s", (self.organization,))
        self.sql.execute("delete from auth.users where id = %s", (self.user_id,))
        self.sql.close()
        self._api.close()

    def post(self, path: str, **body: Any) -> Any:
        """Send a row to a table or the arguments to rpc/…, as service_role; return the answer's JSON."""
        answer = self._api.post(path, json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def add_agent(self, **columns: Any) -> str:
        """Add a context agent, or one of the type given; return its slug."""
        slug = f"{self.organization}-{secrets.token_hex(3)}"
        agent: Row = {"slug": slug, "organization_slug": [self.organization], "name": "Writer", "agent_type": "context"}
        agent |= {"description": "Writes", "department": "tests", "context": "You write.", "io_schema": {}}
        agent["capabilities"] = ["writing"]
        if columns.get("agent_type", "context") == "context":
            agent["llm_config"] = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
        self.post("agents", **{**agent, **columns})
        return slug

    def add_api_agent(self, url: str, **endpoint: Any) -> str:
        """Add an agent that is called over HTTP; return its slug."""
        return self.add_agent(agent_type="api", endpoint={"url": url, "method": "POST", **endpoint})

    def add_conversation(self, agent: str) -> str:
        columns = {"organization_slug": self.organization, "user_id": self.user_id, "agent_slug": agent}
        (row,) = self.post("agent_conversations", **columns, agent_name="Writer", agent_type="context")
        return str(row["id"])

    def add_task(self, agent: str, prompt: str = "Write a post about tide pools", **columns: Any) -> str:
        """Insert a task through the gateway; return its id."""
        task = {"organization_slug": self.organization, "user_id": self.user_id, "agent_slug": agent}
        (row,) = self.post("tasks", **{**task, "method": "process", "prompt": prompt, **columns})
        return str(row["id"])

    def task(self, task_id: str) -> Row:
        row = self.sql.execute("select * from public.tasks where id = %s", (task_id,)).fetchone()
        assert row is not None
        return row

    def await_task(self, task_id: str, status: str = "completed", seconds: float = 30) -> Row:
        """Wait until the task has the status; fail at once when it ends with another."""

        def arrived() -> Row | None:
            task = self.task(task_id)
            if task["status"] == status:
                return task
            ended = task["status"] in FINAL
            assert not ended, f"task {task_id} is {task['status']}: {task['error_code']} {task['error_message']}"
            return None

        found = wait_for(arrived, seconds, f"task {task_id} becomes {status}")
        assert found is not None
        return found

    def events(self, task_id: str, *, type_: str | None = None) -> list[Row]:
        return self.sql.execute(
            "select * from public.task_events where task_id = %s and (%s::text is null or type = %s) order by sequence",
            (task_id, type_, type_),
        ).fetchall()

    def streamed(self, task_id: str, attempt: int = 1) -> str:
        """Return what the partial events of an attempt add up to."""
        partials = self.events(task_id, type_="partial")
        return "".join(event["data"]["text"] for event in partials if event["attempt"] == attempt)

    def runs(self, task_id: str) -> list[Row]:
        query = "select * from public.runs where task_id = %s order by created_at"
        return self.sql.execute(query, (task_id,)).fetchall()

    def run_statuses(self, task_id: str) -> list[str]:
        return [run["status"] for run in self.runs(task_id)]

    def usage(self, task_id: str) -> list[Row]:
        return self.sql.execute("select * from public.usage_events where task_id = %s", (task_id,)).fetchall()

    def messages(self, conversation_id: str) -> list[tuple[str, str]]:
        """Return what was said, oldest first, as (sender_type, content)."""
        query = "select * from public.messages where conversation_id = %s order by created_at"
        rows = self.sql.execute(query, (conversation_id,)).fetchall()
        return [(row["sender_type"], row["content"]) for row in rows]

    def assert_done_once(self, *task_ids: str) -> None:
        """Fail unless each task is completed with one version, one completed run, one bill, and no lease is left."""
        rows = self.sql.execute(
            "select t.status, t.lease_token is null and t.lease_expires_at is null as free,"
            " (select count(*) from public.deliverables d where d.task_id = t.id) as deliverables,"
            " (select count(*) from public.deliverable_versions v where v.task_id = t.id) as versions,"
            " (select count(*) from public.usage_events u where u.task_id = t.id) as bills,"
            " (select count(*) from public.runs r where r.task_id = t.id and r.status = 'completed') as completed,"
            " (select count(*) from public.runs r where r.task_id = t.id and r.status = 'running') as running"
            " from public.tasks t where t.id = any (%s::uuid[])",
            (list(task_ids),),
        ).fetchall()
        once = {"status": "completed", "free": True, "deliverables": 1, "versions": 1, "bills": 1, "completed": 1}
        assert len(rows) == len(task_ids)
        assert [row for row in rows if row != {**once, "running": 0}] == []

    def versions(self, task_id: str) -> list[Row]:
        """Return the versions of the deliverables of a task, with their deliverable's title and type."""
        return self.sql.execute(
            "select v.*, d.title, d.type, d.conversation_id from public.deliverable_versions v"
            " join public.deliverables d on d.id = v.deliverable_id"
            " where d.task_id = %s or v.task_id = %s order by v.version_number",
            (task_id, task_id),
        ).fetchall()

    def start_worker(self, *options: str, **environment: str) -> WorkerProcess:
        """Start a worker for this organization alone and return it before it is ready."""
        worker = WorkerProcess(self.stack, self._folder, ["--organization", self.organization, *options], environment)
        self.own_workers.append(worker)
        return worker


@dataclass
class Endpoint:
    """An agent behind HTTP: answers `statuses` in turn and then 200, and counts what it is asked.

    While `hold` is set requests wait, and `gone` counts those whose caller hung up meanwhile.
    """

    url: str
    statuses: list[int] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    seconds: float = 0.0
    bodies: list[Row] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    running: int = 0
    peak: int = 0
    gone: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.bodies.append(body)
            self.headers.append(dict(handler.headers))
            self.at.append(time.monotonic())
            number = len(self.bodies)
            status = self.statuses.pop(0) if self.statuses else 200
            self.running += 1
            self.peak = max(self.peak, self.running)
        try:
            here = self._wait(handler)
        finally:
            with self.lock:
                self.running -= 1
        if here:
            content = json.dumps({"content": f"# Answer {number}\n\nTo: {body['prompt']}"}).encode()
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

    def _wait(self, handler: BaseHTTPRequestHandler) -> bool:
        """Take the time it should; return whether the caller is still there."""
        until = time.monotonic() + self.seconds
        while self.hold.is_set() or time.monotonic() < until:
            readable, _, _ = select.select([handler.connection], [], [], 0.02)
            if readable:  # Nothing more is to be sent: this is the end of the connection.
                with self.lock:
                    self.gone += 1
                return False
        return True


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Give an HTTP agent of this test's own; held requests are let go at the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            agent.serve(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: a test looks at the counts."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # A caller that is killed is part of a test.
    agent = Endpoint(f"http://127.0.0.1:{server.server_port}/agent")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield agent
    agent.hold.clear()
    agent.seconds = 0.0
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def crew(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    crew = Crew(stack, tmp_path_factory.mktemp("crew"))
    yield crew
    crew.close()


@contextmanager
def laboratory(stack: Stack, organization: str, folder: Path, crew: Crew | None = None) -> Iterator[Lab]:
    """Give an organization; when the test fails, the logs of its own workers and of the crew are shown."""
    lab = Lab(stack, organization, folder)
    try:
        lab.create()
        yield lab
    finally:
        for worker in [*lab.own_workers, *(crew.workers if crew else ())]:
            print(f"--- {worker.id}\n{worker.log.read_text()[-4000:]}")
        lab.close()


@pytest.fixture
def lab(stack: Stack, crew: Crew, tmp_path: Path) -> Iterator[Lab]:
    """Give an organization that the crew serves."""
    with laboratory(stack, crew.next_organization(), tmp_path, crew) as lab:
        yield lab


@pytest.fixture
def own_lab(stack: Stack, tmp_path: Path) -> Iterator[Lab]:
    """Give an organization that nobody serves but the workers that the test starts."""
    with laboratory(stack, f"own-{secrets.token_hex(5)}", tmp_path) as lab:
        yield lab


@pytest.fixture
def ground(stack: Stack) -> Iterator[Ground]:
    """Give one organization for the chaos tests; tests that need more of them have a `ground` of their own."""
    with laid_out(stack) as ground:
        yield ground


@pytest.fixture
def fleet(stack: Stack, ground: Ground, tmp_path: Path) -> Iterator[Fleet]:
    """Give workers that are cheap to kill; none is left at the end."""
    fleet = Fleet(stack, tmp_path, ground.organizations)
    yield fleet
    fleet.close()


@pytest.fixture
def wire(stack: Stack) -> Iterator[Network]:
    """Give a network without faults but those that the test makes; it keeps what passes."""
    with network(stack.url) as between:
        yield between
