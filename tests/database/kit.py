"""Sessions, tenants and workers for tests of the database.

A Session sends each statement in a transaction of its own with the role and the claims set for that transaction,
exactly as PostgREST does. All sessions of a world share one connection; `fresh` gives one of its own for races.
A World removes what it made when it ends, so that nothing pending is left for the workers of other tests.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.database.spare import Spare

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

AGENT: Mapping[str, Any] = {
    "name": "Writer",
    "description": "Writes.",
    "agent_type": "context",
    "department": "tests",
    "io_schema": {},
    "capabilities": ["writing"],
    "context": "You write.",
    "llm_config": {"provider": "anthropic", "model": "some-model"},
}


def connect(dsn: str) -> Connection:
    """Open a connection in autocommit mode whose rows are dictionaries; its commits do not wait for the disk."""
    options = "-c synchronous_commit=off"
    return psycopg.connect(dsn, row_factory=dict_row, autocommit=True, prepare_threshold=None, options=options)


SPARE = Spare(connect)


def adapt(value: Any) -> Any:
    """Send dictionaries as jsonb; everything else as psycopg does (lists become arrays)."""
    return Jsonb(value) if isinstance(value, dict) else value


def new_name(prefix: str) -> str:
    """Give a name that no other test uses: prefix-xxxxxxxxxxxx."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@dataclass
class Refusal:
    """What the database said; filled when the block of `refused` ends."""

    code: str = ""
    message: str = ""
    detail: str = ""
    hint: str = ""


@contextmanager
def refused(code: str, message: str | None = None) -> Generator[Refusal]:
    """Assert that the block fails with this SQLSTATE and, where given, this message token with a detail and a hint."""
    refusal = Refusal()
    try:
        yield refusal
    except psycopg.Error as error:
        diag = error.diag
        refusal.code = diag.sqlstate or ""
        refusal.message = diag.message_primary or ""
        refusal.detail = diag.message_detail or ""
        refusal.hint = diag.message_hint or ""
        assert refusal.code == code, f"{refusal.code} {refusal.message} {refusal.detail}"
        if message is not None:
            assert refusal.message == message
            assert refusal.detail
            assert refusal.hint
    else:
        raise AssertionError(f"nothing was refused; expected {code} {message or ''}")


@dataclass(frozen=True)
class Session:
    """One caller: a role, for a signed-in user also its claims. `clock_offset` moves private.clock()."""

    dsn: str
    connection: Connection
    role: str
    id: str = ""
    email: str = ""
    clock_offset: str = "0"

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Generator[Connection]:
        """Hold one transaction open as this caller; keep=False rolls it back at the end."""
        claims = {"role": self.role} | ({"sub": self.id, "email": self.email} if self.id else {})
        with self.connection.transaction(force_rollback=not keep):
            self.connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),"
                " set_config('orchestrator.clock_offset', %s, true)",
                (self.role, json.dumps(claims), self.clock_offset),
            )
            yield self.connection

    def rows(self, query: str | sql.Composed, *args: Any) -> list[Row]:
        """Run a query and return its rows."""
        with self.transaction() as connection:
            return connection.execute(query, [adapt(a) for a in args]).fetchall()

    def row(self, query: str | sql.Composed, *args: Any) -> Row:
        """Run a query that gives exactly one row and return it."""
        (row,) = self.rows(query, *args)
        return row

    def value(self, query: str, *args: Any) -> Any:
        """Run a query that gives one row of one column and return the value."""
        (value,) = self.row(query, *args).values()
        return value

    def execute(self, query: str, *args: Any) -> int:
        """Run a statement and return how many rows it touched."""
        with self.transaction() as connection:
            return connection.execute(query, [adapt(a) for a in args]).rowcount

    def insert(self, table: str, **columns: Any) -> Row:
        """Insert one row with exactly these columns and return it as the table now has it."""
        return self.row(
            sql.SQL("insert into public.{} ({}) values ({}) returning *").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(sql.Placeholder() * len(columns)),
            ),
            *columns.values(),
        )

    def update(self, table: str, key: Mapping[str, Any], **columns: Any) -> int:
        """Set columns of the rows with this key and return how many there were."""
        query = sql.SQL("update public.{} set {} where {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(c)) for c in columns),
            sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(c)) for c in key),
        )
        with self.transaction() as connection:
            return connection.execute(query, [adapt(v) for v in (*columns.values(), *key.values())]).rowcount

    def call(self, function: str, **arguments: Any) -> Any:
        """Call an RPC by named arguments and return its answer as JSON; a JSON list must come as Jsonb."""
        query = sql.SQL("select to_jsonb(public.{}({})) as answer").format(
            sql.Identifier(function),
            sql.SQL(", ").join(sql.SQL("{} => %s").format(sql.Identifier(a)) for a in arguments),
        )
        return self.row(query, *arguments.values())["answer"]

    def at(self, offset: str) -> Session:
        """Give the same caller at another time, e.g. '1 hour' from now."""
        return replace(self, clock_offset=offset)

    @contextmanager
    def fresh(self) -> Generator[Session]:
        """Give the same caller on a connection of its own."""
        connection = SPARE.take(self.dsn)
        try:
            yield replace(self, connection=connection)
        finally:
            SPARE.give_back(self.dsn, connection)


@dataclass
class World:
    """A place to make users, organizations and workers in; `close` removes them all."""

    dsn: str
    connection: Connection
    slugs: list[str] = field(default_factory=list)
    user_ids: list[str] = field(default_factory=list)
    worker_ids: list[str] = field(default_factory=list)

    @property
    def admin(self) -> Session:
        """The owner of the schema (postgres), free of RLS but not of constraints and triggers."""
        return Session(self.dsn, self.connection, "none")

    @property
    def service(self) -> Session:
        """service_role, as workers and servers connect."""
        return Session(self.dsn, self.connection, "service_role")

    @property
    def anon(self) -> Session:
        """A visitor who did not sign in."""
        return Session(self.dsn, self.connection, "anon")

    def user(self, email: str | None = "") -> Session:
        """Sign a user up; without an argument the address is random."""
        user_id = str(uuid.uuid4())
        address = f"{user_id}@example.com" if email == "" else email
        self.admin.execute(
            "insert into auth.users (id, email, email_confirmed_at) values (%s, %s, now())", user_id, address
        )
        self.user_ids.append(user_id)
        return Session(self.dsn, self.connection, "authenticated", user_id, address or "")

    def tenant(self, **limits: float) -> Tenant:
        """Make an organization with an owner and one context agent; arguments are its settings.limits."""
        owner = self.user()
        slug = new_name("org")
        self.slugs.append(slug)
        with self.admin.transaction():
            self.admin.insert("organizations", slug=slug, name=slug, settings={"limits": limits} if limits else {})
            self.admin.insert("organization_members", organization_slug=slug, user_id=owner.id, role="owner")
            agent = new_name("agent")
            self.admin.insert("agents", slug=agent, organization_slug=[slug], **AGENT)
        return Tenant(self, slug, owner, agent)

    def worker(self) -> Worker:
        """Give a worker with a name of its own."""
        self.worker_ids.append(new_name("worker"))
        return Worker(self.service, self.worker_ids[-1])

    def close(self) -> None:
        """Delete the organizations, users and workers made here, and what they own."""
        self.admin.execute("delete from public.organizations where slug = any (%s)", self.slugs)
        self.admin.execute("delete from auth.users where id = any (%s::uuid[])", self.user_ids)
        self.admin.execute("delete from public.workers where id = any (%s)", self.worker_ids)
        self.admin.execute("delete from private.worker_requests where worker_id = any (%s)", self.worker_ids)


@dataclass(frozen=True)
class Tenant:
    """An organization with its owner and a first agent."""

    world: World
    slug: str
    owner: Session
    agent: str

    def join(self, role: str, user: Session | None = None) -> Session:
        """Make somebody (by default a new user) a member with this role."""
        user = user or self.world.user()
        self.world.admin.insert("organization_members", organization_slug=self.slug, user_id=user.id, role=role)
        return user

    def add_agent(self, **columns: Any) -> str:
        """Add a shared context agent and return its slug."""
        slug = new_name("agent")
        row = {**AGENT, "slug": slug, "organization_slug": [self.slug], **columns}
        return str(self.world.admin.insert("agents", **row)["slug"])

    def conversation(self, user: Session | None = None) -> str:
        """Begin a conversation with the first agent and return its id."""
        row = (user or self.owner).insert("agent_conversations", organization_slug=self.slug, agent_slug=self.agent)
        return str(row["id"])

    def task(self, user: Session | None = None, **columns: Any) -> str:
        """Insert a task as this user (by default the owner) and return its id."""
        row = {
            "organization_slug": self.slug,
            "agent_slug": self.agent,
            "method": "process",
            "prompt": "Write.",
            **columns,
        }
        return str((user or self.owner).insert("tasks", **row)["id"])

    def read(self, task_id: str) -> Row:
        """Read a task, all columns."""
        return self.world.admin.row("select * from public.tasks where id = %s", task_id)

    def events(self, task_id: str) -> list[Row]:
        """Read a task's trail in order."""
        return self.world.admin.rows("select * from public.task_events where task_id = %s order by sequence", task_id)

    def runs(self, task_id: str) -> list[Row]:
        """Read a task's runs, oldest first."""
        return self.world.admin.rows("select * from public.runs where task_id = %s order by created_at", task_id)


def item(lease: Row, **more: Any) -> Row:
    """Build a report's item for what claim_tasks gave, with further keys."""
    return {
        "task_id": lease["task"]["id"],
        "attempt": lease["attempt"],
        "lease_token": lease["lease_token"],
    } | more


@dataclass(frozen=True)
class Worker:
    """A worker process as the database sees it."""

    session: Session
    id: str

    def claim(self, tenant: Tenant, max_tasks: int = 1, **arguments: Any) -> list[Row]:
        """Claim tasks of this organization only."""
        answer: list[Row] = self.session.call(
            "claim_tasks", worker_id=self.id, max_tasks=max_tasks, organizations=[tenant.slug], **arguments
        )
        return answer

    def claim_one(self, tenant: Tenant, **arguments: Any) -> Row:
        """Claim the one task that this organization has waiting."""
        (lease,) = self.claim(tenant, **arguments)
        return lease

    def report(self, function: str, *items: Any, **arguments: Any) -> list[str]:
        """Report a list of items and return their outcomes in order."""
        answer = self.session.call(function, worker_id=self.id, items=Jsonb(list(items)), **arguments)
        return [o["outcome"] for o in answer]

    def complete(self, lease: Row, **more: Any) -> str:
        """Complete a task with the response "done." and further keys; return the outcome."""
        (outcome,) = self.report("complete_tasks", item(lease, **{"response": "done.", **more}))
        return outcome

    def fail(self, lease: Row, **more: Any) -> str:
        """Fail a task with internal_error, not retryable, unless said otherwise; return the outcome."""
        reason = {"error_code": "internal_error", "error_message": "It broke.", "retryable": False, **more}
        (outcome,) = self.report("fail_tasks", item(lease, **reason))
        return outcome

    def exchange(self, request_id: str = "", **arguments: Any) -> Row:
        """Send one exchange; without a request_id a new one."""
        arguments["report"] = {"understands": ["busy"], **arguments.get("report", {})}
        answer: Row = self.session.call(
            "exchange_work", worker_id=self.id, request_id=request_id or str(uuid.uuid4()), **arguments
        )
        return answer

    def on(self, session: Session) -> Worker:
        """Give the same worker on another session."""
        return replace(self, session=session)


def in_parallel(sessions: list[Session], act: Callable[[Session], Any]) -> list[Any]:
    """Act as every session at the same moment, each on its own connection; errors of the database are results."""
    start = threading.Barrier(len(sessions), timeout=20)

    def one(session: Session) -> Any:
        with session.fresh() as own:
            start.wait()
            try:
                return act(own)
            except psycopg.Error as error:
                return error

    with ThreadPoolExecutor(len(sessions)) as pool:
        return list(pool.map(one, sessions))


def when_it_waited(
    holder: Session, hold: Callable[[Session], Any], waiter: Session, act: Callable[[Session], Any]
) -> Any:
    """Act while somebody holds a lock in an open transaction, which commits as soon as the act waits for it.

    Returns what the act gave, or the error of the database that it met.
    """
    with holder.fresh() as first, waiter.fresh() as second, ThreadPoolExecutor(1) as pool:
        with first.transaction() as connection:
            hold(first)
            future = pool.submit(act, second)
            for _ in range(1000):
                blocked = connection.execute(
                    "select cardinality(pg_blocking_pids(%s)) > 0 as waits, pg_sleep(0.01)",
                    [second.connection.info.backend_pid],
                ).fetchone()
                if future.done() or (blocked and blocked["waits"]):
                    break
            assert not future.done(), "it did not wait"
        try:
            return future.result(timeout=20)
        except psycopg.Error as error:
            return error
